"""
What ``/metrics`` says of a whole queue: one script, one moment, and nothing that grows with the queue.

The totals are kept by the scripts that change rows, in the same step; here they are only read. Called by the
HTTP threads at each scrape.
"""

from __future__ import annotations

from typing import Any

import redis

from mailerd.outcome import State
from mailerd.queue.figures import QueueFigures
from mailerd.queue.keys import Keys
from mailerd.queue.payloads import job_id
from mailerd.queue.scripts import run

LONG = 8192  # bytes of which a job is read as a whole; figures.lua has the same number


class Metrics:
    """The figures of one queue, as all daemons that work on it see them."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._seen: tuple[bytes, int] = (b"", 0)  # which job was next, and since when (server's ms)

    def read(self) -> QueueFigures:
        """The figures now. Raises ``RedisUnavailable`` or ``RedisRefused``."""
        keys = self._keys
        lists = [keys.queue, keys.retry, keys.dead, keys.batches, keys.ended, keys.attention]
        prefixes: list[str | bytes | int] = [keys.lease_prefix, keys.batch(""), keys.side("")]
        answer: Any = run(self._client, "figures", [*lists, keys.totals, keys.workers], prefixes)
        now, length, put_aside, dead, batches, ended, attention, living, flat, following = answer
        totals = {name.decode(): int(number) for name, number in zip(flat[::2], flat[1::2], strict=True)}
        recipients = {state: totals.get(state, 0) for state in State}
        return QueueFigures(
            length=length,
            oldest_seconds=self._age(now, following),
            put_aside=put_aside,
            dead=dead,
            workers_alive=living,
            batches_open=batches - ended,
            batches_needing_attention=attention,
            batches_ended=ended - attention,
            recipients=recipients,
            conservation_gap=totals.get("recipients", 0) - sum(recipients.values()),
        )

    def _age(self, now: int, following: list[Any]) -> float | None:
        """
        How long the job that is next has waited (seconds); None where there is none.

        Of a job that another program pushed nobody knows when; but how long it has been next is known from
        the reading that first met it.
        """
        if not following:
            return None
        job, enqueued, enqueued_with = following
        if self._seen[0] != job:
            self._seen = (job, now)
        # A long job is not read as a whole; then its batch must be word enough.
        known = enqueued_with and (len(job) == LONG or enqueued_with.decode() == job_id(job))
        return (now - min(self._seen[1], int(enqueued) if known else now)) / 1000
