"""
The mails that a session has taken and not answered: who waits for what, and what each came to.

Before its content went out a mail is tried on a new connection; before the final dot it was certainly not
delivered; after it, without an answer, nobody knows. Opens nothing and waits for nobody. Used by
``smtp_session.py``.
"""

from __future__ import annotations

from collections import deque

from mailerd.outcome import OUT_OF_ORDER, Kind, Outcome
from mailerd.transports.connection import LoginRefused, RouteDown
from mailerd.transports.dialogue import ABORTED, Mail, Stage
from mailerd.transports.relays import Relay, Relays
from mailerd.transports.session import HandOvers


class InHand:
    """
    The mails in hand.

    ``waiting`` for any connection, ``again`` for a new one; ``cut_off`` were begun, and a new connection
    shows what they came to. ``suspects``: the mails, by Message-ID, at whose recipient the server ended the
    connection in each try of an earlier hand-over; the transport's.
    """

    def __init__(self, relays: Relays, suspects: set[str]) -> None:
        self.count = 0
        self.waiting: deque[Mail] = deque()
        self.again: deque[Mail] = deque()
        self.cut_off: deque[tuple[Mail, Relay, str]] = deque()
        self.mails: HandOvers
        self._relays = relays
        self._suspects = suspects

    @property
    def want_connections(self) -> int:
        """How many would each have a use for a new connection."""
        return len(self.waiting) + len(self.again) + len(self.cut_off)

    def taken(self) -> Mail | None:
        """One more of those that are to be handed over."""
        taken = self.mails.next()
        if taken is None:
            return None
        self.count += 1
        return Mail(*taken)

    def one_more_waits(self) -> bool:
        """Let one more wait for any connection; whether there is one."""
        mail = self.taken()
        if mail is not None:
            self.waiting.append(mail)
        return mail is not None

    def next(self) -> Mail | None:
        """Whose turn it is on a kept connection."""
        return self.waiting.popleft() if self.waiting else self.taken()

    def first(self) -> Mail | None:
        """Whose turn it is on a new one."""
        return self.again.popleft() if self.again else self.next()

    def answer(self, mail: Mail, outcome: Outcome) -> None:
        """It is done with."""
        self.count -= 1
        self.mails.answer(mail.index, outcome)

    def answered(self, mail: Mail, outcome: Outcome, relay: Relay) -> bool:
        """The server has answered; False where another relay should be asked from now on."""
        if outcome.kind is Kind.SENT:
            self._relays.worked(relay)
        if outcome.kind not in OUT_OF_ORDER:
            self.answer(mail, outcome)
            return True
        self._relays.failed(relay, outcome.kind, outcome.reason)
        if not self._relays.have_other_than(relay):
            self.answer(mail, outcome)
            return True
        # ``begin`` holds for one try: whoever has begun is tried again by whoever hands mails to us.
        if mail.stage >= Stage.BEGUN:
            self.answer(mail, _elsewhere(outcome.reason))
        elif not self._tries_again(mail):
            self.answer(mail, outcome)
        return False

    def after_cut(self, mail: Mail, relay: Relay, why: str, *, aborted: bool) -> None:
        """Its connection ended."""
        if mail.refusal is not None:
            self.answered(mail, mail.refusal, relay)
        elif mail.stage is Stage.DOT:
            self.answer(mail, Outcome(Kind.UNKNOWN, f"handed over, and the answer is lost: {why}"))
        elif aborted:
            self.answer(mail, ABORTED)
        elif mail.stage is Stage.BEGUN:
            # A server that still takes connections may have cut this one because of this mail: the recipient
            # waits and the others go on. One that does not is a route out of order.
            self.cut_off.append((mail, relay, why))
        elif not self._tries_again(mail):
            self.answer(mail, self._never_begun(mail, why))

    def settle_cut_off(self, relay: Relay) -> None:
        """This relay lets us in."""
        while self.cut_off:
            mail, before, why = self.cut_off.popleft()
            deferred = Outcome(Kind.DEFERRED, f"cut off before the mail was complete: {why}")
            self.answer(mail, deferred if relay is before else _elsewhere(why))

    def give_up(self, fault: RouteDown, *, others: bool) -> None:
        """No connection comes about; who can do with an older one does, where there are ``others``."""
        kind = Kind.REFUSED if isinstance(fault, LoginRefused) else Kind.BLOCKED
        for mail in [*self._with_new_ones(), *([] if others else self._all_waiting())]:
            self.answer(mail, Outcome(kind, str(fault)))

    def end(self) -> None:
        """Told to stop, while none is on a connection: nobody is handed over any more."""
        while (mail := self.next()) is not None:
            self.answer(mail, ABORTED)
        for mail in self._with_new_ones():
            self.answer(mail, ABORTED)

    def _with_new_ones(self) -> list[Mail]:
        mails = [*self.again, *(mail for mail, _, _ in self.cut_off)]
        self.again.clear()
        self.cut_off.clear()
        return mails

    def _all_waiting(self) -> list[Mail]:
        mails = list(self.waiting)
        self.waiting.clear()
        return mails

    def _tries_again(self, mail: Mail) -> bool:
        """Whether it gets a new connection: one try more, and one for each further relay."""
        if mail.tries == len(self._relays.all):
            return False
        mail.tries += 1
        self.again.append(mail)
        return True

    def _never_begun(self, mail: Mail, why: str) -> Outcome:
        if mail.stage is Stage.DATA:
            return Outcome(Kind.DEFERRED, f"cut off before the mail was complete: {why}")
        if mail.stage is Stage.RECIPIENT:
            # The first time it may be the route; the next time it is this recipient, who must not block it.
            if mail.message.message_id in self._suspects:
                self._suspects.discard(mail.message.message_id)
                return Outcome(Kind.DEFERRED, f"the server hangs up at this recipient: {why}")
            self._suspects.add(mail.message.message_id)
        return Outcome(Kind.BLOCKED, why)


def _elsewhere(why: str) -> Outcome:
    """Nobody's attempt, and no trouble of the route's as long as another relay takes mail."""
    return Outcome(Kind.WITHHELD, f"not handed over, goes to another relay: {why}")
