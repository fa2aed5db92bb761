"""
Everything that may happen next: a step of a worker, a janitor, time, a producer, an operator; a fault.

Every order is explored, so nothing here decides when something happens; only how often: faults are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from chaos.model import failover, hand_over, lists, rows, worker
from chaos.model.adversary import faults
from chaos.model.janitor import chores
from chaos.model.names import canonical
from chaos.model.state import Case, Moment, Worker, World, put


class Move(NamedTuple):
    """``kind``: ``work`` (that of the daemons and of time), ``word`` of an operator, or ``fault``."""

    words: str
    kind: str
    after: Moment


def moves(case: Case, moment: Moment) -> Iterator[Move]:
    """The moves from there, each with the moment that it leads to."""
    for words, kind, after in steps(World(case, moment)):
        yield Move(words, kind, canonical(after))


def steps(before: World) -> Iterator[tuple[str, str, World]]:
    """The moves from there, in which everybody keeps the name."""
    for words, kind, do in offers(before):
        after = before.again()
        said = do(after)
        if said is None or said:
            _hurry(after)
            yield f"{words} {said or ''}".strip(), kind, after


Act = Callable[[World], str | None]
Offer = tuple[str, str, Act]


def offers(world: World) -> Iterator[Offer]:
    """What may happen next: words, kind, and what does it; what comes to nothing says ''."""
    for n in range(world.case.workers):
        yield from _of_worker(world, n)
    yield from chores(world)
    yield from _operator(world)
    if world.copy:
        yield "failover:", "work", failover.fail_over
    elif world.coming:
        yield f"a producer pushes {world.coming[0]}", "work", _push
    if world.faults:
        yield from faults(world)


def _of_worker(world: World, n: int) -> Iterator[Offer]:
    me, name = world.workers[n], f"worker {n}:"
    if me.at == "hand":
        for words, fault, do in hand_over.next_for(world, n):
            if not fault:
                yield f"{name} {words}", "work", do  # type: ignore[misc]
            elif world.faults and fault in world.case.faults:
                yield f"{name} {words}", "fault", _counted(do)
    elif me.met or me.at in worker.ON_THE_BOARD:
        yield name, "work", lambda after: worker.STEPS[me.at](after, n)
        if world.faults and me.at in worker.REPEATED and "lose" in world.case.faults:
            yield f"{name} (its answer is lost)", "fault", lambda after: _unheard(after, n)
    if not me.met and me.at not in (*worker.ON_THE_BOARD, "hand"):
        yield name, "work", lambda after: failover.meet(after, n)
    elif me.met and not me.sure and me.at not in ("take", "register"):
        yield name, "work", lambda after: worker.renew(after, n)


def _unheard(world: World, n: int) -> str:
    """The command is carried out, and the worker does not know."""
    before = world.workers[n]
    words = worker.STEPS[before.at](world, n)
    world.workers = put(world.workers, n, before._replace(more=True))
    world.faults -= 1
    return words


def _counted(do: Callable[[World], None]) -> Act:
    def counted(world: World) -> None:
        do(world)
        world.faults -= 1

    return counted


def _push(world: World) -> None:
    world.queue = (*world.queue, world.coming[0])
    world.coming = world.coming[1:]


def _operator(world: World) -> Iterator[Offer]:
    if not world.words:
        return
    word = world.words[0]
    if word == "reopen" and world.dead:
        yield (
            "the operator: resolve",
            "word",
            lambda after: _said(after, str(rows.resolve(after, after.dead[0]))),
        )
    elif word == "revive" and world.dead:
        yield "the operator: revive", "word", lambda after: _said(after, _revive(after))
    elif word in ("pause", "resume", "cancel", "retry"):
        yield f"the operator: act {word}", "word", lambda after: _word(after, word)


def _revive(world: World) -> str:
    lists.revive(world, world.dead[0])
    return "done"


def _word(world: World, word: str) -> str:
    return "" if rows.act(world, word) == "nothing" else _said(world, "done")


def _said(world: World, answer: str) -> str:
    world.words = world.words[1:]
    return answer


def _hurry(world: World) -> None:
    """
    Where nobody can die any more, what commutes with all that others do is done at once: it changes nothing.

    That is what only writes to a board, which nobody will read, and under a sure lease also a hand-over and
    what concerns the own hand alone.
    """
    if world.faults or world.copy or not all(me.met for me in world.workers):
        return
    for n in range(world.case.workers):
        while _hurried(world, n, world.workers[n]):
            pass
        me = world.workers[n]
        if me.board.strip("-") and me.at != "hand":
            world.worker(n, board="-" * len(me.board))


def _hurried(world: World, n: int, me: Worker) -> bool:
    if me.at == "hand" and me.sure:
        next(do for _, fault, do in hand_over.next_for(world, n) if not fault)(world)
        return True
    alone = (
        me.at == "register" or (me.at == "finish" and not me.busy) or (me.at == "open" and not world.words)
    )
    if me.at in worker.ON_THE_BOARD or (alone and me.sure and not me.stop):
        worker.STEPS[me.at](world, n)
        return True
    return False
