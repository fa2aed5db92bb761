"""
The faults of a run, from a seed: pure, so that the same seed plays the same faults against the same jobs.

A round is what is broken at the same time; the run lets work flow again between two rounds. Faults of one
lane never overlap, since they would undo each other.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

HOSTS = 2


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault: how often it comes, how long it lasts (seconds), what it may not meet."""

    name: str
    lane: str
    weight: int
    shortest: float
    longest: float


KINDS = (
    Kind("kill-worker", "process", 14, 0.0, 0.0),
    Kind("stop-worker", "process", 3, 3.4, 8.0),
    Kind("kill-supervisor", "process", 2, 0.0, 0.0),
    Kind("stop-supervisor", "process", 1, 3.4, 4.0),
    Kind("kill-main", "process", 2, 0.0, 0.0),
    Kind("stop-main", "process", 1, 3.4, 4.0),
    Kind("kill-host", "process", 2, 0.5, 5.0),
    Kind("term", "process", 2, 0.0, 0.0),
    Kind("reload", "process", 3, 0.3, 0.6),
    Kind("more-workers", "process", 3, 0.2, 0.8),
    Kind("fewer-workers", "process", 2, 0.2, 0.8),
    Kind("client-kill", "redis", 6, 0.0, 0.0),
    Kind("client-unblock", "redis", 6, 0.0, 0.0),
    Kind("script-flush", "redis", 6, 0.1, 0.4),
    Kind("memory-full", "redis", 3, 0.3, 1.5),
    Kind("save-fails", "redis", 3, 0.3, 1.5),
    Kind("read-only", "redis", 3, 0.2, 1.2),
    Kind("redis-frozen", "redis", 2, 0.5, 4.5),
    Kind("redis-killed", "redis", 3, 0.0, 0.5),
    Kind("failover", "redis", 6, 0.2, 0.6),
    Kind("failover-unseen", "redis", 4, 0.5, 1.5),
    Kind("master-frozen", "redis", 4, 2.5, 4.5),
    Kind("drop-reply", "network", 10, 0.1, 0.4),
    Kind("cut", "network", 6, 0.0, 0.0),
    Kind("delay", "network", 4, 0.3, 1.0),
    Kind("black-hole", "network", 2, 0.5, 4.5),
    Kind("parked-take", "network", 1, 0.3, 0.5),
    Kind("smtp-4xx", "smtp", 5, 0.3, 0.8),
    Kind("smtp-5xx", "smtp", 5, 0.3, 0.8),
    Kind("smtp-421", "smtp", 4, 0.2, 0.6),
    Kind("smtp-stall", "smtp", 3, 0.3, 0.8),
    Kind("smtp-hang-up-before-dot", "smtp", 4, 0.2, 0.6),
    Kind("smtp-hang-up-after-dot", "smtp", 4, 0.2, 0.6),
    Kind("smtp-slow", "smtp", 3, 0.3, 0.8),
    Kind("smtp-gone", "smtp", 2, 0.3, 1.5),
    Kind("smtp-outage", "smtp", 1, 16.0, 17.0),  # longer than the first pauses of a route: 1, 2, 4, 8
    Kind("sql-gone", "sql", 3, 0.3, 1.5),
    Kind("disk-full", "disk", 3, 0.3, 1.0),
    Kind("pause-batch", "operator", 5, 0.2, 1.0),
    Kind("cancel-batch", "operator", 3, 0.0, 0.0),
    Kind("retry-batch", "operator", 4, 0.0, 0.0),
)
NAMES = tuple(kind.name for kind in KINDS)
# What needs sentinels, and what a run with them does without: it has no proxies and no append-only file.
OF_SENTINELS = ("failover", "failover-unseen", "master-frozen")
OF_ONE_SERVER = (
    "save-fails",
    "read-only",
    "redis-frozen",
    "redis-killed",
    *(kind.name for kind in KINDS if kind.lane == "network"),
)
LANES = tuple(dict.fromkeys(kind.lane for kind in KINDS))


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: which, on which host, when after the round's begin, how long; a number for its choices."""

    name: str
    host: int
    after: float
    seconds: float
    choice: int


Round = tuple[Fault, ...]


def rounds(seed: int, only: Sequence[str]) -> Iterator[Round]:
    """The rounds of a run, without end; each lane deals its kinds from a deck: all of them come soon."""
    dice = random.Random(seed)
    decks: dict[str, list[Kind]] = {}
    lanes = [lane for lane in LANES if _kinds(lane, only)]
    weights = [sum(kind.weight for kind in _kinds(lane, only)) for lane in lanes]
    while True:
        wanted = min(dice.choice((1, 2, 2, 3, 4)), len(lanes))
        chosen: set[str] = set()
        while len(chosen) < wanted:
            chosen.add(dice.choices(lanes, weights)[0])
        yield tuple(_fault(dice, _drawn(dice, decks, lane, only)) for lane in sorted(chosen))


def played(*, sentinels: bool) -> tuple[str, ...]:
    """The faults that a run plays when nothing else is asked for."""
    without = OF_ONE_SERVER if sentinels else OF_SENTINELS
    return tuple(name for name in NAMES if name not in without)


def _kinds(lane: str, only: Sequence[str]) -> list[Kind]:
    return [kind for kind in KINDS if kind.lane == lane and kind.name in only]


def _drawn(dice: random.Random, decks: dict[str, list[Kind]], lane: str, only: Sequence[str]) -> Kind:
    if not decks.get(lane):
        decks[lane] = [kind for kind in _kinds(lane, only) for _ in range(kind.weight)]
        dice.shuffle(decks[lane])
    return decks[lane].pop()


def _fault(dice: random.Random, kind: Kind) -> Fault:
    seconds = dice.uniform(kind.shortest, kind.longest)
    return Fault(kind.name, dice.randrange(HOSTS), dice.uniform(0, 0.4), seconds, dice.randrange(1 << 30))
