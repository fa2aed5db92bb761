"""
The configuration: one frozen value, all its problems at once.

``load`` reads it from its sources, ``Config`` is what it reads. Only the command line calls ``load``;
everybody else is handed the value.
"""

from mailerd.config.model import Config
from mailerd.config.urls import scrub

__all__ = ["Config", "scrub"]
