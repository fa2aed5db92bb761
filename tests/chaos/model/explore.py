"""
Explores all that may happen in a case, breadth first, so that the trace of a breach is a shortest one.

A moment is remembered by its hash alone, with that of the moment before it; the trace is walked again from
the first. Nothing here knows the protocol.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from chaos.model.invariants import breach, unfinished
from chaos.model.moves import moves
from chaos.model.state import Case, Moment, first_moment

TELL_EVERY = 20_000


@dataclass
class Finding:
    """How many moments, moves and ends there are; a breach, and the moves that led to it."""

    moments: int = 0
    moves: int = 0
    ends: int = 0
    breach: str = ""
    trace: tuple[str, ...] = ()


def explore(case: Case, tell: Callable[[str], None] = lambda _: None) -> Finding:
    """Go everywhere, or until something is wrong."""
    found = Finding()
    first = first_moment(case)
    came_from = {hash(first): 0}
    numbers = {hash(first): 0}
    edges, ends = array("q"), []
    front = [first]
    while front:
        ahead: list[Moment] = []
        for moment in front:
            found.moments += 1
            if found.moments % TELL_EVERY == 0:
                tell(f"{case.name}: {found.moments:,} moments, {found.moves:,} moves, {len(front):,} at once")
            wrong = breach(case, moment)
            busy = False
            here = hash(moment)
            for move in moves(case, moment):
                found.moves += 1
                there = hash(move.after)
                busy |= move.kind == "work" and there != here
                if there not in came_from:
                    came_from[there] = here
                    numbers[there] = len(numbers)
                    ahead.append(move.after)
                if move.kind != "fault":
                    edges.append(numbers[here] << 32 | numbers[there])
            if not busy:
                found.ends += 1
                ends.append(numbers[here])
                wrong = wrong or unfinished(case, moment)
            if wrong:
                found.breach = wrong
                found.trace = tuple(_trace(case, came_from, here))
                return found
        front = ahead
    stuck = _stuck(len(numbers), edges, ends)
    if stuck is not None:
        here = next(name for name, number in numbers.items() if number == stuck)
        found.breach = "from here no way leads to an end"
        found.trace = tuple(_trace(case, came_from, here))
    return found


def _stuck(size: int, edges: array[int], ends: list[int]) -> int | None:
    """The first moment from which none of the ends can be reached without a fault."""
    good = bytearray(size)
    for number in ends:
        good[number] = 1
    grew = True
    while grew:  # against the order of discovery, so that few rounds do
        grew = False
        for edge in reversed(edges):
            if good[edge & 0xFFFFFFFF] and not good[edge >> 32]:
                good[edge >> 32] = 1
                grew = True
    bad = good.find(0)
    return None if bad < 0 else bad


def _trace(case: Case, came_from: dict[int, int], last: int) -> Iterator[str]:
    names = [last]
    while came_from[names[-1]]:
        names.append(came_from[names[-1]])
    moment = first_moment(case)
    for name in reversed(names[:-1]):
        move = next(move for move in moves(case, moment) if hash(move.after) == name)
        moment = move.after
        yield f"{move.words}"
