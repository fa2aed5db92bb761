"""
The configuration: one frozen value, all its problems at once.

``load`` reads it from its sources; ``Config`` with its sections is what it reads. Only the command line
calls ``load``; everybody else is handed the value.
"""

from mailerd.config.entries import ClientLimit, Dkim, DomainLimit, Limit, SmtpReply
from mailerd.config.loading import load
from mailerd.config.model import (
    Api,
    Config,
    Contacts,
    Daemon,
    Limits,
    Log,
    Mail,
    Queue,
    Redis,
    Ses,
    Smtp,
    Templates,
    Workers,
)
from mailerd.config.sources import locate
from mailerd.config.urls import scrub

__all__ = [
    "Api",
    "ClientLimit",
    "Config",
    "Contacts",
    "Daemon",
    "Dkim",
    "DomainLimit",
    "Limit",
    "Limits",
    "Log",
    "Mail",
    "Queue",
    "Redis",
    "Ses",
    "Smtp",
    "SmtpReply",
    "Templates",
    "Workers",
    "load",
    "locate",
    "scrub",
]
