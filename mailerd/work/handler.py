"""
What a worker does with one job in hand: admit, cut, draw, deliver, and let go of it in the one right way.

Lives as long as an incarnation. It decides what becomes of the *job*; what becomes of each recipient is
``delivery``'s and the ledger's business. Called by the worker alone.
"""

from __future__ import annotations

import logging
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
from mailerd.queue.claims import Claim, Claims
from mailerd.queue.keys import Batch, in_bucket_order
from mailerd.queue.ledger import ROWS_IN_A_SCRIPT, Ledger
from mailerd.queue.payloads import Slice, Ticket, job_id, parse, slice_of
from mailerd.work.letters import Letters

log = logging.getLogger(__name__)

DISCARDED = Outcome(Kind.DISCARDED, 'mail.transport is "none": the job was logged and nothing sent')

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
        self._slice = config.queue.slice
        self._lease_seconds = config.queue.lease
        self._max_deaths = config.queue.max_deaths

    def work_off(self, claim: Claim) -> Pass | None:
        """
        Work the job off and end its claim; returns the pass that a route out of order has ended, if any.

        Raises ``LeaseLost``, ``TooFewCopies`` (the claim was given back), and ``RedisUnavailable`` when a
        stop came while Redis was away; then the janitor ends the claim.
        """
        try:
            payload = parse(claim.raw, self._longest)
        except JobRejected as rejected:
            return self._bury(claim, rejected.reason)
        if isinstance(payload, Ticket):
            return self._ticket(claim, payload)
        if isinstance(payload, Slice):
            return self._worked_slice(claim, payload)
        return self._job(claim, payload)

    def _job(self, claim: Claim, job: EmailJob) -> Pass | None:
        contacts = job.distinct()
        opened = self._ledger.open_job(job, claim.jid, len(contacts))
        if isinstance(opened, Opening):
            return self._bury(claim, "its batch ended long ago and was deleted; a new batch_id is needed")
        if not opened.agrees:
            return self._bury(claim, "its batch is known with another template or other variables")
        if opened.halt is Halt.PAUSED:
            return self._park(claim, opened.batch)
        if len(contacts) > self._slice:
            return self._cut(claim, job, opened)
        _, _, first = self._ledger.admit(opened.batch, claim.jid, 0, contacts, 0)
        if first:
            self._note_begun(job, opened)
        return self._deliver(claim, opened, contacts, retry=False)

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
                self._note_begun(job, opened)
        if reason:
            return self._give_up(claim, opened.batch, contacts, reason)
        if not added and len(contacts) <= ROWS_IN_A_SCRIPT:
            # Admitted before, and perhaps as a whole: queue.slice may have been larger then.
            return self._deliver(claim, opened, tuple(contacts), retry=False)
        self._claims.ack(claim)
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
            self._claims.ack(claim)  # nobody waits for it: its batch has been deleted
            return None
        if opened.halt is Halt.PAUSED:
            return self._park(claim, opened.batch)
        return self._deliver(claim, opened, piece.contact_ids, retry=piece.retry)

    def _deliver(
        self, claim: Claim, opened: OpenBatch, contacts: tuple[str, ...], *, retry: bool
    ) -> Pass | None:
        if opened.halt is Halt.CANCELLED:
            return self._close(claim, opened.batch, contacts)
        letter = self._letter(opened)
        if isinstance(letter, str):
            return self._give_up(claim, opened.batch, contacts, letter)
        if self._delivery is None or letter is None:
            self._book_all(claim.jid, opened.batch, contacts, DISCARDED)
            self._claims.ack(claim)
            return None
        work = Work(letter, claim.jid, contacts, retry)
        try:
            ended = self._delivery.deliver(work, self._progress)
        except TooFewCopies as fault:
            self._claims.give_back(claim, opened.batch.tag, str(fault))
            raise
        if ended.end is End.CANCELLED:
            return self._close(claim, opened.batch, contacts)
        return self._let_go(claim, opened.batch, ended)

    def _close(self, claim: Claim, batch: Batch, contacts: Sequence[str]) -> Pass | None:
        """
        End a job of a cancelled batch. The janitor cancels whoever waits.

        Whom a dead worker had in hand may have got the mail: since no claim will ask for them any more, this
        is where they become unknown.
        """
        self._book_all("", batch, contacts, CANCELLED)
        self._claims.ack(claim)
        return None

    def _let_go(self, claim: Claim, batch: Batch, ended: Pass) -> Pass | None:
        if ended.end is End.STOPPED:
            self._claims.give_back(claim)
        elif ended.end in (End.BLOCKED, End.REFUSED):
            self._claims.give_back(claim, batch.tag, ended.reason)
            return ended
        elif ended.end is End.PAUSED:
            self._claims.park(claim, batch.tag)
        else:
            busy = slice_of(batch.client_id, batch.batch_id, ended.busy) if ended.busy else None
            self._claims.ack(claim, busy, self._lease_seconds)
        return None

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

    def _give_up(self, claim: Claim, batch: Batch, contacts: Sequence[str], reason: str) -> Pass | None:
        """Bury a job together with its open recipients, so that each can be asked why it got nothing."""
        # Without the job's id: being given up is no progress, should this worker die before the burial.
        self._book_all("", batch, contacts, Outcome(Kind.FAILED, reason))
        return self._bury(claim, reason)

    def _book_all(self, jid: str, batch: Batch, contacts: Sequence[str], outcome: Outcome) -> None:
        for start in range(0, len(contacts), ROWS_IN_A_SCRIPT):
            self._progress()
            piece = contacts[start : start + ROWS_IN_A_SCRIPT]
            booked = self._ledger.mark(batch, jid, [Booking(contact, outcome) for contact in piece])
            self._tally.outcome(outcome.kind, booked)

    def _note_begun(self, job: EmailJob, opened: OpenBatch) -> None:
        log_received(job)
        if opened.waited is not None:
            self._tally.picked_up(opened.waited)

    def _park(self, claim: Claim, batch: Batch) -> Pass | None:
        self._claims.park(claim, batch.tag)
        return None

    def _bury(self, claim: Claim, reason: str) -> Pass | None:
        self._claims.bury(claim, reason)
        log.error(
            "Job buried, see `mailerd dead list`: %s",
            reason,
            extra={"event": "job.buried", "jid": claim.jid, "bytes": len(claim.raw)},
        )
        return None


def log_received(job: EmailJob) -> None:
    """The line that operators look for, once per pushed job."""
    log.info(
        "New Job Received: %s",
        job.summary(),
        extra={"event": "job.received", "client": job.client_id, "batch": job.batch_id},
    )
