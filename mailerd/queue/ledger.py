"""
The ledger: one row a recipient, and the scripts that move it, for one incarnation.

A worker asks it before and after each hand-over; the janitor asks it in a dead worker's name. Every call is
one script that begins with the lease, is harmless to repeat, and is repeated by ``Patience``. Time is the
server's. Nothing here decides: which outcome, which delay and which group are the caller's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any
from uuid import uuid4

import redis

from mailerd.errors import LeaseLost
from mailerd.job import EmailJob
from mailerd.outcome import Kind
from mailerd.queue.answers import Booking, ClaimAnswer, Claimed, Halt, OpenBatch, Opening
from mailerd.queue.connection import Patience, translated
from mailerd.queue.copies import require, run_copied
from mailerd.queue.keys import Batch, Keys, Rows, buckets_for, field_prefix
from mailerd.queue.payloads import Slice, Ticket, slice_of
from mailerd.queue.scripts import Argument

# Rows that one script may touch: long scripts hold up everybody else.
ROWS_IN_A_SCRIPT = 500
LONGEST_REASON = 200

LETTERS = {
    Kind.SENT: "s",
    Kind.DEFERRED: "d",
    Kind.FAILED: "f",
    Kind.INVALID: "i",
    Kind.SUPPRESSED: "p",
    Kind.EXPIRED: "e",
    Kind.DISCARDED: "z",
    Kind.UNKNOWN: "u",
    Kind.WITHHELD: "q",
    Kind.BLOCKED: "q",
    Kind.REFUSED: "q",
    Kind.THROTTLED: "q",
    Kind.OVER_QUOTA: "q",
}


@dataclass(frozen=True, slots=True)
class Part:
    """Contacts of one job that are to be admitted, and the cursor that it must be at."""

    jid: str
    cursor: int
    contact_ids: Sequence[str]


class Ledger:
    """The ledger in the name of one incarnation."""

    def __init__(
        self,
        client: redis.Redis,
        keys: Keys,
        incarnation: str,
        lease_seconds: float,
        patience: Patience,
        replicas: int = 0,
    ) -> None:
        self._client = client
        self._keys = keys
        self._incarnation = incarnation
        self._milliseconds = int(lease_seconds * 1000)
        self._patience = patience
        self._replicas = replicas

    def open_job(
        self, job: EmailJob, jid: str, recipients: int, further: Sequence[str] = ()
    ) -> OpenBatch | Opening:
        """
        Open a job's batch, registering it when it is new.

        The ``further`` jobs are opened with it, up to the first that a worker has died with. Raises
        ``LeaseLost``.
        """
        new: list[Argument] = [
            job.template_id,
            job.variables_json(),
            buckets_for(recipients),
            job.expires_ms(),
            *further,
        ]
        return self._open(job.client_id, job.batch_id, jid, new)

    def open_slice(self, client_id: str, batch_id: str, jid: str) -> OpenBatch | Opening:
        """Open the batch of a slice. Raises ``LeaseLost``."""
        return self._open(client_id, batch_id, jid, [])

    def _open(self, client_id: str, batch_id: str, jid: str, new: list[Argument]) -> OpenBatch | Opening:
        tag = f"{client_id}/{batch_id}"
        keys = [self._keys.batch(tag), self._keys.tombstone(tag), self._keys.clients, self._keys.batches]
        keys += [self._keys.batches_of(client_id), self._keys.jobs]
        what, *facts = self._run("open", keys, [jid, client_id, batch_id, *new])
        if what != b"ok":
            return Opening(what.decode())
        template, variables, buckets, waited, pinned, deaths = (fact.decode() for fact in facts[:6])
        batch = Batch(client_id, batch_id, int(buckets))
        halt = Halt(facts[7].decode())
        since = int(waited) / 1000 if waited else None
        policy, jobs = facts[8].decode(), int(facts[9])
        return OpenBatch(
            batch, template, variables, pinned, int(deaths), bool(facts[6]), halt, since, policy, jobs
        )

    def admit(
        self,
        batch: Batch,
        jid: str,
        cursor: int,
        contact_ids: Sequence[str],
        slice_size: int,
        refused: str = "",
    ) -> tuple[int, int, bool]:
        """
        Admit the job's contacts from ``cursor`` on; with a ``slice_size`` they are cut into slices.

        ``refused`` says why nobody can get the mail: then the new ones are failed at once. Returns the new
        cursor, how many are new (or opened again), and whether this is the job's first delivery (told at
        cursor 0). A cursor that somebody else has moved is returned as it is. Raises ``LeaseLost``.
        """
        part = Part(jid, cursor, contact_ids)
        ((what, number, first),) = self._admit(batch, [part], slice_size, refused)
        if what == b"moved":
            return number, 0, bool(first)
        return cursor + len(contact_ids), number, bool(first)

    def admit_whole(self, batch: Batch, jobs: Mapping[str, Sequence[str]]) -> list[bool]:
        """
        Admit short jobs as they are, contacts by job id; for each whether this is its first delivery.

        Raises ``LeaseLost``.
        """
        parts = [Part(jid, 0, contact_ids) for jid, contact_ids in jobs.items()]
        return [bool(first) for _, _, first in self._admit(batch, parts, 0, "")]

    def _admit(self, batch: Batch, parts: Sequence[Part], slice_size: int, refused: str) -> Any:
        rows = Rows.of(self._keys, batch, [contact for part in parts for contact in part.contact_ids])
        keys = [self._keys.batch(batch.tag), self._keys.ended, self._keys.jobs, self._keys.queue]
        ticket = Ticket(batch.client_id, batch.batch_id).to_bytes()
        line = Slice(batch.client_id, batch.batch_id, ()).first_line()
        arguments: list[Argument] = [batch.tag, slice_size, ticket, line, refused[:LONGEST_REASON]]
        arguments.append(field_prefix(batch))
        pairs = rows.pairs()
        start = 0
        for part in parts:
            end = start + 2 * len(part.contact_ids)
            arguments += [part.jid, part.cursor, len(part.contact_ids), *pairs[start:end]]
            start = end
        return self._run("admit", [*keys, self._keys.side(batch.tag), *rows.keys], arguments)

    def draw(self, ticket: Ticket) -> bytes | None:
        """Turn the ticket in hand into the next slice in hand; None when there is none (left)."""
        raw = ticket.to_bytes()
        tag = f"{ticket.client_id}/{ticket.batch_id}"
        keys = [
            self._keys.hand(self._incarnation),
            self._keys.queue,
            self._keys.side(tag),
            self._keys.batch(tag),
            self._keys.parked(tag),
        ]
        what, *drawn = self._run("draw", keys, [raw])
        return drawn[0] if what == b"ok" else None

    def pinned_template(self, digest: str) -> bytes | None:
        """A template that some batch is pinned to."""
        return self._patience.call(lambda: self._read_template(digest))

    def _read_template(self, digest: str) -> bytes | None:
        with translated():
            packed: bytes | None = self._client.hget(self._keys.templates, digest)  # type: ignore[assignment] # sync
        return packed

    def pin(
        self, batch: Batch, digest: str, packed: bytes, unknown: str, domain: str = ""
    ) -> tuple[str, bytes, str]:
        """
        Pin the batch to this template and its policy for unknown outcomes, unless it is pinned.

        ``domain`` is that of its Message-IDs, for whoever looks at its recipients. Returns digest, template
        and policy that it is pinned to. Raises ``LeaseLost``.
        """
        keys = [self._keys.batch(batch.tag), self._keys.templates, self._keys.template_users]
        _, pinned, kept, policy = self._run("pin", keys, [digest, packed, unknown, domain])
        return pinned.decode(), kept, policy.decode()

    def claim(
        self, batch: Batch, contact_ids: Sequence[str], *, retry: bool, resend: bool
    ) -> list[ClaimAnswer] | Halt:
        """
        Claim recipients for a hand-over, an answer each, or why nobody of the batch is handed over.

        ``retry``: this is the small job of deferred ones. ``resend``: policy for those of unknown outcome.
        Raises ``LeaseLost``, and ``TooFewCopies`` where the replicas that were asked for have not confirmed
        it: then they may be claimed, and nobody may be handed over.
        """
        rows = Rows.of(self._keys, batch, contact_ids)
        keys = [self._keys.batch(batch.tag), self._keys.ended, *rows.keys]
        flags: list[Argument] = [self._keys.lease_prefix, int(retry), int(resend), field_prefix(batch)]
        what, *answers = self._run(
            "claim", keys, [batch.tag, self._incarnation, *flags, *rows.pairs()], self._replicas
        )
        if what != b"ok":
            return Halt(what.decode())
        return [_claim_answer(answer.decode()) for answer in answers]

    def mark(self, batch: Batch, jid: str, bookings: Iterable[Booking]) -> int:
        """
        Book outcomes; how many rows that changed. Works without the lease: what was sent was sent.

        Those deferred become a small job that is due after their delay, one job for each delay.
        """
        changed = 0
        for delay, group in groupby(sorted(bookings, key=_delay), key=_delay):
            together = list(group)
            for start in range(0, len(together), ROWS_IN_A_SCRIPT):
                changed += self._mark(batch, jid, together[start : start + ROWS_IN_A_SCRIPT], delay)
        return changed

    def _mark(self, batch: Batch, jid: str, bookings: Sequence[Booking], delay: float) -> int:
        rows = Rows.of(self._keys, batch, [booking.contact_id for booking in bookings])
        keys = [
            self._keys.batch(batch.tag),
            self._keys.ended,
            self._keys.jobs,
            self._keys.retry,
            self._keys.later,
        ]
        arguments: list[Argument] = [
            batch.tag,
            self._incarnation,
            jid,
            *_small_job(batch, bookings),
            int(delay * 1000),
            "" if all(booking.outcome.kind is Kind.SENT for booking in bookings) else uuid4().hex,
            Slice(batch.client_id, batch.batch_id, ()).first_line(),
            field_prefix(batch),
        ]
        for (index, contact), booking in zip(rows.contacts, bookings, strict=True):
            letter = LETTERS[booking.outcome.kind] + "?" * booking.outcome.in_doubt
            arguments += [index, contact, letter, booking.outcome.reason[:LONGEST_REASON]]
        changed: int = self._run("mark", [*keys, *rows.keys], arguments)
        return changed

    def _run(self, name: str, keys: Sequence[str], arguments: Sequence[Argument], replicas: int = 0) -> Any:
        """One script under this incarnation's lease, confirmed by so many replicas."""
        keys = [self._keys.lease(self._incarnation), *keys]
        arguments = [self._milliseconds, *arguments]
        answer, copies = self._patience.call(
            lambda: run_copied(self._client, name, keys, arguments, replicas)
        )
        if isinstance(answer, list) and answer[0] == b"lost":
            raise LeaseLost
        require(copies, replicas)
        return answer


def known_batch(client: redis.Redis, keys: Keys, client_id: str, batch_id: str) -> tuple[Batch, str] | None:
    """
    A batch that the ledger has, and the policy for unknown outcomes that it is pinned to ('': none yet).

    Raises ``RedisUnavailable``.
    """
    record: Any
    with translated():
        record = client.hmget(keys.batch(f"{client_id}/{batch_id}"), "buckets", "policy")
    if record[0] is None:
        return None
    return Batch(client_id, batch_id, int(record[0])), (record[1] or b"").decode()


def _delay(booking: Booking) -> float:
    return booking.delay if booking.outcome.kind is Kind.DEFERRED else 0.0


def _small_job(batch: Batch, bookings: Sequence[Booking]) -> tuple[str, bytes]:
    """The small job of those deferred: an id and what is put aside; empty for none."""
    contacts = [booking.contact_id for booking in bookings if booking.outcome.kind is Kind.DEFERRED]
    if not contacts:
        return "", b""
    small = slice_of(batch.client_id, batch.batch_id, contacts, retry=True)
    return uuid4().hex, small.to_bytes()


def _claim_answer(text: str) -> ClaimAnswer:
    word, *numbers = text.split()
    return ClaimAnswer(Claimed(word), *map(int, numbers))
