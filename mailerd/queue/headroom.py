"""
How full Redis is, looked at now and then.

New work is refused while the workers can still book theirs: a Redis that is quite full takes neither. Called
by ``enqueue`` before it writes.
"""

from __future__ import annotations

from typing import Any

import redis

from mailerd.clock import Clock
from mailerd.errors import NearlyFull
from mailerd.queue.connection import translated

NEARLY_FULL = 0.9
# Seconds for which an answer is good; many threads ask, and one of them asks Redis.
GOOD_FOR = 2.0


class Headroom:
    """The room that is left in one Redis."""

    def __init__(self, client: redis.Redis, clock: Clock) -> None:
        self._client: Any = client  # redis-py types every reply as "sync or async"
        self._clock = clock
        self._good_until = float("-inf")
        self._used = 0.0

    def check(self) -> None:
        """Raise ``NearlyFull`` above nine tenths of ``maxmemory``, ``RedisUnavailable`` if it is away."""
        now = self._clock.monotonic()
        if now >= self._good_until:
            self._used = self._look()
            self._good_until = now + GOOD_FOR
        if self._used > NEARLY_FULL:
            share = min(100 * self._used, 100)
            raise NearlyFull(f"Redis is nearly full: {share:.0f} % of its maxmemory are used")

    def _look(self) -> float:
        with translated():
            try:
                memory = self._client.info("memory")
            except redis.ResponseError:
                return 0.0  # not every server tells
        return float(memory.get("used_memory", 0) / (memory.get("maxmemory") or float("inf")))
