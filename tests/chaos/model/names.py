"""
Which incarnation is which: a worker's has the worker's number, those of the dead follow in their order.

Two moments that differ in nothing else are one, so that less is to be explored. Called wherever a process
ends or begins, and by ``moves`` after every move.
"""

from __future__ import annotations

from collections import Counter

from chaos.model.state import FORGOTTEN, Incarnation, Moment, Remains, Worker, World, freeze, put


def bury_process(world: World, number: int, *, board: bool) -> None:
    """A worker's process is over and its place is filled anew; its incarnation is one of the dead."""
    old = world.workers[number]
    dead = retire(world, number)
    if dead is not None and board:
        world.remains = (*world.remains, Remains(dead, old.group if old.board else (), old.board))
    world.worker(number, **Worker()._asdict())


def retire(world: World, number: int) -> int | None:
    """Move a worker's incarnation among the dead; its number there."""
    old = world.incs[number]
    if not old.known:
        return None
    dead = len(world.incs)
    world.incs = (*put(world.incs, number, Incarnation()), old)
    world.rename({number: str(dead)})
    return dead


def canonical(world: World) -> Moment:
    """The moment, the same for all that differ only in which worker is which, or in who is over."""
    if world.copy:  # it has the names of before
        return freeze(world)
    if len(world.incs) > world.case.workers:
        _forget_the_dead(world)
    if world.case.workers == 2 and _rank(world, 0) > _rank(world, 1):
        world.workers = world.workers[::-1]
        world.incs = (world.incs[1], world.incs[0], *world.incs[2:])
        world.rename({0: "1", 1: "0"})
    return freeze(world)


def _rank(world: World, number: int) -> tuple[Worker, Incarnation, list[bool]]:
    named = [row[1:] == str(number) for row in (*world.rows, *world.doubted)]
    return world.workers[number], world.incs[number], named


def _forget_the_dead(world: World) -> None:
    named = Counter(row[1] for row in world.rows if len(row) == 2)
    unsettled = {one.inc for one in world.remains}
    unsettled |= {word[0] for me in world.workers for words in (me.ring, *me.heard) for word in words}
    names, kept = {}, list(world.incs[: world.case.workers])
    for number in range(world.case.workers, len(world.incs)):
        one = world.incs[number]
        over = not one.hand and not one.late and number not in unsettled
        if over and not (one.lives and named[str(number)]):
            names[number] = FORGOTTEN
        else:
            names[number] = str(len(kept))
            kept.append(one)
    if len(kept) < len(world.incs) or any(str(old) != new for old, new in names.items()):
        world.incs = tuple(kept)
        world.arrivals = tuple(one for one in world.arrivals if names.get(one) != FORGOTTEN)
        world.rename(names)
    # Of whom no more will come nobody is found not to have begun.
    world.doubted = tuple("?" if doubt == f"?{FORGOTTEN}" else doubt for doubt in world.doubted)
