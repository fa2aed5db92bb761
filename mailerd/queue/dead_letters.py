"""
Dead letters and unknown recipients: what waits for an operator, and the operator's words.

Called by the commands (and later by the API). Every change is one script per step and harmless to repeat.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import uuid4

import redis

from mailerd.errors import JobRejected
from mailerd.job import EmailJob, is_contact_id
from mailerd.outcome import State
from mailerd.queue.batches import Batches
from mailerd.queue.connection import translated
from mailerd.queue.keys import Batch, Keys, Rows, field_prefix
from mailerd.queue.ledger import LONGEST_REASON, ROWS_IN_A_SCRIPT, known_batch
from mailerd.queue.model import DeadLetter, Resolution, UnknownRecipient
from mailerd.queue.payloads import Slice, parse, slice_of
from mailerd.queue.scripts import run

_WITHOUT_LIMIT = 2**63
# Batches whose counters one write asks for.
_BATCHES_AT_ONCE = 1000


class DeadLetters:
    """The dead letters of one queue."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client: Any = client  # redis-py types every reply as "sync or async"
        self._keys = keys

    def newest(self, most: int) -> list[DeadLetter]:
        """The letters that died last, the newest first. Raises ``RedisUnavailable``."""
        with translated():
            dead = self._client.zrevrange(self._keys.dead, 0, most - 1, withscores=True)
        letters = [self._letter(name.decode(), died_at / 1000) for name, died_at in dead]
        return [letter for letter in letters if letter is not None]

    def ids(self) -> list[str]:
        """All letters by their ids, the newest first. Raises ``RedisUnavailable``."""
        with translated():
            return [name.decode() for name in self._client.zrevrange(self._keys.dead, 0, -1)]

    def get(self, letter_id: str) -> DeadLetter | None:
        """One letter. Raises ``RedisUnavailable``."""
        with translated():
            died_at = self._client.zscore(self._keys.dead, letter_id)
        return None if died_at is None else self._letter(letter_id, died_at / 1000)

    def retry(self, letter_id: str) -> bool:
        """Open exactly the recipients that died with it and queue it again; False: no such letter."""
        letter = self.get(letter_id)
        if letter is None:
            return False
        self._reopen(letter)
        keys = [self._keys.queue, self._keys.dead, self._keys.letters, self._keys.letter_reasons]
        return bool(run(self._client, "revive", keys, [letter_id]))

    def drop(self, letter_id: str) -> bool:
        """Forget a letter for good; its recipients stay as they are. False: no such letter."""
        with translated():
            delete = self._client.pipeline()
            delete.zrem(self._keys.dead, letter_id).hdel(self._keys.letters, letter_id)
            delete.hdel(self._keys.letter_reasons, letter_id)
            return bool(delete.execute()[0])

    def _letter(self, letter_id: str, died_at: float) -> DeadLetter | None:
        with translated():
            raw = self._client.hget(self._keys.letters, letter_id)
            reason = self._client.hget(self._keys.letter_reasons, letter_id)
        if raw is None:
            return None
        return DeadLetter(letter_id, (reason or b"").decode(errors="replace"), died_at, raw)

    def _reopen(self, letter: DeadLetter) -> None:
        try:
            job = parse(letter.raw, _WITHOUT_LIMIT)
        except JobRejected:
            return
        if isinstance(job, EmailJob | Slice):
            known = known_batch(self._client, self._keys, job.client_id, job.batch_id)
            if known is not None:
                contacts = dict.fromkeys(job.contact_ids)
                resolve(self._client, self._keys, known[0], list(contacts), "fq", letter.reason)


class Unknowns:
    """The recipients of unknown outcome of one queue."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client: Any = client  # redis-py types every reply as "sync or async"
        self._keys = keys
        self._batches = Batches(client, keys)

    def count(self) -> int:
        """How many there are, in all batches. Raises ``RedisUnavailable``."""
        with translated():
            return int(self._client.hget(self._keys.totals, State.UNKNOWN) or 0)

    def all(self, batch_id: str | None = None, client_id: str | None = None) -> Iterator[UnknownRecipient]:
        """Those of one batch, or of all, or of all of one client. Raises ``RedisUnavailable``."""
        if batch_id:
            tags = [f"{view.client_id}/{batch_id}" for view in self._batches.find(batch_id, client_id)]
        else:
            tags = list(self._places())
        for tag in tags:
            client, _, batch = tag.partition("/")
            if client_id in (None, client):
                for row in self._batches.recipients(client, batch, State.UNKNOWN):
                    yield UnknownRecipient(client, batch, row.contact_id, row.time, row.message_id)

    def _places(self) -> Iterator[str]:
        """The batches that have any, the newest first; of a million, no more are looked at than need be."""
        left = self.count()
        with translated():
            tags = [tag.decode() for tag in self._client.zrevrange(self._keys.batches, 0, -1)] if left else []
        for start in range(0, len(tags), _BATCHES_AT_ONCE):
            if left <= 0:
                return
            some = tags[start : start + _BATCHES_AT_ONCE]
            with translated():
                read = self._client.pipeline(transaction=False)
                for tag in some:
                    read.hget(self._keys.batch(tag), State.UNKNOWN)
                numbers = [int(number or 0) for number in read.execute()]
            left -= sum(numbers)
            yield from (tag for tag, number in zip(some, numbers, strict=True) if number)

    def resolve(self, client_id: str, batch_id: str, contact_ids: Sequence[str], how: Resolution) -> int:
        """Settle these recipients as the operator found; how many. Raises ``RedisUnavailable``."""
        known = known_batch(self._client, self._keys, client_id, batch_id)
        if known is None:
            return 0
        change = {Resolution.SENT: "us", Resolution.FAILED: "uf", Resolution.RESEND: "uq"}[how]
        reason = "an operator found that it did not arrive" if how is Resolution.FAILED else ""
        contacts = [contact for contact in dict.fromkeys(contact_ids) if is_contact_id(contact)]
        return resolve(self._client, self._keys, known[0], contacts, change, reason)


def resolve(
    client: redis.Redis, keys: Keys, batch: Batch, contact_ids: Sequence[str], change: str, reason: str
) -> int:
    """
    Move rows at an operator's word: ``change`` is the letter they have and the letter they get.

    Unknown ones that are to be sent again get a small job of their own; failed ones that a dead letter's
    retry opens are taken along by that letter's job. Returns how many rows were moved.
    """
    changed = 0
    for start in range(0, len(contact_ids), ROWS_IN_A_SCRIPT):
        contacts = contact_ids[start : start + ROWS_IN_A_SCRIPT]
        rows = Rows.of(keys, batch, contacts)
        small = slice_of(batch.client_id, batch.batch_id, contacts).to_bytes()
        names = [keys.batch(batch.tag), keys.ended, keys.retry, keys.later, *rows.keys]
        job = [uuid4().hex if change == "uq" else "", small]
        arguments = [batch.tag, *change, reason[:LONGEST_REASON], *job, field_prefix(batch), *rows.pairs()]
        changed += run(client, "resolve", names, arguments)
    return changed
