"""What the daemon says about itself to the HTTP threads: flags set by one thread, read by many."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Gate:
    """``ready``: jobs can be taken. ``draining``: told to stop. ``reason``: why it is not ready, in words."""

    ready: bool = False
    draining: bool = False
    reason: str = "starting: waiting for Redis"
