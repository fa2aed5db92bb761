"""
When those who were told to leave are hurried, and when they are killed: arithmetic and nothing else.

The pool goes first and HTTP last: an accepted job is safe in Redis whether or not a worker runs. The whole
of it has to fit between the stop and the service manager's own patience (``TimeoutStopSec``).
"""

from __future__ import annotations

from dataclasses import dataclass

KILL_AFTER_HURRY = 4.0
SUPERVISOR_LEAVES_WITHIN = 2.0
HTTP_WITHIN = 5.0
HTTP_IN_A_HURRY = 1.0
JANITOR_WITHIN = 3.0


@dataclass(frozen=True, slots=True)
class Timetable:
    """When to hurry and when to kill (CLOCK_MONOTONIC seconds)."""

    hurry_at: float
    kill_at: float

    @classmethod
    def patient(cls, now: float, drain_timeout: float) -> Timetable:
        """The usual one: everybody has ``drain_timeout`` seconds to finish what is in hand."""
        return cls(now + drain_timeout, now + drain_timeout + KILL_AFTER_HURRY)

    def hurried(self, now: float) -> Timetable:
        """The same from the moment at which all are told to hurry."""
        return Timetable(min(self.hurry_at, now), min(self.kill_at, now + KILL_AFTER_HURRY))


def longest_stop(drain_timeout: float) -> float:
    """The most seconds that a stop takes."""
    return drain_timeout + KILL_AFTER_HURRY + SUPERVISOR_LEAVES_WITHIN + HTTP_WITHIN + JANITOR_WITHIN
