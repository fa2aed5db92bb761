"""
What may go wrong, besides a lost answer (``moves``) and what the mail server says (``worker``).

crash: a worker is killed, its board is settled. vanish: its host is gone for good, and the board with it.
stall: it, or its keeper, is held up until its lease may lapse; it goes on. late: its connection breaks and
its BLMOVE stays parked in the server. stop: it is told to leave. janitor: it dies while it settles a board.
lag: replication is held up, and a failover follows (``failover``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from chaos.model import failover
from chaos.model.names import bury_process
from chaos.model.state import World

Fault = tuple[str, str, Callable[[World], str | None]]


def faults(world: World) -> Iterator[Fault]:
    """Those that are possible at that moment; each takes one off what is left."""
    for n, me in enumerate(world.workers):
        if me.at == "register":
            continue
        for name, words, do, possible in (
            ("crash", "is killed", _crash, True),
            ("vanish", "vanishes with its host", _vanish, True),
            ("stall", "is held up", _stall, me.sure),
            ("late", "is killed, its BLMOVE stays parked", _die_late, me.at == "take" and not world.queue),
            (
                "late",
                "loses its connection, its BLMOVE stays parked",
                _late,
                me.at == "take" and not world.queue,
            ),
            ("stop", "is told to leave", _stop, not me.stop),
        ):
            if possible and name in world.case.faults:
                yield f"worker {n}: {words}", "fault", _counted(do, n)
    if "lag" in world.case.faults and failover.may_lag(world):
        yield "replication lags", "fault", _lag
    for index, one in enumerate(world.remains):
        if one.stage and "janitor" in world.case.faults:
            yield "janitor: is killed", "fault", _counted(_begin_again, index)


def _counted(do: Callable[[World, int], None], number: int) -> Callable[[World], None]:
    def fault(world: World) -> None:
        do(world, number)
        world.faults -= 1

    return fault


def _lag(world: World) -> None:
    failover.lag(world)
    world.faults -= 1


def _crash(world: World, n: int) -> None:
    bury_process(world, n, board=True)


def _vanish(world: World, n: int) -> None:
    bury_process(world, n, board=False)
    world.boards_lost = True


def _stall(world: World, n: int) -> None:
    world.worker(n, sure=False)


def _late(world: World, n: int) -> None:
    world.inc(n, late=True)
    world.worker(n, more=True)


def _die_late(world: World, n: int) -> None:
    world.inc(n, late=True)
    bury_process(world, n, board=True)


def _stop(world: World, n: int) -> None:
    world.worker(n, stop=True)


def _begin_again(world: World, index: int) -> None:
    some = world.remains
    world.remains = (*some[:index], some[index]._replace(stage=0), *some[index + 1 :])
