"""
What the janitors of all hosts do, one command each, and what time does: leases lapse, parked BLMOVEs deliver.

Their chores are due at any moment and never end. A dead worker's board is settled in stages; whoever breaks
off begins again. Called by ``moves`` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from chaos.model import lists, rows
from chaos.model.hand_over import RELEASED, bookings_of
from chaos.model.state import Remains, World, put

Chore = tuple[str, str, Callable[[World], str | None]]


def chores(world: World) -> Iterator[Chore]:
    """All that may be done at that moment."""
    for index, one in enumerate(world.remains):
        yield "janitor:", "work", lambda after, index=index, one=one: _settle(after, index, one)
    for number, inc in enumerate(world.incs):
        yield from _of_incarnation(world, number, lives=inc.lives, known=inc.known, holds=bool(inc.hand))
        if inc.late and world.queue:
            yield (
                f"a parked BLMOVE of {number} delivers",
                "work",
                lambda after, number=number: _late(after, number),
            )
    for payload in sorted(set(world.aside)):
        yield (
            f"janitor: promote {payload}",
            "work",
            lambda after, payload=payload: lists.promote(after, payload),
        )
    if world.sweeps:
        yield "janitor: sweep", "work", _sweep


def _of_incarnation(world: World, number: int, *, lives: bool, known: str, holds: bool) -> Iterator[Chore]:
    is_dead = number >= world.case.workers
    if lives and (is_dead or not world.workers[number].sure):
        yield f"the lease of {number} lapses", "work", lambda after: after.inc(number, lives=False)
    if known == "w" and not lives:
        yield f"janitor: reap {number}:", "work", lambda after: _reap(after, number, "unseen")
    if known == "g" and holds:
        yield f"janitor: visit the grave of {number}:", "work", lambda after: _reap(after, number, "no")


def _reap(world: World, number: int, counted: str) -> str:
    return f"{lists.reap(world, number, counted=counted)} back"


def _late(world: World, number: int) -> str:
    world.inc(number, late=False)
    return lists.take(world, number)


def _settle(world: World, index: int, one: Remains) -> str:
    """End the lease, book what the board tells, return the job."""
    world.remains = put(world.remains, index, one._replace(stage=one.stage + 1))
    if one.stage == 0:
        world.inc(one.inc, lives=False)
        return f"end the lease of {one.inc}"
    if one.stage == 1:
        if not world.lacks("board ignored"):
            outcomes = one.board.replace("C", RELEASED).replace("H", "u")
            rows.mark(world, one.inc, bookings_of(world, one.group, outcomes))
        return f"mark what {one.inc} left: {one.group} {one.board}"
    world.remains = world.remains[:index] + world.remains[index + 1 :]
    got_anywhere = bool(one.board.strip("C-"))
    return f"reap {one.inc}: {lists.reap(world, one.inc, counted='no' if got_anywhere else 'died')} back"


def _sweep(world: World) -> str:
    """Parked jobs first, then the rows, then the word itself; each its own command."""
    word, stage = world.sweeps[0]
    todo = {"cancel": ("unpark", "rows", "done"), "resume": ("unpark", "done"), "retry": ("rows", "done")}[
        word
    ]
    world.sweeps = ((word, stage + 1), *world.sweeps[1:])
    if todo[stage] == "unpark":
        return f"{word}: {lists.unpark(world)} unparked"
    if todo[stage] == "rows":
        return f"{word}: {rows.sweep(world, word)} rows"
    world.sweeps = world.sweeps[1:]
    return f"{word}: done"
