"""
What a worker counts: outcomes, events and durations, in its slot, growing for as long as the daemon lives.

Each cell has one writer: the worker of the slot (its main thread), and the supervisor for births and deaths.
A successor counts on from where its predecessor stopped, so no death loses a number and no sum ever shrinks.
Main reads them for ``/metrics``.
"""

from __future__ import annotations

import mmap
import struct
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import count

from mailerd.outcome import Kind

# Upper bounds of the buckets, in seconds; above the last one there is one more.
HAND_OVER_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
PICK_UP_BOUNDS = (0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)


class Event(StrEnum):
    """What a worker counts besides outcomes."""

    BORN = "born"  # forked into this slot
    DIED = "died"  # ended otherwise than in order
    LEASE_LOST = "lease_lost"
    BUSY = "busy"  # met a recipient whom another worker had in hand
    LIMITED = "limited"  # met a recipient who has to wait for a limit


@dataclass(frozen=True, slots=True)
class Histogram:
    """Durations counted by bucket: ``counts`` has one more than the bounds; ``total`` is in seconds."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float

    def __add__(self, other: Histogram) -> Histogram:
        counts = tuple(a + b for a, b in zip(self.counts, other.counts, strict=True))
        return Histogram(self.bounds, counts, self.total + other.total)


_CELL = 8
_COUNT = struct.Struct("@Q")
_SECONDS = struct.Struct("@d")


def _places(names: Sequence[Kind | Event], first: int) -> dict[Kind | Event, int]:
    return dict(zip(names, count(first, _CELL), strict=False))


# The order of the cells: kinds, events, then each histogram with its sum before its buckets.
_OUTCOMES = _places(list(Kind), 0)
_EVENTS = _places(list(Event), len(Kind) * _CELL)
_HAND_OVER_AT = (len(Kind) + len(Event)) * _CELL
_PICK_UP_AT = _HAND_OVER_AT + (len(HAND_OVER_BOUNDS) + 2) * _CELL
TALLY_SIZE = _PICK_UP_AT + (len(PICK_UP_BOUNDS) + 2) * _CELL


class Tally:
    """The counts of one slot; ``base`` is where they lie in the mapped memory, a multiple of 8."""

    def __init__(self, memory: mmap.mmap, base: int) -> None:
        self._memory = memory
        self._base = base

    def outcome(self, kind: Kind, times: int = 1) -> None:
        """Count what was booked for a recipient, or for several."""
        self._add(_COUNT, _OUTCOMES[kind], times)

    def event(self, event: Event, times: int = 1) -> None:
        """Count an event."""
        self._add(_COUNT, _EVENTS[event], times)

    def handed_over(self, seconds: float) -> None:
        """Count a hand-over, from its first word to the server's last."""
        self._observe(_HAND_OVER_AT, HAND_OVER_BOUNDS, seconds)

    def picked_up(self, seconds: float) -> None:
        """Count a job that a worker has begun, so long after it was enqueued."""
        self._observe(_PICK_UP_AT, PICK_UP_BOUNDS, seconds)

    def outcomes(self) -> Iterator[tuple[Kind, int]]:
        """How many of each kind."""
        return ((kind, self._read(_COUNT, _OUTCOMES[kind])) for kind in Kind)

    def count_of(self, event: Event) -> int:
        """How often it happened."""
        return self._read(_COUNT, _EVENTS[event])

    def hand_overs(self) -> Histogram:
        """The durations of hand-overs."""
        return self._histogram(_HAND_OVER_AT, HAND_OVER_BOUNDS)

    def pick_ups(self) -> Histogram:
        """How long jobs waited for a worker."""
        return self._histogram(_PICK_UP_AT, PICK_UP_BOUNDS)

    def _observe(self, at: int, bounds: tuple[float, ...], seconds: float) -> None:
        self._add(_SECONDS, at, seconds)
        self._add(_COUNT, at + (1 + bisect_left(bounds, seconds)) * _CELL, 1)

    def _histogram(self, at: int, bounds: tuple[float, ...]) -> Histogram:
        places = range(at + _CELL, at + (len(bounds) + 2) * _CELL, _CELL)
        counts = tuple(self._read(_COUNT, place) for place in places)
        return Histogram(bounds, counts, self._read(_SECONDS, at))

    def _add(self, cell: struct.Struct, place: int, more: float) -> None:
        cell.pack_into(self._memory, self._base + place, self._read(cell, place) + more)

    def _read(self, cell: struct.Struct, place: int) -> int:
        number: int = cell.unpack_from(self._memory, self._base + place)[0]
        return number
