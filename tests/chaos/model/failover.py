"""
A failover: Redis forgets what its copy had not got, and the host's workers tell it (``work/failover``).

Replication is held up at one moment; until the copy becomes the master nobody's claim is confirmed, so
nobody is handed over any more (``redis.replicas = 1``). Who meets the new master reads all boards first,
tells it then, and says after that, in a script of its own, that it has. Clocks, the wait for other hosts and
the keeper's own meeting are not modelled.
"""

from __future__ import annotations

from collections.abc import Iterator

from chaos.model import rows
from chaos.model.state import REDIS, Word, World


def lag(world: World) -> None:
    """From now on the copy gets nothing."""
    world.copy = tuple(vars(world)[name] for name in REDIS)


def may_lag(world: World) -> bool:
    """Whether it may begin: once, and when everybody is somebody."""
    calm = all(me.met and me.sure and world.incs[n].known for n, me in enumerate(world.workers))
    return world.copy == () and calm


def fail_over(world: World) -> str:
    """The copy is the master; whether leases were renewed in it in time, nobody knows."""
    vars(world).update(zip(REDIS, world.copy or (), strict=True))
    world.copy, world.arrivals = None, ()
    for n, me in enumerate(world.workers):
        world.worker(n, met=False, sure=False, old=bool(me.job))
    return "the copy is the master"


def remember(world: World, n: int, contacts: tuple[int, ...], outcomes: str) -> None:
    """Put on the worker's ring what claims came to."""
    if "lag" in world.case.faults:
        words = tuple(
            (n, contact, letter if letter in "su" else "r")
            for contact, letter in zip(contacts, outcomes, strict=True)
            if letter != "-"
        )
        ring = world.workers[n].ring
        world.worker(n, ring=ring + tuple(word for word in words if word not in ring))


def forget(world: World, n: int) -> None:
    """What is booked and no copy lacks need not be kept."""
    if not world.copy and all(me.met for me in world.workers):
        world.worker(n, ring=())


def meet(world: World, n: int) -> str:
    """Read the boards of all who have not met this master; then tell it."""
    if not world.workers[n].heard:
        heard = tuple(word for word in _words(world) if _is_sure(world, n, word))
        world.worker(n, heard=(heard,))
        return f"reads the boards: {_told(heard)}"
    if not world.workers[n].told:
        (heard,) = world.workers[n].heard
        rows.replay(world, heard)
        world.worker(n, told=True)
        return f"tells {_told(heard)}"
    rows.arrive(world, n)
    world.worker(n, met=True, heard=(), told=False)
    if all(me.met for me in world.workers):
        for number, me in enumerate(world.workers):
            if not me.group:
                world.worker(number, ring=())
    return "arrives"


def _words(world: World) -> Iterator[Word]:
    for number, me in enumerate(world.workers):
        if not me.met:
            for contact, phase in zip(me.group, me.board, strict=False):
                if phase in "Hsu":
                    yield number, contact, phase.replace("H", "c")
            yield from me.ring


def _is_sure(world: World, n: int, word: Word) -> bool:
    """Whether a claim came to nothing, only its own worker knows, and only once it is not in hand again."""
    inc, contact, letter = word
    if letter != "r" or inc >= len(world.workers):
        return True
    me = world.workers[n]
    in_hand = {one for one, phase in zip(me.group, me.board, strict=False) if phase in "CH"}
    return inc == n and contact not in in_hand


def _told(words: tuple[Word, ...]) -> str:
    return " ".join(f"{inc}:{contact}={letter}" for inc, contact, letter in words) or "nothing"
