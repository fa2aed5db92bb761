"""
One group on its way: who is in it, and what is known of each so far.

Values only; who makes the steps is ``delivery.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mailerd.delivery.values import End, Pass, end_of
from mailerd.message import Message
from mailerd.outcome import OUT_OF_ORDER, Kind, Outcome
from mailerd.queue.answers import Booking, ClaimAnswer, Claimed, Halt
from mailerd.queue.limits import Wait

EXPIRED = Outcome(Kind.EXPIRED, "expires_at had passed before it was sent")
NOT_BEGUN = Outcome(
    Kind.WITHHELD, "the lease was lost, copies were missing or the batch was halted before the hand-over"
)
NOT_TAKEN = Outcome(Kind.WITHHELD, "its turn had not come yet")
# How a batch that an operator has halted ends a pass.
_HALTED = {Halt.PAUSED: End.PAUSED, Halt.CANCELLED: End.CANCELLED}


@dataclass(slots=True)
class Group:
    """
    Recipients who are claimed, handed over and marked together.

    ``waits``: who may not be handed over yet, with the mail and what is waited for.
    ``messages``: what is to be sent, in the order in which the board has them; ``claims``: those of them (by
    that order) who are ours; ``bookings``: what is known, also of those who get no mail; ``busy``: in another
    worker's hand; ``left``: claimed, and not taken by the transport; ``ended``: how this group
    ends the pass, if it does.
    """

    messages: dict[str, Message] = field(default_factory=dict)
    claims: dict[int, ClaimAnswer] = field(default_factory=dict)
    bookings: list[Booking] = field(default_factory=list)
    busy: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    waits: dict[str, tuple[Message, Wait]] = field(default_factory=dict)
    ended: Pass | None = None

    @property
    def contact_ids(self) -> list[str]:
        """Whom a message is for, in the board's order."""
        return list(self.messages)

    def limited(self, waits: Sequence[Wait | None]) -> None:
        """The limiter has answered for each."""
        messages, self.messages = self.messages, {}
        for (contact_id, message), wait in zip(messages.items(), waits, strict=True):
            if wait is None:
                self.messages[contact_id] = message
            else:
                self.waits[contact_id] = message, wait

    def halted(self, halt: Halt) -> None:
        """Nobody may be claimed; by a try whose answer was lost they may be."""
        outcome = EXPIRED if halt is Halt.EXPIRED else NOT_BEGUN
        self.bookings += [Booking(contact_id, outcome) for contact_id in self.messages]
        if halt in _HALTED:
            self.ended = Pass(_HALTED[halt])

    def claimed(self, answers: Sequence[ClaimAnswer]) -> None:
        """The ledger has answered for each."""
        for index, (contact_id, answer) in enumerate(zip(self.messages, answers, strict=True)):
            if answer.claimed is Claimed.CLAIMED:
                self.claims[index] = answer
            elif answer.claimed is Claimed.BUSY:
                self.busy.append(contact_id)

    def came_to(self, outcome: Outcome) -> None:
        """A hand-over has come to this, which may end the pass; a route out of order is its best reason."""
        if outcome.kind in OUT_OF_ORDER:
            self.ended = Pass(end_of(outcome.kind), outcome.reason)
        elif outcome.kind is Kind.WITHHELD and self.ended is None:
            self.ended = Pass(End.STOPPED)
