"""What the daemon says about itself to the HTTP threads: set by one thread, read by many."""

from __future__ import annotations

from dataclasses import dataclass, field

from mailerd.config import Config


@dataclass(slots=True)
class Gate:
    """
    ``ready``: jobs can be taken. ``draining``: told to stop. ``reason``: why it is not ready, in words.

    ``config``: what is in force, also after a reload.
    """

    ready: bool = False
    draining: bool = False
    reason: str = "starting: waiting for Redis"
    config: Config = field(default_factory=Config)
