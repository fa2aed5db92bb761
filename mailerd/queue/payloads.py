"""
What lies on the queue: jobs as their producers pushed them, and mailerd's own tickets and slices.

A ticket stands for "the next slice of that batch"; a slice names recipients that the ledger has admitted.
Both are lines of text: ids hold no line breaks, so scripts can put slices together without decoding them.
Pure; the scripts know only that a slice is its first line followed by one contact a line.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from mailerd.errors import JobRejected
from mailerd.job import EmailJob, is_contact_id, is_name, parse_job

# How every payload begins that is no producer's.
OURS = b"mailerd "
# How every ticket begins.
TICKET = "mailerd ticket "


@dataclass(frozen=True, slots=True)
class Ticket:
    """The right to draw one slice of a batch that was cut."""

    client_id: str
    batch_id: str

    def to_bytes(self) -> bytes:
        """As it lies on the queue."""
        return f"{TICKET}{self.client_id}/{self.batch_id}".encode()


@dataclass(frozen=True, slots=True)
class Slice:
    """
    Admitted recipients of one batch.

    ``retry``: they were deferred and are due now. ``called``: they stood in line for a limit.
    """

    client_id: str
    batch_id: str
    contact_ids: tuple[str, ...]
    retry: bool = False
    called: bool = False

    def first_line(self) -> str:
        """What stands before the contacts."""
        kind = f"{'retry' if self.retry else 'slice'}{'-called' if self.called else ''}"
        return f"mailerd {kind} {self.client_id}/{self.batch_id}"

    def to_bytes(self) -> bytes:
        """As it lies on the queue."""
        return "\n".join([self.first_line(), *self.contact_ids]).encode()


def slice_of(client_id: str, batch_id: str, contact_ids: Iterable[str], *, retry: bool = False) -> Slice:
    """A slice of these contacts."""
    return Slice(client_id, batch_id, tuple(contact_ids), retry)


def parse(raw: bytes, longest: int) -> EmailJob | Ticket | Slice:
    """
    What ``raw`` stands for.

    Raises ``JobRejected`` where it is neither ours nor a job, or longer than ``longest`` bytes.
    """
    if len(raw) > longest:
        raise JobRejected(f"too large: {len(raw):,} bytes, at most {longest:,} (queue.max_job_mb)")
    return _parse_ours(raw) if raw.startswith(OURS) else parse_job(raw)


def job_id(raw: bytes) -> str:
    """What the queue keeps notes about a payload under: SHA-1 of its bytes, as scripts compute it too."""
    return hashlib.sha1(raw, usedforsecurity=False).hexdigest()


def _parse_ours(raw: bytes) -> Ticket | Slice:
    """Exactly what ``to_bytes`` makes: whoever forges one harms nobody, and its bytes are its receipt."""
    first, *contact_ids = raw.decode(errors="replace").split("\n")
    _, kind, tag = f"{first}  ".split(" ", 2)
    client_id, _, batch_id = tag.strip().partition("/")
    ours: Ticket | Slice = Ticket(client_id, batch_id)
    if kind != "ticket":
        what, _, called = kind.partition("-")
        contacts = tuple(dict.fromkeys(contact_ids))
        ours = Slice(client_id, batch_id, contacts, retry=what == "retry", called=bool(called))
    possible = is_name(client_id) and is_name(batch_id) and all(map(is_contact_id, contact_ids))
    if possible and ours.to_bytes() == raw:
        return ours
    raise JobRejected("begins like one of mailerd's own tickets or slices and is none")
