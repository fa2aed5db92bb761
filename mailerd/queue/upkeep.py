"""
Upkeep: the chores of a queue that belong to no claim; the janitor calls each when it is due.

Every chore is a script or a few, safe to run from several hosts at once and to break off anywhere.
"""

from __future__ import annotations

import logging
from enum import IntEnum
from typing import Any

import redis

from mailerd.clock import Clock
from mailerd.config import Config
from mailerd.queue.burial import Burial
from mailerd.queue.connection import translated
from mailerd.queue.keys import Batch, Keys, field_prefix
from mailerd.queue.ledger import known_batch
from mailerd.queue.limits import Table
from mailerd.queue.payloads import TICKET, Slice, Ticket
from mailerd.queue.scripts import Argument, run

log = logging.getLogger(__name__)

DUE_AT_ONCE = 50
GRAVE_SECONDS = 7 * 86400
DAY_MS = 86_400_000
LAYOUT = 1


class Blame(IntEnum):
    """How far a job is to blame for the end of whoever had it in hand, as ``reap`` counts its deaths."""

    NONE = 0  # only the lease was lost, or somebody had been settled: no poison, and the count starts over
    SEEN_TO_DIE = 1
    IF_OPENED = 2  # nobody saw how it ended: then only if it had opened the job


class Upkeep:
    """The chores of one queue. Everything here raises ``RedisUnavailable``."""

    def __init__(self, client: redis.Redis, keys: Keys, config: Config, clock: Clock) -> None:
        self._client: Any = client  # redis-py types every reply as "sync or async"
        self._burial = Burial(client, keys, config, clock)
        self._keys = keys
        self._slice = config.queue.slice
        self._max_deaths = config.queue.max_deaths
        self._limits = Table(config.limits)
        self._retention_ms = int(config.queue.retention_days * DAY_MS)
        self._replay_ms = max(1, int(config.queue.replay_days * DAY_MS) - self._retention_ms)

    def length(self) -> int:
        """How many jobs wait in the queue."""
        with translated():
            waiting: int = self._client.llen(self._keys.queue)
        return waiting

    def tend(self) -> None:
        """Bring back what is due and finish what operators began; one read when there is nothing to do."""
        with translated():
            something = self._client.exists(self._keys.retry, self._keys.sweeps, self._keys.lines)
        if something:
            self.promote()
            self.sweep()
            self.call_up()

    def promote(self) -> int:
        """Bring back what is due; how many jobs."""
        keys = [self._keys.queue, self._keys.retry, self._keys.later]
        promoted = 0
        while True:
            moved: int = run(self._client, "promote", keys, [DUE_AT_ONCE])
            promoted += moved
            if moved < DUE_AT_ONCE:
                return promoted

    def call_up(self) -> int:
        """Bring whoever stands in line for a limit to the queue, at its rate; how many pieces."""
        with translated():
            names = [name.decode() for name in self._client.smembers(self._keys.lines)]
        if not names:
            return 0
        keys = [self._keys.queue, self._keys.lines, *map(self._keys.limit, names)]
        told: list[Argument] = [self._keys.lease_prefix]
        for limit in map(self._limits.of, names):
            told += [limit.name, str(limit.per_second), limit.per_day]
        called: int = run(self._client, "call_up", keys, told)
        return called

    def reap(self, incarnation: str, blame: Blame) -> int:
        """
        Return the jobs of an incarnation whose lease has lapsed, how many; -1 when it lives.

        A job that has killed too many is buried instead.
        """
        lists = [self._keys.lease(incarnation), self._keys.hand(incarnation), self._keys.queue]
        registers = [self._keys.workers, self._keys.graves, self._keys.jobs]
        arguments: list[Argument] = [incarnation, int(blame), self._max_deaths, TICKET]
        returned = 0
        while True:
            moved, deadly = run(self._client, "reap", [*lists, *registers], arguments)
            returned += int(moved)
            if not deadly:
                return returned
            self._burial.bury_next(incarnation)

    def end_lease(self, incarnation: str) -> None:
        """Let a lease lapse now: its process is known to be dead."""
        with translated():
            self._client.delete(self._keys.lease(incarnation))

    def reap_lapsed(self) -> int:
        """Reap every registered incarnation without a lease: dead hosts, and what nobody reported."""
        with translated():
            names = [name.decode() for name in self._client.hkeys(self._keys.workers)]
            if not names or self._client.exists(*map(self._keys.lease, names)) == len(names):
                return 0
        reaped = 0
        for name in names:
            returned = self.reap(name, Blame.IF_OPENED)
            if returned >= 0:
                reaped += 1
                log.warning(
                    "Worker incarnation %s is dead: %d job(s) went back to the queue",
                    name,
                    returned,
                    extra={"event": "lease.reaped"},
                )
        return reaped

    def visit_graves(self) -> None:
        """Look once more into the hands of the dead: a late answer may have put a job there."""
        with translated():
            self._client.zremrangebyscore(self._keys.graves, "-inf", self._now_ms() - GRAVE_SECONDS * 1000)
            names = [name.decode() for name in self._client.zrange(self._keys.graves, 0, -1)]
        for name in names:
            with translated():
                held = self._client.llen(self._keys.hand(name))
            if held:
                self.reap(name, Blame.NONE)

    def forget_old_batches(self) -> int:
        """Delete batches whose retention is over, and the rows they leave; how many batches."""
        before = self._now_ms() - self._retention_ms
        with translated():
            tags = self._client.zrangebyscore(self._keys.ended, "-inf", before, 0, DUE_AT_ONCE)
        forgotten = sum(self._forget(tag.decode(), before) for tag in tags)
        self._clear_debris()
        return forgotten

    def sweep(self) -> None:
        """Finish what operators' words began: cancelled rows, reopened rows, parked jobs."""
        while True:
            with translated():
                entry = self._client.lindex(self._keys.sweeps, 0)
            if entry is None:
                return
            action, tag, _ = entry.decode().split(" ")
            if action in ("cancel", "resume"):
                self._unpark(tag)
            if action in ("cancel", "retry"):
                self._sweep_rows(action, tag)
            with translated():
                self._client.lrem(self._keys.sweeps, 1, entry)

    def _unpark(self, tag: str) -> None:
        keys = [self._keys.batch(tag), self._keys.parked(tag), self._keys.queue]
        while run(self._client, "unpark", keys, [DUE_AT_ONCE]) == DUE_AT_ONCE:
            pass

    def _sweep_rows(self, action: str, tag: str) -> None:
        client_id, _, batch_id = tag.partition("/")
        known = known_batch(self._client, self._keys, client_id, batch_id)
        if known is None:
            return
        batch = known[0]
        keys = [self._keys.batch(tag), self._keys.ended, self._keys.queue, self._keys.side(tag)]
        lines: list[Argument] = [
            Slice(client_id, batch_id, ()).first_line(),
            Ticket(client_id, batch_id).to_bytes(),
        ]
        for number in range(max(1, batch.buckets)):
            arguments: list[Argument] = [tag, action, field_prefix(batch), self._slice, *lines]
            run(self._client, "sweep", [*keys, self._keys.bucket(batch, number)], arguments)

    def _forget(self, tag: str, before: int) -> int:
        client_id, _, batch_id = tag.partition("/")
        keys = [self._keys.batch(tag), self._keys.tombstone(tag), self._keys.clients, self._keys.batches]
        templates = [self._keys.ended, self._keys.templates, self._keys.template_users]
        rest = [self._keys.side(tag), self._keys.debris, self._keys.batches_of(client_id)]
        arguments: list[Argument] = [client_id, batch_id, self._replay_ms, before]
        forgotten: int = run(self._client, "forget", [*keys, *templates, *rest], arguments)
        return forgotten

    def _clear_debris(self) -> None:
        with translated():
            while (debris := self._client.lindex(self._keys.debris, 0)) is not None:
                tag, _, buckets = debris.decode().partition(" ")
                client_id, _, batch_id = tag.partition("/")
                batch = Batch(client_id, batch_id, int(buckets))
                for number in range(batch.buckets):
                    self._client.unlink(self._keys.bucket(batch, number))
                self._client.lrem(self._keys.debris, 1, debris)

    def _now_ms(self) -> int:
        seconds, micros = self._client.time()
        return int(seconds * 1000 + micros // 1000)
