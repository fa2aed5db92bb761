"""mailerd as the queue's benchmarks run it: two workers, jobs logged and discarded, the ledger on."""

from __future__ import annotations

import json
from pathlib import Path

from rigs.daemon import Daemon, Sections
from rigs.redis_server import RedisServer
from rigs.waiting import wait_until

RECIPIENTS = 2  # of each job
BATCH = 100  # jobs


class Ours:
    """One daemon on one Redis."""

    def __init__(self, redis: RedisServer, folder: Path, **sections: dict[str, object]) -> None:
        self._redis = redis
        self._folder = folder
        self._client = redis.client()
        self._pushed = 0
        self._sections: Sections = {
            "redis": {"url": redis.url},
            "log": {"level": "warning"},
            "api": {"enabled": False},
            "workers": {"processes": 2, "max_jobs": 0},
        }
        for name, keys in sections.items():
            self._sections.setdefault(name, {}).update(keys)
        self.daemon = Daemon(folder, self._sections)

    def push(self, count: int) -> None:
        """LPUSH so many jobs of two contacts, a hundred a batch, as a foreign producer does."""
        pipeline = self._client.pipeline(transaction=False)
        for number in range(self._pushed, self._pushed + count):
            job = {
                "client_id": "c1",
                "contact_ids": [f"a{number}", f"b{number}"],
                "template_id": "plain",
                "batch_id": f"batch{number // BATCH}",
            }
            pipeline.lpush("email_queue", json.dumps(job))
            if len(pipeline) >= 1000:
                pipeline.execute()
        pipeline.execute()
        self._pushed += count

    def start(self, expected: int = 2) -> int:
        """Start it, and return once so many workers wait for jobs on its Redis; its main process."""
        self.daemon.start(ready=False)
        wait_until(lambda: self._client.hlen("{email_queue}:workers") >= expected, 20, self.daemon.tail)
        self.daemon.note_processes()
        return self.daemon.pid

    def settled(self) -> int:
        """How many jobs are settled, by the ledger."""
        return int(self._client.hget("{email_queue}:totals", "discarded") or 0) // RECIPIENTS

    def stop(self) -> None:
        """End it in order, and forget its Redis; whatever it was, no process is left."""
        try:
            if self.daemon.running:
                self.daemon.term()
        finally:
            self.daemon.close()
        self._client.flushall()
        self._pushed = 0
