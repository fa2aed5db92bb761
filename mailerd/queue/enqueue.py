"""
Putting jobs on the queue: registered ones for the HTTP door and the command line, plain ones for producers.

``Enqueuer`` knows each batch by its content and answers a repeat as a replay; ``EmailQueue`` is the small
client that other Python programs import, one ``LPUSH`` as every foreign producer does it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis
from pydantic import SecretStr

from mailerd.clock import Clock
from mailerd.config import Config, Redis
from mailerd.config.urls import apply_redis_addr
from mailerd.errors import RedisUnavailable
from mailerd.job import EmailJob
from mailerd.queue.connection import connect, translated
from mailerd.queue.copies import push_confirmed, run_confirmed
from mailerd.queue.headroom import Headroom
from mailerd.queue.kept import Kept
from mailerd.queue.keys import Keys, buckets_for
from mailerd.queue.model import Admission, Enqueued
from mailerd.queue.payloads import job_id
from mailerd.queue.scripts import Argument

# An HTTP client waits for this: well under the 3 s in which it must hear that Redis is away.
TIMEOUT = 1.2
QUICK = 0.3
_NO_REQUEST = ""
_ADMISSIONS = {admission.value.encode(): admission for admission in Admission}
_DEFAULT_URL = "redis://localhost:6379/0"


class Enqueuer:
    """Registers batches and pushes their jobs. One for all threads: its client keeps a pool."""

    def __init__(
        self, client: redis.Redis, keys: Keys, max_length: int, clock: Clock, replicas: int = 0
    ) -> None:
        self._client = client
        self._keys = keys
        self._max_length = max_length
        self._replicas = replicas
        self._clock = clock
        self._headroom = Headroom(client, clock)
        self._kept = Kept(client)

    @classmethod
    def of(cls, config: Config, clock: Clock) -> Enqueuer:
        """The one for this configuration, with a client of its own; nothing is sent yet."""
        client = connect(config.redis, timeout=TIMEOUT, connect_timeout=TIMEOUT)
        return cls(client, Keys(config.queue.name), config.queue.max_length, clock, config.redis.replicas)

    def enqueue(self, job: EmailJob, request: str) -> Enqueued:
        """
        Queue the job's batch once.

        ``request`` names the caller's request: if an answer is lost on the way, the second try under the
        same name finds its own work and does not take it for a replay. Raises ``RedisUnavailable``,
        also where too few replicas have confirmed it: then it is queued, and the same again is a replay.
        """
        return self._one(job, request, self._replicas)

    def foretell(self, job: EmailJob) -> Enqueued:
        """What ``enqueue`` would say now; nothing is queued. Raises what that raises."""
        return self._one(job, _NO_REQUEST, replicas=0)

    def _one(self, job: EmailJob, request: str, replicas: int) -> Enqueued:
        tag = f"{job.client_id}/{job.batch_id}"
        keys = [self._keys.queue, self._keys.batch(tag), self._keys.tombstone(tag), self._keys.clients]
        keys += [self._keys.batches, self._keys.batches_of(job.client_id)]
        names: list[Argument] = [request, job.client_id, job.batch_id, self._max_length]
        admission, recipients = self._twice("enqueue", keys, [*content_of(job), *names], replicas)
        return Enqueued(_ADMISSIONS[admission], recipients)

    def enqueue_all(self, jobs: Sequence[EmailJob], request: str) -> list[Enqueued]:
        """
        Queue several batches, all or none; an answer each.

        Nothing was queued if one answer is ``conflict``, ``foreign`` or ``full``. No two jobs may be of the
        same client and batch. Raises ``RedisUnavailable``.
        """
        keys = [self._keys.queue, self._keys.clients, self._keys.batches]
        arguments: list[Argument] = [request, self._max_length]
        for job in jobs:
            tag = f"{job.client_id}/{job.batch_id}"
            keys += [self._keys.batch(tag), self._keys.tombstone(tag), self._keys.batches_of(job.client_id)]
            arguments += [*content_of(job), job.client_id, job.batch_id]
        answers = self._twice("enqueue_all", keys, arguments, self._replicas)
        return [Enqueued(_ADMISSIONS[admission], recipients) for admission, recipients in answers]

    def _twice(self, name: str, keys: list[str], arguments: list[Argument], replicas: int) -> Any:
        self._headroom.check()
        began = self._clock.monotonic()
        try:
            return self._once(name, keys, arguments, replicas)
        except RedisUnavailable:
            # A kept connection may have died, or its answer got lost; whoever is slow is not asked twice.
            if self._clock.monotonic() - began > QUICK:
                raise
            return self._once(name, keys, arguments, replicas)

    def _once(self, name: str, keys: list[str], arguments: list[Argument], replicas: int) -> Any:
        if replicas:
            return run_confirmed(self._client, name, keys, arguments, replicas)
        return self._kept.run(name, keys, arguments)


def content_of(job: EmailJob) -> list[Argument]:
    """What scripts take of a job: raw, jid, digest, recipients, template, variables, buckets, expires."""
    raw = job.to_json()
    recipients = len(job.distinct())
    facts: list[Argument] = [
        raw,
        job_id(raw),
        job.digest(),
        recipients,
        job.template_id,
        job.variables_json(),
    ]
    return [*facts, buckets_for(recipients), job.expires_ms()]


class EmailQueue:
    """
    The queue as other Python programs use it.

    >>> queue = EmailQueue.connect("localhost:6379")
    >>> queue.enqueue(EmailJob("shop", ("c1", "c2"), "welcome", "2026-11-24-welcome"))
    """

    def __init__(self, client: redis.Redis, name: str = "email_queue", replicas: int = 0) -> None:
        self._client = client
        self._name = name
        self._replicas = replicas

    @classmethod
    def connect(cls, addr: str, name: str = "email_queue", replicas: int = 0) -> EmailQueue:
        """
        Connect to ``host:port``, a ``redis://`` or a ``redis+sentinel://`` URL.

        ``replicas`` is how many must confirm each job. Raises ``RedisUnavailable`` when nobody answers.
        """
        client = connect(Redis(url=SecretStr(apply_redis_addr(addr, _DEFAULT_URL))))
        with translated():
            client.ping()
        return cls(client, name, replicas)

    def enqueue(self, job: EmailJob) -> None:
        """
        Push the job; raises ``RedisUnavailable`` when it is not certain that it was pushed, or confirmed.

        Pushing the same batch again is harmless: the ledger sends each contact one mail.
        """
        if self._replicas:
            push_confirmed(self._client, self._name, job.to_json(), self._replicas)
            return
        with translated():
            self._client.lpush(self._name, job.to_json())
