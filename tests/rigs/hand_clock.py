"""A clock for tests of what waits: its time passes when told to."""

from __future__ import annotations


class HandClock:
    """See ``Clock``; ``at`` (seconds) is its time."""

    def __init__(self, at: float = 5.0) -> None:
        self.at = at

    def monotonic(self) -> float:
        return self.at

    def now(self) -> float:
        return self.at
