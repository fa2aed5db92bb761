"""
The claimed ones of one group as the transport takes them: which is next, whether it may begin, its answer.

Each step is noted on the board as it is made. May be asked from several threads at once; made by
``delivery.py`` for each group.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from mailerd.board import Slot
from mailerd.clock import Clock, Stop
from mailerd.delivery.group import Group
from mailerd.delivery.silence import Silence
from mailerd.message import Message
from mailerd.outcome import OUT_OF_ORDER, SLOWER, Kind, Outcome
from mailerd.queue.lease import Lease


class GroupHandOvers:
    """
    See ``HandOvers``. ``answered`` is told each answer; ``out_of_order``: the route is, by one of them.

    ``bounds``: so many are in hand at once, and may always be taken. Of the others nobody is after a stop, on
    a route that is out of order or takes no more for now, where answers are lost (``met_silence``), or after
    a moment (monotonic) that keeps a group of a slow server short.
    """

    def __init__(
        self,
        group: Group,
        slot: Slot,
        lease: Lease,
        stops: tuple[Stop, Stop],
        clock: Clock,
        answered: Callable[[int, Outcome], None],
        bounds: tuple[int, float],
        silence: Silence,
    ) -> None:
        self.met_silence = self.out_of_order = False
        self.answers: dict[int, tuple[Outcome, float]] = {}
        self._messages = list(group.messages.values())
        self._waiting = deque(group.claims)
        self._began: dict[int, float] = {}
        self._slot = slot
        self._lease = lease
        self._stop, self._hurry = stops
        self._clock = clock
        self._answered = answered
        self._at_once, self._until = bounds
        self._silence = silence
        self._over = False

    def __len__(self) -> int:
        """See ``HandOvers``."""
        return len(self._waiting)

    def next(self) -> tuple[int, Message] | None:
        """See ``HandOvers``."""
        now = self._clock.monotonic()
        if (self._over or self._stop or now > self._until) and len(self._began) >= self._at_once:
            return None
        try:
            index = self._waiting.popleft()
        except IndexError:
            return None
        self._began[index] = now
        return index, self._messages[index]

    def begin(self, index: int) -> bool:
        """The last look before a hand-over: afterwards the recipient may have the mail."""
        stopped = self._hurry or self._slot.stop_flag or not self._lease.lives()
        # An envelope may have gone out already, with the dot of the mail before.
        if stopped or self.out_of_order:
            self._over = True
            return False
        self._slot.hand_over(index)
        return True

    def answer(self, index: int, outcome: Outcome) -> None:
        """See ``HandOvers``."""
        self._slot.answer(index, outcome)
        self.answers[index] = outcome, self._clock.monotonic() - self._began[index]
        self._silence.heard(outcome)
        # Those that a stop breaks off have no answer either.
        if outcome.kind is Kind.UNKNOWN and self._silence.unbearable and not self._stop:
            self._over = self.met_silence = True
        self.out_of_order |= outcome.kind in OUT_OF_ORDER
        if self.out_of_order or outcome.kind in SLOWER:
            self._over = True
        self._answered(index, outcome)
