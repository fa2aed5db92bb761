"""
What a running daemon can take over from a new configuration: all of it, or nothing.

Half a new configuration would be worse than the old one: workers on a new Redis while HTTP fills the old.
Pure; main's control loop asks.
"""

from __future__ import annotations

from mailerd.config import Config
from mailerd.errors import ConfigurationError, Problem

_FIXED = ("daemon", "redis", "queue", "api")


def checked(new: Config, old: Config) -> Config:
    """The new configuration; raises ``ConfigurationError`` where something in it needs a restart."""
    problems = [
        Problem(section, "a change of this section needs a restart")
        for section in _FIXED
        if getattr(new, section) != getattr(old, section)
    ]
    if new.workers.connections > old.workers.connections:
        problems.append(Problem("workers.connections", "more of them need a restart"))
    if problems:
        raise ConfigurationError(problems)
    return new
