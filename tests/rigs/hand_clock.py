"""A clock for tests of what waits: its time passes when told to."""

from __future__ import annotations

import time


class HandClock:
    """See ``Clock``; ``at`` (seconds) is its time."""

    def __init__(self, at: float = 5.0) -> None:
        self.at = at

    def monotonic(self) -> float:
        return self.at

    def now(self) -> float:
        return self.at


class PushedClock(HandClock):
    """This host's time, ``at`` seconds ahead: for what waits for somebody who does so by the real time."""

    def monotonic(self) -> float:
        return self.at + time.monotonic()

    def now(self) -> float:
        return self.at + time.time()
