"""
The model held against the real scripts: a walk at random, each script that it calls run on a real queue too.

After every move the answer and all that Redis holds must be what the model says. That a worker takes the
steps of ``worker.py`` in that order is not held here. Called by the tests alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from chaos.model import lists, rows
from chaos.model.coverage import MODELLED
from chaos.model.moves import offers
from chaos.model.real import Real
from chaos.model.state import LETTERS, Case, World, first_moment
from mailerd.errors import LeaseLost
from rigs.ledger_bench import LedgerBench

MOST_INCARNATIONS = 8  # a row of the model has room for one digit
WEIGHTS = {"work": 12, "word": 1, "fault": 2}

Call = tuple[str, tuple[Any, ...], dict[str, Any], Any]


class Calls:
    """Which scripts the model has called in this move, with what, and what it made them answer."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.made: list[Call] = []
        for name, step in MODELLED.items():
            module = lists if step.__module__ == lists.__name__ else rows
            patch.setattr(module, step.__name__, partial(self._call, name, step))

    def _call(self, name: str, step: Callable[..., Any], world: World, *given: Any, **more: Any) -> Any:
        answer = step(world, *given, **more)
        self.made.append((name, given, more, answer))
        return answer


def walk(case: Case, bench: LedgerBench, seed: int, steps: int, calls: Calls) -> int:
    """So many moves, fewer where all comes to an end; how many scripts were compared."""
    chance, real = random.Random(seed), Real(case, bench)
    world, trace, compared = World(case, first_moment(case)), [], 0
    for _ in range(steps):
        possible = list(offers(world))
        if not possible or len(world.incs) > MOST_INCARNATIONS:
            break
        words, _, do = chance.choices(possible, [WEIGHTS[kind] for _, kind, _ in possible])[0]
        before, world = world, world.again()
        calls.made.clear()
        said = do(world)
        trace.append(f"{words} {said or ''}")
        for call in calls.made:
            _compare(real, call, trace)
        compared += len(calls.made)
        real.follow(before, world)
        assert real.seen() == expected(world), "\n".join(trace)
    return compared


def _compare(real: Real, call: Call, trace: list[str]) -> None:
    name, given, more, answer = call
    told = "lost" if isinstance(answer, tuple) and answer[0] == "lost" else answer
    try:
        heard = getattr(real, name)(*given, **more)
    except LeaseLost:
        heard = "lost"
    # None: mailerd does not listen to more of that answer; what the script did is compared all the same.
    alike = heard == told or (heard is None and told != "lost")
    assert alike, "\n".join([*trace, f"{name}: the model says {told}, the script {heard}"])


def expected(world: World) -> dict[str, Any]:
    """All that Redis should hold."""
    counts = dict(zip(LETTERS, world.counts, strict=True))
    return {
        "queue": world.queue,
        "side": world.side,
        "parked": world.parked,
        "aside": world.aside,
        "dead": tuple(sorted(world.dead)),
        "sweeps": len(world.sweeps),
        "halt": world.halt,
        "ticket": world.ticket,
        "finished": world.finished,
        "promised": world.promised,
        "recipients": world.recipients,
        "counts": {letter: number for letter, number in counts.items() if number},
        "rows": world.rows,
        "doubted": world.doubted,
        "cursors": world.cursors,
        "deaths": dict(world.deaths),
        "arrivals": world.arrivals,
        "incs": [(inc.lives, inc.known, inc.hand) for inc in world.incs],
    }
