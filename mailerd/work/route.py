"""
The route as one worker sees it: open, or out of order and tried again after a pause.

A breaker: it opens at the first refusal that is nobody's fault, so nobody else is handed over; each pause
ends with one try; and it closes by itself with the first answer about a recipient. Says so in the log, once
for all workers, and aloud only once in a while: a route that merely throttles opens and closes all the time.
Knows no transport; the worker asks it how long to wait.
"""

from __future__ import annotations

import logging
import math

from mailerd.board import Slot
from mailerd.clock import Clock
from mailerd.delivery import End, Pass
from mailerd.queue.alerts import QUIET, SharedAlert, Standing

log = logging.getLogger(__name__)

# While a route is out of order it is tried again soon, but seldom where a try may cost us the account.
LONGEST_PAUSE = {End.BLOCKED: 5.0, End.REFUSED: 60.0}


class Route:
    """One worker's breaker."""

    def __init__(self, slot: Slot, clock: Clock, alert: SharedAlert) -> None:
        self._slot = slot
        self._alert = alert
        self._clock = clock
        self._pause = 0.0
        self._answers = 0
        self._alerted = -math.inf
        self._aloud = False

    def blocked(self, ended: Pass) -> float:
        """A pass has found it out of order; how long to wait (seconds) before the next one."""
        if self._answered():  # about others, before it broke off: it had been open again
            self._pause = 0.0
        first = not self._pause
        self._pause = next_pause(self._pause, ended.end)
        self._answers = self._count()
        if first:
            self._aloud = False
        recently = self._clock.monotonic() - self._alerted < QUIET
        lasting = self._pause == LONGEST_PAUSE[ended.end]
        if self._aloud or lasting or (first and not recently):
            self._tell(ended.reason, lasting)
        return self._pause

    def worked(self) -> None:
        """A job was worked off: if the server answered for anybody, the route is open again."""
        if self._pause and self._answered():
            self._pause = 0.0
            if self._aloud and self._alert.over():
                log.warning("The route is open again", extra={"event": "route.open"})

    def _tell(self, reason: str, lasting: bool) -> None:
        standing = self._alert.blocked(reason, lasting=lasting)
        if standing is Standing.NEW and not self._aloud:
            self._alerted = self._clock.monotonic()
            log.error("The route is blocked: %s", reason, extra={"event": "route.blocked"})
        self._aloud = standing is not Standing.QUIET

    def _answered(self) -> bool:
        return self._count() > self._answers

    def _count(self) -> int:
        return sum(self._slot.tally.hand_overs().counts)


def next_pause(last: float, end: End) -> float:
    """How long to wait before a route out of order is tried again, ``last`` time being 0 the first time."""
    return min(max(1.0, 2 * last), LONGEST_PAUSE[end])
