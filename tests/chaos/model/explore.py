"""
Explores all that may happen in a case, breadth first, so that the trace of a breach is a shortest one.

A moment is remembered by its hash alone, with the moment before it; a trace is walked again from the first.
Nothing here knows the protocol.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from chaos.model.invariants import breach, unfinished
from chaos.model.moves import moves, steps
from chaos.model.names import canonical
from chaos.model.state import Case, Moment, World, first_moment

TELL_EVERY = 20_000
_LOW = 0xFFFFFFFF


@dataclass
class Finding:
    """How many moments and moves there are; a breach, and the moves that led to it."""

    moments: int = 0
    moves: int = 0
    breach: str = ""
    trace: tuple[str, ...] = ()


def explore(case: Case, tell: Callable[[str], None] = lambda _: None) -> Finding:
    """Go everywhere, or until something is wrong; ``tell`` hears from time to time how far it is."""
    return _Search(case, tell).everywhere()


class _Search:
    """The moments met, numbered in the order of discovery: each one's hash and where it was met from."""

    def __init__(self, case: Case, tell: Callable[[str], None]) -> None:
        self._case, self._tell = case, tell
        self._numbers: dict[int, int] = {}
        self._hashes, self._met_from = array("q"), array("l")
        self._edges = array("q")  # two numbers in one, of each move that is no fault
        self._ends: list[int] = []
        self._ahead: deque[Moment] = deque()
        self._found = Finding()

    def everywhere(self) -> Finding:
        self._meet(first_moment(self._case), 0)
        while self._ahead:
            here, moment = self._found.moments, self._ahead.popleft()
            self._found.moments += 1
            if self._found.moments % TELL_EVERY == 0:
                self._tell(f"{self._case.name}: {self._found.moments:,} moments, {len(self._ahead):,} ahead")
            wrong = breach(self._case, moment)
            if not self._go_on(moment, here):
                self._ends.append(here)
                wrong = wrong or unfinished(self._case, moment)
            if wrong:
                return self._broken(wrong, here)
        stuck = self._stuck()
        return self._found if stuck < 0 else self._broken("from here no way leads to an end", stuck)

    def _go_on(self, moment: Moment, here: int) -> bool:
        """Meet all that may come next; whether any of it is work."""
        works = False
        for move in moves(self._case, moment):
            self._found.moves += 1
            there = self._meet(move.after, here)
            works |= move.kind == "work" and there != here
            if move.kind != "fault":
                self._edges.append(here << 32 | there)
        return works

    def _meet(self, moment: Moment, met_from: int) -> int:
        name = hash(moment)
        number = self._numbers.setdefault(name, len(self._numbers))
        if number == len(self._hashes):
            self._hashes.append(name)
            self._met_from.append(met_from)
            self._ahead.append(moment)
        return number

    def _stuck(self) -> int:
        """The first moment from which no end can be reached without a fault; -1 when there is none."""
        good = bytearray(len(self._hashes))
        for number in self._ends:
            good[number] = 1
        grew = True
        while grew:  # against the order of discovery, so that few rounds do
            grew = False
            for edge in reversed(self._edges):
                if good[edge & _LOW] and not good[edge >> 32]:
                    good[edge >> 32] = 1
                    grew = True
        return good.find(0)

    def _broken(self, wrong: str, here: int) -> Finding:
        self._found.breach, self._found.trace = wrong, tuple(self._trace(here))
        return self._found

    def _trace(self, last: int) -> Iterator[str]:
        way = [last]
        while way[-1]:
            way.append(self._met_from[way[-1]])
        world = World(self._case, first_moment(self._case))
        for number in reversed(way[:-1]):
            for words, _, after in steps(world):
                if hash(canonical(after.again())) == self._hashes[number]:
                    yield words
                    world = after
                    break
