"""
Batches, recipients and the queue as users see them: read models for the API and the commands.

Reads only, each view from one read of the batch's own hash, so that its counts agree with each other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from mailerd.message import message_id
from mailerd.outcome import OPEN, State
from mailerd.queue.connection import translated
from mailerd.queue.keys import Batch, Keys, field_prefix
from mailerd.queue.model import (
    BatchPage,
    BatchState,
    BatchView,
    QueueStatus,
    RecipientPage,
    RecipientView,
    WorkerView,
)
from mailerd.queue.rows import Row, parse_row

_FACTS = ("template", "recipients", "created", "finished", "waiting_for", "halt", *State)
# So many batches are looked at for one page, however few of them are in the state that was asked for.
LOOKED_AT = 1000
_AT_ONCE = 100  # batches that are read in one go
ROWS_IN_A_PAGE = 1000
# No mail was made for a recipient in one of these, or at least none that anybody could have got.
_WITHOUT_MAIL = frozenset(
    {
        State.QUEUED,
        State.INVALID,
        State.SUPPRESSED,
        State.CANCELLED,
        State.EXPIRED,
        State.DISCARDED,
    }
)
NO_CURSOR = "is no cursor that an earlier page gave"


@dataclass(frozen=True, slots=True)
class _Record:
    """What is needed of a batch to read its rows; reasons by number."""

    created: float
    buckets: int
    domain: str  # of its Message-IDs; empty until the template is pinned
    reasons: dict[str, str]

    def view(self, batch: Batch, contact_id: str, row: Row) -> RecipientView:
        """A row as users see it."""
        made = self.domain and row.state not in _WITHOUT_MAIL
        return RecipientView(
            contact_id,
            row.state,
            row.reason,
            self.created + row.seconds,
            message_id(batch.client_id, batch.batch_id, contact_id, self.domain) if made else None,
        )


class Batches:
    """The batches of one queue."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client: Any = client  # redis-py types every reply as "sync or async"
        self._keys = keys

    def find(self, batch_id: str, client_id: str | None = None) -> list[BatchView]:
        """Every client's batch of that id, or only that client's. Raises ``RedisUnavailable``."""
        with translated():
            clients = (self._client.hget(self._keys.clients, batch_id) or b"").decode().split()
            wanted = [f"{client}/{batch_id}" for client in clients if client_id in (None, client)]
            views = self._views(wanted)
        return [view for view in views if view is not None]

    def newest(self, most: int) -> list[BatchView]:
        """The batches registered last, the newest first. Raises ``RedisUnavailable``."""
        with translated():
            tags = self._client.zrevrange(self._keys.batches, 0, most - 1)
            views = self._views([tag.decode() for tag in tags])
        return [view for view in views if view is not None]

    def page(self, client_id: str | None, state: BatchState | None, cursor: str, limit: int) -> BatchPage:
        """
        At most ``limit`` batches from ``cursor`` on, the newest first.

        Those of one client or of all, in one state or in any. A page may be short and not be the last: only
        so many batches are looked at for one. Raises ``ValueError`` where the cursor is none of ours, and
        ``RedisUnavailable``.
        """
        index = self._keys.batches if client_id is None else self._keys.batches_of(client_id)
        views: list[BatchView] = []
        with translated():
            first = self._rank_after(index, cursor)
            found = self._client.zrevrange(index, first, first + LOOKED_AT - 1, withscores=True)
            for entry, view in self._read(found):
                last = entry
                if view is not None and state in (None, view.state):
                    views.append(view)
                if len(views) == limit:
                    break
        if len(views) < limit and len(found) < LOOKED_AT:
            return BatchPage(tuple(views), None)
        name, score = last
        return BatchPage(tuple(views), f"{int(score)} {name.decode()}")

    def _read(
        self, found: list[tuple[bytes, float]]
    ) -> Iterator[tuple[tuple[bytes, float], BatchView | None]]:
        """Each with its view; those that nobody asks for any more are not read."""
        for start in range(0, len(found), _AT_ONCE):
            some = found[start : start + _AT_ONCE]
            yield from zip(some, self._views([tag.decode() for tag, _ in some]), strict=True)

    def _rank_after(self, index: str, cursor: str) -> int:
        if not cursor:
            return 0
        score, _, tag = cursor.partition(" ")
        if not (score.isdecimal() and "/" in tag):
            raise ValueError(NO_CURSOR)
        rank: int | None = self._client.zrevrank(index, tag)
        # It may have been deleted in the meantime: then those older than it.
        after: int = self._client.zcount(index, score, "+inf") if rank is None else rank + 1
        return after

    def recipients(self, client_id: str, batch_id: str, only: State | None = None) -> Iterator[RecipientView]:
        """A batch's recipients, in no order, all or those in one state. Raises ``RedisUnavailable``."""
        cursor: str | None = ""
        while cursor is not None:
            page = self.page_of_recipients(client_id, batch_id, only, cursor, ROWS_IN_A_PAGE)
            yield from page.recipients
            cursor = page.next

    def page_of_recipients(
        self, client_id: str, batch_id: str, state: State | None, cursor: str, limit: int
    ) -> RecipientPage:
        """
        At most ``limit`` recipients from ``cursor`` on, in no order, all or those in one state.

        Raises ``ValueError`` where the cursor is none of ours, and ``RedisUnavailable``.
        """
        number, skip = _place(cursor)
        record = self._record(f"{client_id}/{batch_id}")
        if record is None:
            return RecipientPage((), None)
        batch = Batch(client_id, batch_id, record.buckets)
        views: list[RecipientView] = []
        while number < max(1, batch.buckets):
            rows = self._rows(batch, number)[skip:]
            for place, (contact_id, value) in enumerate(rows):
                row = parse_row(value, record.reasons)
                if state in (None, row.state):
                    views.append(record.view(batch, contact_id, row))
                if len(views) == limit:
                    return RecipientPage(tuple(views), f"{number}.{skip + place + 1}")
            number, skip = number + 1, 0
        return RecipientPage(tuple(views), None)

    def _record(self, tag: str) -> _Record | None:
        with translated():
            created, buckets, domain = self._client.hmget(
                self._keys.batch(tag), "created", "buckets", "domain"
            )
            if created is None:
                return None
            reasons = {
                number.decode(): field.decode().removeprefix("why:")
                for field, number in self._client.hscan_iter(self._keys.batch(tag), "why:*", 1000)
            }
        return _Record(int(created) / 1000, int(buckets), (domain or b"").decode(), reasons)

    def _rows(self, batch: Batch, number: int) -> list[tuple[str, str]]:
        prefix = field_prefix(batch)
        with translated():
            rows = self._client.hgetall(self._keys.bucket(batch, number))
        fields = sorted((name.decode(), value.decode()) for name, value in rows.items())
        return [(name.removeprefix(prefix), value) for name, value in fields if name.startswith(prefix)]

    def _views(self, tags: Sequence[str]) -> list[BatchView | None]:
        """These batches in one round trip; None for each that is no more."""
        read: Any = self._client.pipeline(transaction=False)
        for tag in tags:
            read.hmget(self._keys.batch(tag), *_FACTS)
        return [_view(tag, values) for tag, values in zip(tags, read.execute(), strict=True)]


def _view(tag: str, values: Sequence[bytes | None]) -> BatchView | None:
    facts = {name: value.decode() for name, value in zip(_FACTS, values, strict=True) if value is not None}
    if "created" not in facts:
        return None
    client_id, _, batch_id = tag.partition("/")
    counts = {state: int(facts[state]) for state in State if int(facts.get(state, 0))}
    finished = facts.get("finished")
    return BatchView(
        batch_id=batch_id,
        client_id=client_id,
        template_id=facts["template"],
        state=batch_state(counts, facts.get("halt", "")),
        recipients=int(facts["recipients"]),
        counts=counts,
        created_at=int(facts["created"]) / 1000,
        finished_at=int(finished) / 1000 if finished else None,
        waiting_for=facts.get("waiting_for"),
    )


def _place(cursor: str) -> tuple[int, int]:
    """Bucket, and rows of it to skip."""
    match = re.fullmatch(r"([0-9]{1,9})\.([0-9]{1,9})", cursor or "0.0", re.ASCII)
    if match is None:
        raise ValueError(NO_CURSOR)
    return int(match[1]), int(match[2])


def batch_state(counts: Mapping[State, int], halt: str = "") -> BatchState:
    """The state of a batch with these counts; ``halt`` is what an operator said: paused, cancelled or ''."""
    if halt == "cancelled" and not counts.get(State.UNKNOWN):
        return BatchState.CANCELLED
    if halt == "paused":
        return BatchState.PAUSED
    if any(counts.get(state) for state in OPEN):
        untouched = set(counts) <= {State.QUEUED}
        return BatchState.QUEUED if untouched else BatchState.SENDING
    if counts.get(State.UNKNOWN):
        return BatchState.NEEDS_ATTENTION
    return BatchState.DONE if counts else BatchState.QUEUED


def queue_status(client: redis.Redis, keys: Keys) -> QueueStatus:
    """The queue at one moment. Raises ``RedisUnavailable``."""
    with translated():
        read: Any = client.pipeline(transaction=False)
        read.llen(keys.queue).zcard(keys.retry).zcard(keys.dead).hgetall(keys.workers)
        length, put_aside, dead, workers = read.execute()
        names = sorted(name.decode() for name in workers)
        for name in names:
            read.exists(keys.lease(name)).llen(keys.hand(name))
        facts = read.execute() if names else []
    views = []
    for index, name in enumerate(names):
        where = json.loads(workers[name.encode()])
        alive, in_hand = facts[2 * index : 2 * index + 2]
        views.append(WorkerView(name, where["host"], where["pid"], bool(alive), in_hand))
    return QueueStatus(length, put_aside, dead, tuple(views))
