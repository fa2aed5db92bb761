"""
The way of a slice: who is next, claim, hand over, mark, until nobody is left.

Recipients go in small groups, and each group is noted on the board before it is claimed, so that whatever
kills the worker, the janitor knows who was handed over and who was not. Called by ``work``'s handler.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from mailerd.board import Answered, Event, Slot
from mailerd.board import Group as OnBoard
from mailerd.clock import Clock, Stop
from mailerd.contacts import Contact, ContactSource
from mailerd.delivery.group import NOT_BEGUN, NOT_TAKEN, Group
from mailerd.delivery.hand_overs import GroupHandOvers
from mailerd.delivery.pace import IN_DOUBT, LIMITED_IN_DOUBT, LONGEST_GROUP, group_size, seconds_each
from mailerd.delivery.silence import Silence
from mailerd.delivery.values import NO_HAND_OVER, End, Letter, Pass, Way, Work
from mailerd.errors import ContactsUnavailable, LeaseLost, TooFewCopies
from mailerd.message import Message
from mailerd.outcome import SLOWER, Kind, Outcome
from mailerd.queue.answers import Booking, Halt
from mailerd.queue.keys import Batch
from mailerd.queue.lease import Lease
from mailerd.queue.ledger import Ledger
from mailerd.queue.limits import ROUTE, Wait, limit_of_client

# Outcomes of attempts that were answered by nobody.
NO_ANSWER = NO_HAND_OVER | {Kind.UNKNOWN}
NEVER_CLAIMED = frozenset({Kind.INVALID, Kind.SUPPRESSED})

# What the route gives back so soon (seconds) is waited for with the job in hand; what a client's or domain's
# limit does, where that holds up nobody.
LONGEST_IN_HAND = 2.0
SHORT = 0.35

# What the contact source knows of each recipient.
Known = Mapping[str, Contact | Outcome]
# What each hand-over came to, and how long it took (seconds).
Answers = Mapping[int, tuple[Outcome, float]]


class Delivery:
    """Delivers for one incarnation."""

    def __init__(
        self,
        ledger: Ledger,
        lease: Lease,
        slot: Slot,
        contacts: ContactSource,
        way: Way,
        stops: tuple[Stop, Stop],
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._lease = lease
        self._slot = slot
        self._contacts = contacts
        self._session = way.session
        self._connections = way.connections
        self._limiter = way.limiter
        self._stops = stops
        self._clock = clock
        self._each: float | None = None  # how long a hand-over took lately
        self._silence = Silence()

    def deliver(self, work: Work, progress: Callable[[], None]) -> Pass:
        """
        Bring these recipients to an outcome each; ``progress`` is called at each step.

        Raises ``LeaseLost``, ``TooFewCopies`` where replicas have not confirmed a claim, and
        ``RedisUnavailable`` when a stop came while Redis was away.
        """
        try:
            known = self._contacts.lookup(work.contact_ids)
        except ContactsUnavailable as fault:
            return Pass(End.BLOCKED, str(fault))
        ended = self._deliver_all(work, known, progress)
        self._limiter.settle()
        return ended

    def _deliver_all(self, work: Work, known: Known, progress: Callable[[], None]) -> Pass:
        rest, busy, ready = deque(work.contact_ids), list[str](), dict[str, Message]()
        held_up: list[tuple[str, Wait]] = []
        while rest:
            if self._stops[0]:
                return Pass(End.STOPPED)
            progress()
            group = self._next_group(work.letter, rest, known, ready)
            wait = self._limit(work, group, rest, held_up)
            ready = {contact_id: message for contact_id, (message, _) in group.waits.items()}
            if wait is not None:
                if wait.seconds > LONGEST_IN_HAND:
                    return Pass(End.LIMITED, wait.reason, seconds=wait.seconds)
                self._stops[0].wait(wait.seconds)
                continue
            if group.messages:
                self._claim(work, group)
                self._hand_over(work, group, progress)
            self._mark(work, group)
            busy += group.busy
            rest.extendleft(reversed(group.left))
            if group.ended:
                return group.ended
        return Pass(End.DONE, busy=tuple(busy), held_up=tuple(held_up))

    def _next_group(
        self, letter: Letter, rest: deque[str], known: Known, ready: Mapping[str, Message]
    ) -> Group:
        """Who is next: taken out of ``rest``, with the mail of each, or with why there is none."""
        longest = LIMITED_IN_DOUBT if self._limiter.limits(letter.batch.client_id) else IN_DOUBT
        group, size = Group(), group_size(self._connections, self._slot.room, self._each, longest)
        if self._silence.unbearable:
            size = 1
        while rest and len(group.messages) < size:
            contact_id = rest.popleft()
            message = ready.get(contact_id) or self._message(letter, known[contact_id])
            if isinstance(message, Outcome):
                group.bookings.append(Booking(contact_id, message))
            else:
                group.messages[contact_id] = message
        return group

    def _limit(
        self, work: Work, group: Group, rest: deque[str], held_up: list[tuple[str, Wait]]
    ) -> Wait | None:
        """
        Take out of the group whoever may not be handed over yet: back into ``rest``, or among those held up.

        Returns what is to be waited for before anything else can be done.
        """
        if not group.messages:
            return None
        client = work.letter.batch.client_id
        addresses = [mail.recipient for mail in group.messages.values()]
        group.limited(self._limiter.take(client, addresses, called=work.called))
        self._slot.tally.event(Event.LIMITED, len(group.waits))
        soon = []
        for contact_id, (_, wait) in group.waits.items():
            if wait.limit == ROUTE or wait.seconds <= SHORT:
                soon.append((contact_id, wait))
            else:
                held_up.append((contact_id, wait))
                if wait.limit == limit_of_client(client):
                    # All the others are its own, too.
                    held_up += [(other, wait) for other in rest]
                    rest.clear()
        rest.extendleft(contact_id for contact_id, _ in reversed(soon))
        if group.messages or group.bookings or not soon:
            return None
        return min((wait for _, wait in soon), key=lambda wait: wait.seconds)

    def _message(self, letter: Letter, contact: Contact | Outcome) -> Message | Outcome:
        if isinstance(contact, Outcome):
            return contact
        if contact.suppressed:
            return Outcome(Kind.SUPPRESSED, "the contact is suppressed")
        return letter.message(contact, self._clock.now())

    def _claim(self, work: Work, group: Group) -> None:
        """Note the group on the board, and then ask the ledger who of it is ours."""
        batch, contact_ids, policy = work.letter.batch, group.contact_ids, work.letter.policy
        self._slot.begin_group(OnBoard(batch.client_id, batch.batch_id, contact_ids))
        try:
            answers = self._ledger.claim(batch, contact_ids, retry=work.retry, resend=policy.resend)
        except (LeaseLost, TooFewCopies):
            # They may be claimed, by this try or by one whose answer was lost: nobody was handed over.
            nobody = [Booking(each, NOT_BEGUN) for each in contact_ids]
            self._remember(batch, nobody)
            self._ledger.mark(batch, "", nobody)
            self._slot.clear_group()
            raise
        if isinstance(answers, Halt):
            group.halted(answers)
        else:
            group.claimed(answers)

    def _hand_over(self, work: Work, group: Group, progress: Callable[[], None]) -> None:
        """Hand the claimed ones over, and note what each came to and what follows from that."""
        began = self._clock.monotonic()
        bounds = self._connections, began + LONGEST_GROUP

        def answered(index: int, outcome: Outcome) -> None:
            self._limiter.answered(index, outcome)
            progress()

        mails = GroupHandOvers(
            group, self._slot, self._lease, self._stops, self._clock, answered, bounds, self._silence
        )
        if group.claims:
            self._session.deliver(mails)
        if mails.answers:
            took = self._clock.monotonic() - began
            self._each = seconds_each(took, len(mails.answers), self._connections)
        self._note(work, group, mails.answers)
        if mails.out_of_order:
            self._each = None  # it is tried again with one mail for each connection
        if mails.met_silence and group.ended is None:
            group.ended = self._silence.end
        self._remember(work.letter.batch, group.bookings)

    def _note(self, work: Work, group: Group, answers: Answers) -> None:
        contact_ids = group.contact_ids
        chance = random.random()  # noqa: S311 - it only spreads the pauses
        for index, claim in group.claims.items():
            if index not in answers:
                group.left.append(contact_ids[index])
                group.bookings.append(Booking(contact_ids[index], NOT_TAKEN))
                continue
            outcome, seconds = answers[index]
            if outcome.kind not in NO_ANSWER:
                self._slot.tally.handed_over(seconds)
            booked, delay = work.letter.policy.after(outcome, claim.attempts, claim.age, chance)
            group.bookings.append(Booking(contact_ids[index], booked, delay))
            group.came_to(outcome)
            if outcome.kind in SLOWER:
                group.left.append(contact_ids[index])

    def _remember(self, batch: Batch, bookings: Sequence[Booking]) -> None:
        """Put on the ring who has the mail, may have it or has not: a Redis that forgets it is told again."""
        outcomes = tuple(
            (booking.contact_id, booking.outcome.lasting)
            for booking in bookings
            if booking.outcome.kind not in NEVER_CLAIMED
        )
        if outcomes:
            incarnation = self._lease.incarnation
            now = self._clock.now()
            self._slot.ring.add(Answered(now, incarnation, batch.client_id, batch.batch_id, outcomes))

    def _mark(self, work: Work, group: Group) -> None:
        """Book what is known of the group, and take it off the board."""
        changed = self._ledger.mark(work.letter.batch, work.jid, group.bookings)
        self._slot.clear_group()
        self._slot.settled += changed
        self._slot.progress = self._clock.monotonic()
        self._slot.tally.event(Event.BUSY, len(group.busy))
        for booking in group.bookings:
            self._slot.tally.outcome(booking.outcome.kind)
