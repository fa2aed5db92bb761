"""
One slice, one outcome per recipient: looked up, rendered, claimed, handed over, marked.

Knows the ledger, the contacts, the letter and the transport's sessions; knows nothing of jobs and queues:
the worker hands it recipients and is told how the pass ended. Recipients go in small groups, at most one a
connection, and each group is noted on the board before it is claimed, so that whatever kills the worker,
the janitor knows who was handed over and who was not.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import islice

from mailerd.board import Answered, Event, Group, Slot
from mailerd.clock import Clock, Stop, leave_signals_to_the_main_thread
from mailerd.contacts import Contact, ContactSource
from mailerd.errors import ContactsUnavailable, LeaseLost, RenderFailed, TooFewCopies
from mailerd.message import Composer, Message
from mailerd.outcome import Kind, Outcome, RetryPolicy
from mailerd.queue.answers import Booking, ClaimAnswer, Claimed, Halt
from mailerd.queue.keys import Batch
from mailerd.queue.lease import Lease
from mailerd.queue.ledger import Ledger
from mailerd.render import Template
from mailerd.transports import Session

EXPIRED = Outcome(Kind.EXPIRED, "expires_at had passed before it was sent")
# Outcomes of attempts in which nothing was handed over.
NO_HAND_OVER = frozenset({Kind.WITHHELD, Kind.BLOCKED, Kind.REFUSED})
MAYBE_MAILED = frozenset({Kind.SENT, Kind.UNKNOWN})
NEVER_CLAIMED = frozenset({Kind.INVALID, Kind.SUPPRESSED})
NOT_BEGUN = Outcome(
    Kind.WITHHELD, "the lease was lost, copies were missing or the batch was halted before the hand-over"
)


class End(Enum):
    """How a pass over some recipients ended."""

    DONE = auto()
    STOPPED = auto()  # told to stop, or not sure of the lease: the rest is untouched
    PAUSED = auto()  # the batch was paused: the rest is untouched
    CANCELLED = auto()  # the batch was cancelled: nobody of the rest is handed over any more
    BLOCKED = auto()  # the route or the contact database is out of order: the rest is untouched
    REFUSED = auto()  # the same, and asking again may make it worse


# How a batch that an operator has halted ends a pass.
HALTED = {Halt.PAUSED: End.PAUSED, Halt.CANCELLED: End.CANCELLED}
# How an attempt that found the route out of order ends a pass.
OUT_OF_ORDER = {Kind.BLOCKED: End.BLOCKED, Kind.REFUSED: End.REFUSED}


@dataclass(frozen=True, slots=True)
class Pass:
    """The end of a pass; ``reason`` says what blocked it; ``busy`` are in another worker's hand."""

    end: End
    reason: str = ""
    busy: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Letter:
    """What a batch sends: its template as pinned, its composer, its variables, its retry policy."""

    template: Template
    composer: Composer
    variables: Mapping[str, object]
    policy: RetryPolicy
    batch: Batch

    def message(self, contact: Contact, now: float) -> Message | Outcome:
        """The mail to one contact, or why it gets none."""
        fields = dict(contact.fields)
        common = {"batch_id": self.batch.batch_id, "client_id": self.batch.client_id}
        try:
            rendered = self.template.render({**self.variables, **fields, **common, "contact": fields})
        except RenderFailed as failure:
            return Outcome(Kind.FAILED, str(failure))
        return self.composer.compose(contact.id, contact.email, rendered, now)


@dataclass(frozen=True, slots=True)
class Work:
    """Recipients of one batch who are to get the letter; ``retry``: they were deferred and are due."""

    letter: Letter
    jid: str
    contact_ids: tuple[str, ...]
    retry: bool


@dataclass(slots=True)
class _Group:
    """One group on its way: messages to send, and what is already known of the others."""

    messages: dict[str, Message] = field(default_factory=dict)
    bookings: list[Booking] = field(default_factory=list)
    busy: list[str] = field(default_factory=list)
    blocked: Pass | None = None
    halt: Halt = Halt.NONE
    withheld: bool = False


# What one attempt came to, and how long it took (seconds).
_Delivered = tuple[Outcome, float]


class Delivery:
    """Delivers for one incarnation."""

    def __init__(
        self,
        ledger: Ledger,
        lease: Lease,
        slot: Slot,
        contacts: ContactSource,
        sessions: Sequence[Session],
        stops: tuple[Stop, Stop],
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._lease = lease
        self._slot = slot
        self._contacts = contacts
        self._sessions = sessions
        self._stop, self._hurry = stops
        self._clock = clock
        self._threads = ThreadPoolExecutor(
            len(sessions), "connection", initializer=leave_signals_to_the_main_thread
        )

    def deliver(self, work: Work, progress: Callable[[], None]) -> Pass:
        """
        Bring these recipients to an outcome each; ``progress`` is called before each group.

        Raises ``LeaseLost``, ``TooFewCopies`` where replicas have not confirmed a claim, and
        ``RedisUnavailable`` when a stop came while Redis was away.
        """
        try:
            known = self._contacts.lookup(work.contact_ids)
        except ContactsUnavailable as fault:
            return Pass(End.BLOCKED, str(fault))
        busy: list[str] = []
        for contact_ids in _in_groups(work.contact_ids, len(self._sessions)):
            if self._stop:
                return Pass(End.STOPPED)
            progress()
            group = self._prepare(work, contact_ids, known)
            self._send(work, group)
            busy += group.busy
            if group.halt in HALTED:
                return Pass(HALTED[group.halt])
            if group.blocked:
                return group.blocked
            if group.withheld:
                return Pass(End.STOPPED)
        return Pass(End.DONE, busy=tuple(busy))

    def _prepare(
        self, work: Work, contact_ids: Sequence[str], known: Mapping[str, Contact | Outcome]
    ) -> _Group:
        group = _Group()
        for contact_id in contact_ids:
            contact = known[contact_id]
            message = contact if isinstance(contact, Outcome) else self._message(work.letter, contact)
            if isinstance(message, Outcome):
                group.bookings.append(Booking(contact_id, message))
            else:
                group.messages[contact_id] = message
        return group

    def _message(self, letter: Letter, contact: Contact) -> Message | Outcome:
        if contact.suppressed:
            return Outcome(Kind.SUPPRESSED, "the contact is suppressed")
        return letter.message(contact, self._clock.now())

    def _send(self, work: Work, group: _Group) -> None:
        batch, contact_ids = work.letter.batch, list(group.messages)
        if contact_ids:
            self._slot.begin_group(Group(batch.client_id, batch.batch_id, contact_ids))
            self._hand_over(work, group, contact_ids, self._claim(work, contact_ids))
            self._remember(batch, group)
        changed = self._ledger.mark(batch, work.jid, group.bookings)
        self._slot.clear_group()
        self._slot.settled += changed
        self._slot.progress = self._clock.monotonic()
        self._slot.tally.event(Event.BUSY, len(group.busy))
        for booking in group.bookings:
            self._slot.tally.outcome(booking.outcome.kind)

    def _remember(self, batch: Batch, group: _Group) -> None:
        """Put on the ring who has the mail, may have it or has not: a Redis that forgets it is told again."""
        outcomes = tuple(
            (booking.contact_id, kind if kind in MAYBE_MAILED else Kind.WITHHELD)
            for booking in group.bookings
            if (kind := booking.outcome.kind) not in NEVER_CLAIMED
        )
        if outcomes:
            incarnation = self._lease.incarnation
            now = self._clock.now()
            self._slot.ring.add(Answered(now, incarnation, batch.client_id, batch.batch_id, outcomes))

    def _claim(self, work: Work, contact_ids: list[str]) -> list[ClaimAnswer] | Halt:
        try:
            return self._ledger.claim(
                work.letter.batch, contact_ids, retry=work.retry, resend=work.letter.policy.resend
            )
        except (LeaseLost, TooFewCopies):
            # They may be claimed, by this try or by one whose answer was lost: nobody was handed over.
            self._ledger.mark(work.letter.batch, "", [Booking(each, NOT_BEGUN) for each in contact_ids])
            self._slot.clear_group()
            raise

    def _hand_over(
        self, work: Work, group: _Group, contact_ids: list[str], claims: list[ClaimAnswer] | Halt
    ) -> None:
        if isinstance(claims, Halt):
            group.halt = claims
            # They may be claimed, by a try whose answer was lost.
            outcome = EXPIRED if claims is Halt.EXPIRED else NOT_BEGUN
            group.bookings += [Booking(contact_id, outcome) for contact_id in contact_ids]
            return
        answers = dict(enumerate(claims))
        group.busy += [contact_ids[index] for index in answers if answers[index].claimed is Claimed.BUSY]
        claimed = [index for index in answers if answers[index].claimed is Claimed.CLAIMED]
        delivered = self._deliver_all(group, contact_ids, claimed)
        chance = random.random()  # noqa: S311 - it only spreads the pauses
        for index, (outcome, seconds) in zip(claimed, delivered, strict=True):
            if outcome.kind not in NO_HAND_OVER:
                self._slot.tally.handed_over(seconds)
            answer = answers[index]
            booked, delay = work.letter.policy.after(outcome, answer.attempts, answer.age, chance)
            group.bookings.append(Booking(contact_ids[index], booked, delay))
            group.withheld |= outcome.kind is Kind.WITHHELD
            if outcome.kind in OUT_OF_ORDER:
                group.blocked = Pass(OUT_OF_ORDER[outcome.kind], outcome.reason)

    def _deliver_all(self, group: _Group, contact_ids: list[str], claimed: list[int]) -> list[_Delivered]:
        messages = [group.messages[contact_ids[index]] for index in claimed]
        if len(claimed) == 1:
            return [self._deliver_one(self._sessions[0], claimed[0], messages[0])]
        return list(self._threads.map(self._deliver_one, self._sessions, claimed, messages))

    def _deliver_one(self, session: Session, index: int, message: Message) -> _Delivered:
        began = self._clock.monotonic()
        outcome = session.deliver(message, lambda: self._begin(index))
        self._slot.answer(index, outcome)
        return outcome, self._clock.monotonic() - began

    def _begin(self, index: int) -> bool:
        """The last look before a hand-over: afterwards the recipient may have the mail."""
        if self._hurry or self._slot.stop_flag or not self._lease.lives():
            return False
        self._slot.hand_over(index)
        return True

    def close(self) -> None:
        """End the threads; no delivery is under way."""
        self._threads.shutdown(wait=False)


def variables_of(variables_json: str) -> dict[str, object]:
    """A batch's template variables from the form in which the ledger keeps them."""
    variables: dict[str, object] = json.loads(variables_json)
    return variables


def _in_groups(contact_ids: Sequence[str], size: int) -> Iterator[list[str]]:
    rest = iter(contact_ids)
    while group := list(islice(rest, size)):
        yield group
