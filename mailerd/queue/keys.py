"""
The names of everything mailerd keeps in Redis; nothing else builds a key.

Every key but the queue itself begins with ``{<queue name>}:``, so that all of one queue lie in one slot.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# Up to this many recipients keep their rows in the batch's own hash.
INLINE_ROWS = 64
# Few enough for Redis to keep a bucket as one compact listpack (hash-max-listpack-entries is 128).
ROWS_IN_A_BUCKET = 80


@dataclass(frozen=True, slots=True)
class Batch:
    """
    Which batch, and where its rows lie.

    ``buckets`` is fixed by the batch's first admission: 0 means inside the batch's own hash.
    """

    client_id: str
    batch_id: str
    buckets: int

    @property
    def tag(self) -> str:
        """The batch's name inside one queue; ids contain no slash."""
        return f"{self.client_id}/{self.batch_id}"


def buckets_for(recipients: int) -> int:
    """How many hashes the rows of a new batch of that size are spread over."""
    return 0 if recipients <= INLINE_ROWS else -(-recipients // ROWS_IN_A_BUCKET)


def bucket_of(contact_id: str, buckets: int) -> int:
    """The hash that holds a contact's row; 0 where there are none."""
    return zlib.crc32(contact_id.encode()) % buckets if buckets else 0


class Keys:
    """The keys of one queue."""

    def __init__(self, queue: str) -> None:
        self.queue = queue
        self._prefix = f"{{{queue}}}:"
        self.schema = self._prefix + "schema"
        self.incarnation = self._prefix + "incarnation"
        self.workers = self._prefix + "workers"
        self.graves = self._prefix + "graves"
        self.jobs = self._prefix + "jobs"
        self.retry = self._prefix + "retry"
        self.later = self._prefix + "later"
        self.dead = self._prefix + "dead"
        self.letters = self._prefix + "letters"
        self.letter_reasons = self._prefix + "letters:why"
        self.batches = self._prefix + "batches"
        self.clients = self._prefix + "clients"
        self.ended = self._prefix + "ended"
        self.templates = self._prefix + "templates"
        self.template_users = self._prefix + "templates:users"
        self.debris = self._prefix + "debris"
        self.sweeps = self._prefix + "sweeps"
        self.totals = self._prefix + "totals"
        self.alert = self._prefix + "alert"
        self.relays = self._prefix + "relays"
        self.relays_told = self._prefix + "relays:told"
        self.attention = self._prefix + "attention"
        self.arrivals = self._prefix + "arrivals"
        self.unused = self._prefix + "unused"
        self.account = self._prefix + "account"
        self.lines = self._prefix + "lines"
        self.lease_prefix = self._prefix + "lease:"

    def lease(self, incarnation: str) -> str:
        """The lease of an incarnation; its TTL is all that proves the incarnation alive."""
        return self.lease_prefix + incarnation

    def hand(self, incarnation: str) -> str:
        """The list with the jobs that an incarnation has in hand: none, one, or several short ones."""
        return f"{self._prefix}hand:{incarnation}"

    def batch(self, tag: str) -> str:
        """A batch's record and counters."""
        return f"{self._prefix}batch:{tag}"

    def side(self, tag: str) -> str:
        """A batch's slices that nobody has drawn yet."""
        return f"{self._prefix}slices:{tag}"

    def parked(self, tag: str) -> str:
        """The jobs of a paused batch."""
        return f"{self._prefix}parked:{tag}"

    def batches_of(self, client_id: str) -> str:
        """The index of one client's batches."""
        return f"{self._prefix}batches:{client_id}"

    def tombstone(self, tag: str) -> str:
        """What is left of a batch after its retention."""
        return f"{self._prefix}tombstone:{tag}"

    def told(self, tag: str) -> str:
        """What rings have told of recipients that the ledger does not know, until it does."""
        return f"{self._prefix}told:{tag}"

    def limit(self, name: str) -> str:
        """A limit as it stands, and what the keys beside it begin with."""
        return f"{self._prefix}limit:{name}"

    def line(self, name: str) -> str:
        """The slices that stand in line for a limit."""
        return f"{self.limit(name)}:line"

    def bucket(self, batch: Batch, number: int) -> str:
        """The hash with the rows of one bucket."""
        return f"{self._prefix}rows:{batch.tag}:{number}" if batch.buckets else self.batch(batch.tag)


def field_prefix(batch: Batch) -> str:
    """What stands before a contact id in a row's field, so that it meets no other field of the hash."""
    return "" if batch.buckets else ":"


@dataclass(frozen=True, slots=True)
class Rows:
    """Where the rows of some contacts lie: the hashes, and each contact with its index into them."""

    keys: list[str]
    contacts: list[tuple[int, str]]

    @classmethod
    def of(cls, keys: Keys, batch: Batch, contact_ids: Iterable[str]) -> Rows:
        """The places of these contacts' rows."""
        numbers: dict[int, int] = {}
        contacts = [
            (numbers.setdefault(bucket_of(contact, batch.buckets), len(numbers) + 1), contact)
            for contact in contact_ids
        ]
        return cls([keys.bucket(batch, number) for number in numbers], contacts)

    def pairs(self) -> list[str | bytes | int]:
        """Index and contact of each row, flat."""
        return [value for pair in self.contacts for value in pair]


def in_bucket_order(batch: Batch, contact_ids: Sequence[str]) -> Sequence[str]:
    """The same contacts, those of one bucket side by side, so that one script touches few hashes."""
    if not batch.buckets:
        return contact_ids
    return sorted(contact_ids, key=lambda contact: bucket_of(contact, batch.buckets))
