"""
Back-pressure: who would wait too long for a thread is told so at once, and not worked on late.

waitress queues without a bound and never refuses. How many wait does not matter, only how long: a long queue
that moves is no reason to send anybody away, while behind a Redis that hangs three are too many. Pure;
``dispatcher.py`` asks for each request as it comes, and again while it waits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

# Whoever is refused hears it within half a second; whoever is not has waited no longer than this. With the
# 2.4 s that the queue gives an absent Redis, every client has its answer within 3 s.
LONGEST_WAIT = 0.35
# While answers take no longer than this, the queue moves, and its end may be as far off as that.
BRISK = 0.03
LONGEST_BRISK_WAIT = 1.0
# Threads that have been busy for less are no sign of trouble: one big request keeps all of them waiting.
HICCUP = 0.25
RETRY_AFTER = 1

_WEIGHT = 0.1  # of the newest answer in what answers take


@dataclass(frozen=True, slots=True)
class Pace:
    """
    How fast requests are answered, by so many ``threads`` of which so many are ``free``.

    ``usual``: seconds that an answer took of late. ``stuck``: seconds for which all threads have been busy
    without one coming free; 0 while one is free.
    """

    threads: int
    usual: float = 0.0
    free: int = 0
    stuck: float = 0.0

    def after(self, seconds: float) -> Pace:
        """The pace once one more answer has taken so long."""
        return replace(self, usual=self.usual + _WEIGHT * (seconds - self.usual))

    def is_too_slow(self, ahead: int, waited: float) -> bool:
        """Whether a request that has waited so long, with so many ``ahead`` of it, is to be refused."""
        answer = max(self.usual, self.stuck if self.stuck > HICCUP else 0.0)
        rounds = (ahead - self.free) // self.threads + 1  # none for whom a free thread takes at once
        to_come = max(0.0, rounds * answer - self.stuck)
        return waited + to_come > (LONGEST_BRISK_WAIT if answer <= BRISK else LONGEST_WAIT)
