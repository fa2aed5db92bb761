"""
Burials: a job that killed every worker before one could bury it is buried here, with its open recipients.

Only the janitor meets such a job. It reads it in main, so never one that is larger than what main reads over
HTTP, and it buries it as a worker does: as an incarnation of its own, whose lease and hand bring the job back
if the janitor dies as well. Reaping calls it and repeats it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress

import redis

from mailerd.clock import Clock
from mailerd.config import Config
from mailerd.errors import JobRejected, LeaseLost
from mailerd.job import EmailJob
from mailerd.outcome import Kind, Outcome
from mailerd.queue.answers import Booking, OpenBatch
from mailerd.queue.claims import Claim, Claims
from mailerd.queue.connection import Once
from mailerd.queue.keys import Batch, Keys, in_bucket_order
from mailerd.queue.lease import Lease, leave, register
from mailerd.queue.ledger import ROWS_IN_A_SCRIPT, Ledger
from mailerd.queue.payloads import Slice, job_id, parse
from mailerd.queue.scripts import run

log = logging.getLogger(__name__)

REASON = "killed every worker that took it, before one could bury it"


class Burial:
    """Buries what lies in the hands of the dead. Raises ``RedisUnavailable``: then it is to be repeated."""

    def __init__(self, client: redis.Redis, keys: Keys, config: Config, clock: Clock) -> None:
        self._client = client
        self._keys = keys
        self._lease_seconds = config.queue.lease
        self._longest = min(config.queue.max_job_mb, config.api.max_body_mb) * 2**20
        self._clock = clock

    def bury_next(self, dead: str) -> None:
        """Bury the job that the dead incarnation has had in hand for the longest."""
        lease = register(self._client, self._keys, self._lease_seconds, self._clock)
        raw = run(self._client, "take", [self._keys.hand(dead), self._keys.hand(lease.incarnation)])
        # None: another host's janitor was quicker. A lost lease: it comes back as from any dead hand.
        with suppress(LeaseLost):
            if raw is not None:
                self._bury(lease, Claim(raw, job_id(raw), lease.incarnation))
        leave(self._client, self._keys, lease)

    def _bury(self, lease: Lease, claim: Claim) -> None:
        ledger = Ledger(self._client, self._keys, lease.incarnation, lease.seconds, Once())
        tag = ""
        with suppress(JobRejected):
            payload = parse(claim.raw, self._longest)
            tag = f"{payload.client_id}/{payload.batch_id}"
            if isinstance(payload, EmailJob):
                self._fail_all_of_job(ledger, claim.jid, payload)
            elif isinstance(payload, Slice):
                opened = ledger.open_slice(payload.client_id, payload.batch_id, claim.jid)
                if isinstance(opened, OpenBatch):
                    _fail(ledger, opened.batch, payload.contact_ids)
        Claims(self._client, self._keys, lease, Once()).bury(claim, REASON)
        tell_buried(claim, REASON, tag)

    def _fail_all_of_job(self, ledger: Ledger, jid: str, job: EmailJob) -> None:
        """Also those whom nobody has admitted yet: each can be asked why it got nothing."""
        opened = ledger.open_job(job, jid, len(job.distinct()))
        if not isinstance(opened, OpenBatch) or not opened.agrees:
            return
        contacts = in_bucket_order(opened.batch, job.distinct())
        cursor = 0
        while cursor < len(contacts):
            piece = contacts[cursor : cursor + ROWS_IN_A_SCRIPT]
            cursor, _, _ = ledger.admit(opened.batch, jid, cursor, piece, 0, REASON)
        _fail(ledger, opened.batch, contacts)


def tell_buried(claim: Claim, reason: str, tag: str = "") -> None:
    """Log that a job was buried; ``tag`` is that of its batch, where its bytes said which."""
    client, _, batch = tag.partition("/")
    log.error(
        "Job buried, see `mailerd dead list`: %s",
        reason,
        extra={"event": "job.buried", "jid": claim.jid, "bytes": len(claim.raw)}
        | ({"client": client, "batch": batch} if tag else {}),
    )


def _fail(ledger: Ledger, batch: Batch, contacts: Sequence[str]) -> None:
    """Whoever is settled stays so; whom a dead worker had in hand becomes unknown."""
    ledger.mark(batch, "", [Booking(contact, Outcome(Kind.FAILED, REASON)) for contact in contacts])
