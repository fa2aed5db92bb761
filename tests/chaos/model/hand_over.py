"""
A group on its way, in the order of ``delivery``: noted on the board, claimed, handed over, marked, cleared.

The steps are of the same kind as those of ``worker``, which calls them by its table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from chaos.model import failover, lists, rows
from chaos.model.rows import Booking
from chaos.model.state import World

# What a recipient comes to whose claim led to no hand-over.
RELEASED = "q"


def group(world: World, n: int) -> str:
    """Note the next group on the board, before it is claimed."""
    me = world.workers[n]
    if me.stop:
        world.worker(n, at="give_back")
        return "hears its stop"
    size = world.case.connections
    chosen = me.rest[:size]
    board = "" if world.lacks("group noted after the claim") else "C" * len(chosen)
    world.worker(n, at="claim", rest=me.rest[size:], group=chosen, doing="-" * len(chosen), board=board)
    if world.lacks("ack before mark"):
        lists.finish(world, n, me.job, "")
    return f"board: group {chosen}"


def claim(world: World, n: int) -> str:
    me = world.workers[n]
    answer, answers = rows.claim(world, n, me.group, retry=me.job[0] == "R")
    if answer == "lost":
        world.worker(n, at="release", ending="rejoin")
        return "claim: lost"
    if answer == "ok" and world.copy and not world.lacks("copies waited for"):
        world.worker(n, at="release", ending="give_back")
        return f"claim {me.group}: too few copies"
    if answer != "ok":
        # They may be claimed, by a try whose answer was lost.
        at = "clear" if world.lacks("released when halted") else "mark"
        ending = {"paused": "park", "cancelled": "close"}[answer]
        world.worker(n, at=at, ending=ending, doing=RELEASED * len(me.group))
        return f"claim {me.group}: {answer}"
    busy = tuple(one for one, said in zip(me.group, answers, strict=True) if said == "busy")
    doing = "".join("w" if said == "claimed" else "-" for said in answers)
    at = "clear" if "w" not in doing else "note" if world.lacks("group noted after the claim") else "hand"
    world.worker(n, at=at, busy=me.busy + busy, doing=doing)
    return f"claim {me.group}: {' '.join(answers)}"


def note_late(world: World, n: int) -> str:
    """Only with that fault planted: the group is noted after it was claimed."""
    world.worker(n, at="hand", board="C" * len(world.workers[n].group))
    return "board: group"


def release(world: World, n: int) -> str:
    """The lease was lost at the claim, or copies are missing: they may be claimed, nobody was handed over."""
    failover.remember(world, n, world.workers[n].group, RELEASED * len(world.workers[n].group))
    rows.mark(world, n, [Booking(one, RELEASED) for one in world.workers[n].group])
    world.worker(n, at="clear")
    return "mark: the group released"


def next_for(world: World, n: int) -> Iterator[tuple[str, str, Callable[[World], None]]]:
    """
    What a recipient in hand may meet next: words, the fault that it takes or '', and what it does.

    Those of a group are handed over at the same time, so any of them may be the next.
    """
    me = world.workers[n]
    for index, (contact, doing) in enumerate(zip(me.group, me.doing, strict=True)):
        if doing == "w" and me.sure | world.lacks("no fencing"):
            yield f"begins the hand-over of {contact}", "", _begins(n, index)
            yield f"finds the route blocked before {contact}", "blocked", _came_to(n, index, RELEASED)
        elif doing == "w":
            yield f"is not sure of its lease: {contact} is withheld", "", _came_to(n, index, RELEASED)
        elif doing == "b":
            yield f"DATA of {contact}: accepted", "", _came_to(n, index, "s")
            for fault, letter in (("unanswered", "u"), ("deferred", "d"), ("failed", "f")):
                yield f"DATA of {contact}: {fault}", fault, _came_to(n, index, letter)
        elif doing != "-" and me.board[index] != doing:
            yield f"board: the answer for {contact}", "", _noted(n, index)


def _begins(n: int, index: int) -> Callable[[World], None]:
    def begins(world: World) -> None:
        me = world.workers[n]
        board = me.board if world.lacks("hand-over noted after DATA") else _with(me.board, index, "H")
        world.worker(n, doing=_with(me.doing, index, "b"), board=board)
        contact = me.group[index]
        world.begun = (*world.begun[:contact], True, *world.begun[contact + 1 :])

    return begins


def _came_to(n: int, index: int, letter: str) -> Callable[[World], None]:
    def came_to(world: World) -> None:
        me = world.workers[n]
        world.worker(n, doing=_with(me.doing, index, letter))
        if letter in "su":
            contact, mailed = me.group[index], world.mailed
            world.mailed = (*mailed[:contact], mailed[contact] + 1, *mailed[contact + 1 :])

    return came_to


def _noted(n: int, index: int) -> Callable[[World], None]:
    def noted(world: World) -> None:
        me = world.workers[n]
        board = _with(me.board, index, me.doing[index])
        over = all(said in ("-", on) for said, on in zip(me.doing, board, strict=True))
        contact = me.group[index]
        if me.doing[index] in "df" and not world.doubts[contact]:
            world.begun = (*world.begun[:contact], False, *world.begun[contact + 1 :])
        world.worker(n, board=board, at="mark" if over else "hand")
        if over:
            failover.remember(world, n, me.group, me.doing)

    return noted


def bookings_of(world: World, contacts: tuple[int, ...], outcomes: str) -> list[Booking]:
    """What outcomes are booked as: a lost answer under ``resend`` as deferred."""
    return [
        Booking(contact, "d", doubtful=True)
        if letter == "u" and world.case.resend
        else Booking(contact, letter)
        for contact, letter in zip(contacts, outcomes, strict=True)
        if letter != "-"
    ]


def mark(world: World, n: int) -> str:
    me = world.workers[n]
    rows.mark(world, n, bookings_of(world, me.group, me.doing), "" if me.bunch else me.job)
    world.worker(n, at="clear", ending=me.ending or ("give_back" if RELEASED in me.doing else ""))
    return f"mark {me.group}: {me.doing}"


def clear(world: World, n: int) -> str:
    me = world.workers[n]
    world.worker(
        n,
        at=me.ending or ("group" if me.rest else "finish"),
        group=(),
        doing="",
        board="",
        ending="",
        rest=() if me.ending else me.rest,
    )
    failover.forget(world, n)
    return "board: the group is cleared"


def _with(text: str, index: int, letter: str) -> str:
    return text[:index] + letter + text[index + 1 :]
