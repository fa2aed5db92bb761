"""
Batches, recipients and the queue as users see them: read models for the API and the commands.

Reads only, each view from one read of the batch's own hash, so that its counts agree with each other.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import redis

from mailerd.outcome import OPEN, State
from mailerd.queue.connection import translated
from mailerd.queue.keys import Batch, Keys, field_prefix
from mailerd.queue.model import BatchState, BatchView, QueueStatus, RecipientView, WorkerView
from mailerd.queue.rows import parse_row

_FACTS = ("template", "recipients", "created", "finished", "waiting_for", "buckets", *State)


class Batches:
    """The batches of one queue."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client: Any = client  # redis-py types every reply as "sync or async"
        self._keys = keys

    def find(self, batch_id: str, client_id: str | None = None) -> list[BatchView]:
        """Every client's batch of that id, or only that client's. Raises ``RedisUnavailable``."""
        with translated():
            clients = (self._client.hget(self._keys.clients, batch_id) or b"").decode().split()
            wanted = [client for client in clients if client_id in (None, client)]
            views = [self._view(client, batch_id) for client in wanted]
        return [view for view in views if view is not None]

    def newest(self, most: int) -> list[BatchView]:
        """The batches registered last, the newest first. Raises ``RedisUnavailable``."""
        with translated():
            tags = self._client.zrevrange(self._keys.batches, 0, most - 1)
            views = [self._view(*tag.decode().split("/")) for tag in tags]
        return [view for view in views if view is not None]

    def recipients(self, client_id: str, batch_id: str, only: State | None = None) -> Iterator[RecipientView]:
        """A batch's recipients, in no order, all or those in one state. Raises ``RedisUnavailable``."""
        tag = f"{client_id}/{batch_id}"
        with translated():
            record = self._client.hgetall(self._keys.batch(tag))
        if not record:
            return
        facts = {field.decode(): value.decode() for field, value in record.items()}
        batch = Batch(client_id, batch_id, int(facts["buckets"]))
        reasons = {number: field[4:] for field, number in facts.items() if field.startswith("why:")}
        created = int(facts["created"]) / 1000
        for contact, value in self._rows(batch, facts):
            row = parse_row(value, reasons)
            if only in (None, row.state):
                yield RecipientView(contact, row.state, row.reason, created + row.seconds)

    def _rows(self, batch: Batch, facts: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        if not batch.buckets:
            prefix = field_prefix(batch)
            yield from ((name[1:], value) for name, value in facts.items() if name.startswith(prefix))
            return
        for number in range(batch.buckets):
            with translated():
                rows = self._client.hgetall(self._keys.bucket(batch, number))
            yield from ((contact.decode(), value.decode()) for contact, value in rows.items())

    def _view(self, client_id: str, batch_id: str) -> BatchView | None:
        values = self._client.hmget(self._keys.batch(f"{client_id}/{batch_id}"), *_FACTS)
        facts = {
            name: value.decode() for name, value in zip(_FACTS, values, strict=True) if value is not None
        }
        if "created" not in facts:
            return None
        counts = {state: int(facts[state]) for state in State if int(facts.get(state, 0))}
        finished = facts.get("finished")
        return BatchView(
            batch_id=batch_id,
            client_id=client_id,
            template_id=facts["template"],
            state=batch_state(counts),
            recipients=int(facts["recipients"]),
            counts=counts,
            created_at=int(facts["created"]) / 1000,
            finished_at=int(finished) / 1000 if finished else None,
            waiting_for=facts.get("waiting_for"),
        )


def batch_state(counts: Mapping[State, int]) -> BatchState:
    """The state of a batch with these counts."""
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
