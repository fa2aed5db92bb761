"""
The session of the transport ``smtp``: one thread that drives all connections of a worker.

Decides which mail goes out on which connection, and when one is opened, left, or given up; what a mail came
to whose connection ended is ``in_hand.py``'s to say. Made by ``smtp.py``.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from functools import partial

from mailerd.clock import Clock
from mailerd.outcome import Kind, Outcome
from mailerd.transports.connection import ConnectionCut, RouteDown
from mailerd.transports.dialogue import Dialogue, Mail, Stage
from mailerd.transports.in_hand import InHand
from mailerd.transports.opening import Opening
from mailerd.transports.relays import Relays
from mailerd.transports.replies import ReplyTable
from mailerd.transports.session import HandOvers
from mailerd.transports.switchboard import Switchboard
from mailerd.transports.wire import Wire

log = logging.getLogger(__name__)

# A mail goes out behind another one only where the last verdict came within so many seconds: it would wait
# for a slow one, and so would a stop.
_QUICK = 0.5
# So long (seconds) no further connection is tried while there are others, once one did not come about.
_FEWER_FOR = 5.0
_GOODBYE = 4.0  # seconds


class SmtpSession:
    """See ``Session``. ``bounds``: so many connections, and so many mails on each."""

    def __init__(
        self, bounds: tuple[int, int], relays: Relays, table: ReplyTable, suspects: set[str], clock: Clock
    ) -> None:
        self._connections, self._longest = bounds
        self._relays = relays
        self._table = table
        self._clock = clock
        self._in_hand = InHand(relays, suspects)
        self._wires: set[Wire] = set()
        self._idle: list[Wire] = []
        self._openings: set[Opening] = set()
        self._board: Switchboard | None = None  # made after the fork, by whoever hands over
        self._fault: RouteDown | None = None  # why no connection comes about, in this group
        self._fewer_until = -math.inf
        self._aborted = False

    def deliver(self, mails: HandOvers) -> None:
        """See ``Session``."""
        self._in_hand.mails, self._fault = mails, None
        board = self._board = self._board or Switchboard()
        self._listen(board, 0.0)  # who has hung up meanwhile
        for wire in [each for each in self._idle if self._worn(each)]:
            self._retire(board, wire)
        while self._engage(board):
            # Heard after this moment: who stood still past a deadline finds the answer that came meanwhile.
            now = self._clock.monotonic()
            self._listen(board, self._patience())
            for wire in [each for each in self._busy() if each.deadline <= now]:
                self._cut(board, wire, f"no answer within {wire.patience:g} s")

    def close(self) -> None:
        """See ``Session``."""
        self._abandon_openings()
        if self._board is not None:
            for wire in list(self._wires):
                self._retire(self._board, wire)
            self._board.see_off(_GOODBYE)

    def abort(self) -> None:
        """See ``Session``."""
        self._aborted = True
        if self._board is not None:
            self._board.wake()

    # Which mail goes on which connection

    def _engage(self, board: Switchboard) -> bool:
        """Give work to whoever can take some; whether anything is under way."""
        if self._aborted:
            self._end_all(board)
        if self._fault is not None:
            self._in_hand.give_up(self._fault, others=bool(self._wires))
        while self._idle and (mail := self._in_hand.next()) is not None:
            self._start(board, self._idle.pop(), mail)
        unserved = len(self._in_hand.again) > len(self._openings)
        if unserved and self._idle and not self._place():
            self._retire(board, self._idle.pop())
        while self._may_open() and self._opening_helps():
            self._openings.add(Opening(self._relays, board.tell))
        self._wait_for_an_opening()
        return self._in_hand.count > 0

    def _place(self) -> bool:
        return len(self._wires) + len(self._openings) < self._connections

    def _may_open(self) -> bool:
        if self._fault is not None or self._aborted or not self._place():
            return False
        if not self._wires:  # one that is refused is enough to know it
            return not self._openings
        needed = bool(self._in_hand.again or self._in_hand.cut_off)
        return needed or self._clock.monotonic() >= self._fewer_until

    def _opening_helps(self) -> bool:
        return len(self._openings) < self._in_hand.want_connections or self._in_hand.one_more_waits()

    def _wait_for_an_opening(self) -> None:
        # Whom it was begun for may have gone out elsewhere, on a wire that is lost by now.
        if self._openings and not self._in_hand.count and self._fault is None:
            self._in_hand.one_more_waits()

    def _start(self, board: Switchboard, wire: Wire, mail: Mail) -> None:
        wire.dialogue.start(mail)
        try:
            wire.speak(self._clock.monotonic())
        except ConnectionCut as cut:
            self._cut(board, wire, str(cut))
        else:
            board.watch(wire)

    def _free(self, board: Switchboard, wire: Wire, choose: Callable[[], Mail | None]) -> None:
        """It can take a mail."""
        if self._worn(wire):
            self._retire(board, wire)
        elif (mail := choose()) is not None:
            self._start(board, wire, mail)
        else:
            self._idle.append(wire)

    def _worn(self, wire: Wire) -> bool:
        tired = wire.leaving or wire.dialogue.mails >= self._longest
        return tired or self._relays.have_better_than(wire.relay)

    # What happens on a connection

    def _busy(self) -> list[Wire]:
        return [wire for wire in self._wires if wire.dialogue.in_hand]

    def _patience(self) -> float | None:
        """How long to wait; for a connection that is opened its own thread has patience."""
        deadlines = [wire.deadline for wire in self._busy()]
        return max(0.0, min(deadlines) - self._clock.monotonic()) if deadlines else None

    def _listen(self, board: Switchboard, seconds: float | None) -> None:
        for wire in board.wait(seconds):
            if wire in self._wires:
                self._turn(board, wire)
        for opening in board.opened():
            if opening in self._openings:
                self._openings.remove(opening)
                self._opened(board, opening)
            elif opening.connection is not None:  # abandoned in the moment in which it came about
                opening.connection.close()

    def _turn(self, board: Switchboard, wire: Wire) -> None:
        try:
            wire.turn(self._clock.monotonic())
        except ConnectionCut as cut:
            self._cut(board, wire, str(cut))
            return
        board.watch(wire)
        if not wire.dialogue.in_hand and wire not in self._idle:
            self._free(board, wire, self._in_hand.next)

    def _begin(self, wire: Wire, mail: Mail) -> bool:
        wire.began = self._clock.monotonic()
        return self._in_hand.mails.begin(mail.index)

    def _behind(self, wire: Wire) -> Mail | None:
        return None if self._worn(wire) or not wire.quick else self._in_hand.next()

    def _answered(self, wire: Wire, mail: Mail, outcome: Outcome) -> None:
        if mail.stage is Stage.DOT:
            wire.quick = self._clock.monotonic() - wire.began < _QUICK
        wire.leaving |= not self._in_hand.answered(mail, outcome, wire.relay)

    # How connections come and go

    def _opened(self, board: Switchboard, opening: Opening) -> None:
        came = opening.opened()
        if isinstance(came, RouteDown):
            self._not_opened(came)
            return
        relay, connection = came
        log.debug("connected to %s", connection.where, extra={"event": "smtp.connected"})
        wire = Wire(relay, connection)
        wire.dialogue = Dialogue(
            connection.where,
            self._table,
            partial(self._begin, wire),
            partial(self._behind, wire),
            partial(self._answered, wire),
            pipelining=connection.pipelining,
        )
        self._wires.add(wire)
        board.watch(wire)
        self._in_hand.settle_cut_off(relay)
        self._free(board, wire, self._in_hand.first)

    def _not_opened(self, fault: RouteDown) -> None:
        self._fault = fault
        now = self._clock.monotonic()
        if self._wires:
            log.info("No further connection: %s", fault, extra={"event": "smtp.fewer"})
        self._fewer_until = now + _FEWER_FOR

    def _cut(self, board: Switchboard, wire: Wire, why: str) -> None:
        """It ended, and is never used again: a late answer on it would be taken for the next mail's."""
        self._drop(board, wire)
        wire.connection.close()
        why = f"{wire.connection.where}: {why}"
        mails, wire.dialogue.in_hand = wire.dialogue.in_hand, []
        early = bool(mails) and mails[0].stage < Stage.BEGUN and not self._aborted
        if early and wire.dialogue.mails == 1:
            self._relays.failed(wire.relay, Kind.BLOCKED, why)
        for mail in mails:
            self._in_hand.after_cut(mail, wire.relay, why, aborted=self._aborted)

    def _end_all(self, board: Switchboard) -> None:
        """Told to stop: nothing more is begun, and nobody is waited for."""
        self._abandon_openings()
        self._listen(board, 0.0)  # what has been answered already is known
        for wire in list(self._wires):
            self._cut(board, wire, "told to stop")
        self._in_hand.end()

    def _abandon_openings(self) -> None:
        for opening in self._openings:
            opening.abandon()
        self._openings.clear()

    def _drop(self, board: Switchboard, wire: Wire) -> None:
        board.forget(wire)
        self._wires.discard(wire)
        if wire in self._idle:
            self._idle.remove(wire)

    def _retire(self, board: Switchboard, wire: Wire) -> None:
        self._drop(board, wire)
        board.bid_farewell(wire.connection.quit)
