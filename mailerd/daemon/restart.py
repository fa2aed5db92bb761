"""
When a dead worker's slot is filled again: policy without mechanism.

A worker that had settled something is followed at once, whatever killed it. One that died without progress
is a different event: its slot waits, twice as long each time, and all such starts together have a budget.
Nobody is ever given up. Pure: values and ``now`` in, values out; the supervisor asks.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from mailerd.errors import EXIT_CLEAN, EXIT_RECYCLE

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_JITTER = 0.2
_HEALTHY_AFTER = 60.0
_BUDGET_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Life:
    """
    How a worker lived: for how long, whether it got anything done, whether it was told to leave.

    ``exit_code`` is None where a signal ended it.
    """

    seconds: float
    settled: bool
    told: bool
    exit_code: int | None


@dataclass(frozen=True, slots=True)
class Record:
    """What a slot has been through: deaths in a row without progress, and when it may be filled again."""

    failures: int = 0
    not_before: float = 0.0

    def after(self, life: Life, now: float, chance: float) -> Record:
        """The record after another life; ``chance``, from 0 to 1, spreads the pauses by a fifth."""
        if not failed(life):
            return Record()
        pause = min(_FIRST_PAUSE * 2.0 ** min(self.failures, 10), _LONGEST_PAUSE)
        return Record(self.failures + 1, now + pause * (1 - _JITTER + 2 * _JITTER * chance))


def failed(life: Life) -> bool:
    """
    Whether the life was one without progress.

    A worker that left by itself has not failed, unless it left at once.
    """
    if life.settled or life.told or life.seconds >= _HEALTHY_AFTER:
        return False
    return not (life.exit_code in {EXIT_CLEAN, EXIT_RECYCLE} and life.seconds >= 1.0)


class Budget:
    """The starts after a failure that all slots together are allowed: twice the pool in ten seconds."""

    def __init__(self) -> None:
        self._spent: deque[float] = deque()

    def allows(self, pool: int, now: float) -> bool:
        """Whether one more start is allowed now."""
        while self._spent and self._spent[0] <= now - _BUDGET_SECONDS:
            self._spent.popleft()
        return len(self._spent) < 2 * pool

    def spend(self, now: float) -> None:
        """Note a start."""
        self._spent.append(now)
