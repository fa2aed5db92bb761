"""
What a worker does with the jobs in hand: admit, cut, draw, deliver, and let go of each in the one right way.

Short jobs of one batch that lie side by side are worked off together, as long as no worker has died with any.

Lives as long as an incarnation. It decides what becomes of the *job*; what becomes of each recipient is
``delivery``'s and the ledger's business. Called by the worker alone.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from mailerd.board import Tally
from mailerd.clock import Stop
from mailerd.config import Config
from mailerd.delivery import Delivery, End, Letter, Pass, Work
from mailerd.errors import JobRejected, TemplateBroken, TooFewCopies
from mailerd.job import EmailJob
from mailerd.outcome import Kind, Outcome
from mailerd.queue.answers import Booking, Halt, OpenBatch, Opening
from mailerd.queue.burial import tell_buried
from mailerd.queue.claims import Claim, Claims, Line
from mailerd.queue.discards import DISCARDED, Discard
from mailerd.queue.keys import Batch, in_bucket_order
from mailerd.queue.ledger import ROWS_IN_A_SCRIPT, Ledger
from mailerd.queue.limits import Table, Wait
from mailerd.queue.payloads import Slice, Ticket, job_id, parse, slice_of
from mailerd.work.held import Held, Payload, Together, claims_of, everybody, together
from mailerd.work.letters import Letters

log = logging.getLogger(__name__)

CANCELLED = Outcome(Kind.WITHHELD, "its batch was cancelled")


class Handler:
    """Works off the jobs of one incarnation. ``delivery`` is None where the transport is ``none``."""

    def __init__(
        self,
        config: Config,
        claims: Claims,
        ledger: Ledger,
        delivery: Delivery | None,
        letters: Letters,
        stop: Stop,
        progress: Callable[[], None],
        tally: Tally,
    ) -> None:
        self._claims = claims
        self._ledger = ledger
        self._delivery = delivery
        self._letters = letters
        self._stop = stop
        self._progress = progress
        self._tally = tally
        self._longest = config.queue.max_job_mb * 2**20
        self._lease_seconds = config.queue.lease
        self._max_deaths = config.queue.max_deaths
        self._limits = Table(config.limits)
        self._slice = self._limits.route.at_once(config.queue.slice)  # a second at most for who waits for it

    def work_off(self, held: deque[Held]) -> Pass | None:
        """
        Work off the first of these jobs, with those behind it that go with it, and end their claims.

        They are taken from ``held``. Returns the pass that a route out of order has ended, if any.
        Raises ``LeaseLost``, ``TooFewCopies`` (the claim was given back), and ``RedisUnavailable`` when a
        stop came while Redis was away; then the janitor ends the claim.
        """
        claim, payload = held[0].claim, held[0].payload
        if isinstance(payload, EmailJob):
            taken = together(held, payload, self._slice)
            return None if self._discards(payload, taken) else self._jobs(payload, taken, held)
        held.popleft()
        if isinstance(payload, JobRejected):
            return self._bury((claim,), payload.reason)
        if isinstance(payload, Ticket):
            return self._ticket(claim, payload)
        return self._worked_slice(claim, payload)

    def _discards(self, job: EmailJob, taken: list[Held]) -> bool:
        """Where nothing is handed over, the next take does all that there is to do, if all is plain."""
        if self._delivery is not None or taken[0].claim.again:
            return False
        contacts = everybody(taken)

        def done(waited: float | None) -> None:
            for each in taken:
                self._note_begun(each.payload, waited if each is taken[0] else None)
            self._tally.outcome(DISCARDED.kind, len(contacts))

        jobs = [(each.claim.raw, each.claim.jid, len(each.contacts)) for each in taken]
        return self._claims.discard(Discard(job, taken[0].claim.era, jobs, contacts, done))

    def _jobs(self, job: EmailJob, taken: list[Held], held: deque[Held]) -> Pass | None:
        claim, contacts = taken[0].claim, taken[0].contacts
        opened = self._ledger.open_job(job, claim.jid, len(contacts), [each.claim.jid for each in taken[1:]])
        if isinstance(opened, Opening):
            ended = "its batch ended long ago and was deleted; a new batch_id is needed"
            return self._bury(claims_of(taken), ended, f"{job.client_id}/{job.batch_id}")
        held.extendleft(reversed(taken[opened.jobs :]))
        taken = taken[: opened.jobs]
        claims = claims_of(taken)
        if opened.deaths:
            self._claims.settle()  # should it kill this worker as well, it alone is in hand, or to blame
        if not opened.agrees:
            differs = "its batch is known with another template or other variables"
            return self._bury(claims, differs, opened.batch.tag)
        if opened.halt is Halt.PAUSED:
            return self._park(claims, opened.batch)
        if len(contacts) > self._slice:
            return self._cut(claim, job, opened)
        self._admit(taken, opened)
        return self._deliver(claims, opened, slice_of(job.client_id, job.batch_id, everybody(taken)))

    def _admit(self, taken: list[Held], opened: OpenBatch) -> None:
        jobs = {each.claim.jid: each.contacts for each in taken}
        for each, first in zip(taken, self._ledger.admit_whole(opened.batch, jobs), strict=True):
            if first:
                self._note_begun(each.payload, opened.waited if each is taken[0] else None)

    def _cut(self, claim: Claim, job: EmailJob, opened: OpenBatch) -> Pass | None:
        """Admit a long job piece by piece; its slices go round as a ticket with everybody else's jobs."""
        contacts = in_bucket_order(opened.batch, job.distinct())
        letter = None if opened.halt is Halt.CANCELLED else self._letter(opened)
        reason = letter if isinstance(letter, str) else ""
        cursor = added = 0
        while cursor < len(contacts):
            if self._stop:
                self._claims.give_back(claim)
                return None
            self._progress()
            piece = contacts[cursor : cursor + ROWS_IN_A_SCRIPT]
            cursor, new, first = self._ledger.admit(
                opened.batch, claim.jid, cursor, piece, self._slice, reason
            )
            added += new
            if first:
                self._note_begun(job, opened.waited)
        if reason:
            return self._give_up((claim,), opened.batch, contacts, reason)
        if not added and len(contacts) <= ROWS_IN_A_SCRIPT:
            # Admitted before, and perhaps as a whole: queue.slice may have been larger then.
            return self._deliver((claim,), opened, slice_of(job.client_id, job.batch_id, contacts))
        self._claims.done(claim)
        return None

    def _ticket(self, claim: Claim, ticket: Ticket) -> Pass | None:
        raw = self._ledger.draw(ticket)
        if raw is None:
            return None
        drawn = replace(claim, raw=raw, jid=job_id(raw))
        payload = parse(raw, self._longest)
        return self._worked_slice(drawn, payload) if isinstance(payload, Slice) else None

    def _worked_slice(self, claim: Claim, piece: Slice) -> Pass | None:
        opened = self._ledger.open_slice(piece.client_id, piece.batch_id, claim.jid)
        if isinstance(opened, Opening):
            self._claims.done(claim)  # nobody waits for it: its batch has been deleted
            return None
        if opened.halt is Halt.PAUSED:
            return self._park((claim,), opened.batch)
        if opened.deaths:
            self._claims.settle()
        return self._deliver((claim,), opened, piece)

    def _deliver(self, claims: Together, opened: OpenBatch, piece: Slice) -> Pass | None:
        contacts = piece.contact_ids
        if opened.halt is Halt.CANCELLED:
            return self._close(claims, opened.batch, contacts)
        letter = self._letter(opened)
        if isinstance(letter, str):
            return self._give_up(claims, opened.batch, contacts, letter)
        # Of several jobs none has a death to forget.
        jid = claims[0].jid if len(claims) == 1 else ""
        if self._delivery is None or letter is None:
            self._book_all(jid, opened.batch, contacts, DISCARDED)
            self._done(claims)
            return None
        try:
            work = Work(letter, jid, contacts, piece.retry, piece.called)
            ended = self._delivery.deliver(work, self._progress)
        except TooFewCopies as fault:
            self._give_back(claims, opened.batch.tag, str(fault))
            raise
        if ended.end is End.CANCELLED:
            return self._close(claims, opened.batch, contacts)
        return self._let_go(claims, opened.batch, ended, piece)

    def _close(self, claims: Together, batch: Batch, contacts: Sequence[str]) -> Pass | None:
        """
        End a job of a cancelled batch. The janitor cancels whoever waits.

        Whom a dead worker had in hand may have got the mail: since no claim will ask for them any more, this
        is where they become unknown.
        """
        self._book_all("", batch, contacts, CANCELLED)
        self._done(claims)
        return None

    def _let_go(self, claims: Together, batch: Batch, ended: Pass, piece: Slice) -> Pass | None:
        if ended.end is End.STOPPED:
            self._give_back(claims)
        elif ended.end in (End.BLOCKED, End.REFUSED, End.LIMITED):
            self._give_back(claims, batch.tag, ended.reason)
            return ended
        elif ended.end is End.PAUSED:
            return self._park(claims, batch)
        elif ended.busy or ended.held_up:
            # The first ack puts those aside, so that they are in a job before the other acks.
            busy = slice_of(batch.client_id, batch.batch_id, ended.busy) if ended.busy else None
            line = self._line(batch, ended.held_up, piece)
            self._claims.ack(claims[0], busy, self._lease_seconds, line)
            self._done(claims[1:])
        else:
            self._done(claims)
        return None

    def _done(self, claims: Together) -> None:
        for claim in claims:
            self._claims.done(claim)

    def _give_back(self, claims: Together, tag: str = "", waiting_for: str = "") -> None:
        """The oldest last: whoever is given back last comes first again."""
        for claim in reversed(claims):
            self._claims.give_back(claim, tag, waiting_for)

    def _line(self, batch: Batch, held_up: Sequence[tuple[str, Wait]], piece: Slice) -> Line | None:
        """Those who wait for a limit stand in line for it, in pieces that it lets through at once."""
        if not held_up:
            return None
        whose: dict[str, list[str]] = {}
        for contact_id, wait in held_up:
            whose.setdefault(wait.limit, []).append(contact_id)
        pieces = []
        for limit, contact_ids in whose.items():
            size = self._limits.of(limit).at_once(self._slice)
            for start in range(0, len(contact_ids), size):
                some = contact_ids[start : start + size]
                pieces.append((limit, replace(piece, contact_ids=tuple(some), called=True)))
        return Line(batch.tag, held_up[-1][1].reason, piece.called, tuple(pieces))

    def _letter(self, opened: OpenBatch) -> Letter | str | None:
        """What the batch sends, or why nobody can get it; None where nothing is sent at all."""
        if opened.deaths >= self._max_deaths:
            return f"poison: {opened.deaths} workers in a row died with it and got nobody settled"
        if self._delivery is None:
            return None
        try:
            return self._letters.of(opened, self._ledger)
        except TemplateBroken as fault:
            return str(fault)

    def _give_up(self, claims: Together, batch: Batch, contacts: Sequence[str], reason: str) -> Pass | None:
        """Bury a job together with its open recipients, so that each can be asked why it got nothing."""
        # Without the job's id: being given up is no progress, should this worker die before the burial.
        self._book_all("", batch, contacts, Outcome(Kind.FAILED, reason))
        return self._bury(claims, reason, batch.tag)

    def _book_all(self, jid: str, batch: Batch, contacts: Sequence[str], outcome: Outcome) -> None:
        for start in range(0, len(contacts), ROWS_IN_A_SCRIPT):
            self._progress()
            piece = contacts[start : start + ROWS_IN_A_SCRIPT]
            booked = self._ledger.mark(batch, jid, [Booking(contact, outcome) for contact in piece])
            self._tally.outcome(outcome.kind, booked)

    def _note_begun(self, job: Payload, waited: float | None = None) -> None:
        if isinstance(job, EmailJob):
            log_received(job)
        if waited is not None:
            self._tally.picked_up(waited)

    def _park(self, claims: Together, batch: Batch) -> Pass | None:
        for claim in claims:
            self._claims.park(claim, batch.tag)
        return None

    def _bury(self, claims: Together, reason: str, tag: str = "") -> Pass | None:
        for claim in claims:
            self._claims.bury(claim, reason)
            tell_buried(claim, reason, tag)
        return None


def log_received(job: EmailJob) -> None:
    """The line that operators look for, once per pushed job."""
    if not log.isEnabledFor(logging.INFO):
        return  # it takes longer to write than the rest of a short job
    log.info(
        "New Job Received: %s",
        job.summary(),
        extra={"event": "job.received", "client": job.client_id, "batch": job.batch_id},
    )
