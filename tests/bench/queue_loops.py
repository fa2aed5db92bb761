"""
One worker's loop in this process beside the plainest one, for ratios that a busy machine hardly moves.

Ours is the real handler and the real scripts, lease, fence and ledger on; the other is redis-py's BLMOVE and
LREM with the job parsed, no more. Called by ``queue_costs`` and by the test that guards the cost of a job.
"""

from __future__ import annotations

import json
import mmap
import time
from collections import deque
from collections.abc import Callable

from bench.cpu import spent
from bench.report import Figures
from mailerd.board import Slot
from mailerd.board.slot import slot_size
from mailerd.clock import Stop
from mailerd.work.handler import Handler
from mailerd.work.held import Held
from mailerd.work.letters import Letters
from rigs.ledger_bench import LedgerBench
from rigs.redis_server import RedisServer

BATCH = 100


class Loops:
    """Both loops over one server, which is emptied before each."""

    def __init__(self, redis: RedisServer, jobs: int) -> None:
        self._redis = redis
        self._client = redis.client()
        self._jobs = jobs

    def ours(self, most: int) -> Figures:
        """Jobs of two contacts, at most so many in hand."""
        self._push()
        bench = LedgerBench(self._client, self._redis.url, slice=100)
        hands = bench.hands()
        slot = Slot(mmap.mmap(-1, slot_size(1)), 0, 1, 1)
        letters = Letters(bench.config)
        handler = Handler(
            bench.config, hands.claims, hands.ledger, None, letters, Stop(), lambda: None, slot.tally
        )

        def work() -> None:
            while claims := hands.claims.ack_and_take(most) or [hands.take()]:
                held = deque(Held.of(claim, 2**20) for claim in claims if claim)
                if not held:
                    return
                while held:
                    handler.work_off(held)

        figures = self._measured(work)
        assert int(self._client.hget(bench.keys.totals, "discarded") or 0) == 2 * self._jobs
        return figures

    def plain(self) -> Figures:
        """BLMOVE, parse, LREM, and nothing is remembered of the job."""
        self._push()

        def work() -> None:
            while raw := self._client.lmove("email_queue", "hand", "RIGHT", "LEFT"):
                json.loads(raw)
                self._client.lrem("hand", 1, raw)

        return self._measured(work)

    def _push(self) -> None:
        self._client.flushall()
        pipeline = self._client.pipeline(transaction=False)
        for number in range(self._jobs):
            contacts = [f"a{number}", f"b{number}"]
            job = {"client_id": "c1", "contact_ids": contacts, "template_id": "t"}
            pipeline.lpush("email_queue", json.dumps(job | {"batch_id": f"batch{number // BATCH}"}))
        pipeline.execute()

    def _measured(self, work: Callable[[], None]) -> Figures:
        begun, server, own = time.monotonic(), spent([self._redis.pid]), time.process_time()
        work()
        own, server = time.process_time() - own, spent([self._redis.pid]) - server
        return {
            "cpu_us": 1e6 * (own + server) / self._jobs,
            "workers_us": 1e6 * own / self._jobs,
            "redis_us": 1e6 * server / self._jobs,
            "per_second": self._jobs / (time.monotonic() - begun),
        }
