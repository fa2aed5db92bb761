"""
Time that a test lets pass: for its workers and janitor by a clock, for Redis by what it keeps of time.

Scripts know the server's own time and nothing else, and no server lets anybody set its clock. So it is the
past that moves: every stamp and every TTL in Redis, of whatever key, becomes older by as much as is to pass.
To all that asks how long ago or how long still it is the same, and the scripts are the real ones on a real
server.
"""

from __future__ import annotations

import re
from typing import Any

import redis

from mailerd.clock import SystemClock

# Milliseconds since 1970, from 2001 to 2286: nothing else in Redis looks like that.
_FIRST, _LAST = 10**12, 10**13
_STAMP = re.compile(rb"\d{13}")


class PassingTime:
    """A ``Clock`` that goes on by itself and can be sent ahead, together with what Redis keeps."""

    def __init__(self, client: redis.Redis) -> None:
        self._client: Any = client
        self._system = SystemClock()
        self.passed = 0.0

    def monotonic(self) -> float:
        return self._system.monotonic() + self.passed

    def now(self) -> float:
        return self._system.now() + self.passed

    def let_pass(self, seconds: float) -> None:
        """So much time goes by, in which nobody does anything."""
        self.passed += seconds
        for key in list(self._client.scan_iter()):
            self._age(key, int(seconds * 1000))

    def _age(self, key: bytes, by: int) -> None:
        kind = self._client.type(key)
        if kind == b"zset":
            scores = dict(self._client.zrange(key, 0, -1, withscores=True))
            older = {name: score - by for name, score in scores.items() if _FIRST <= score < _LAST}
            if older:
                self._client.zadd(key, older)
        elif kind == b"hash":
            values = self._client.hgetall(key)
            stamps = {name: int(value) - by for name, value in values.items() if _STAMP.fullmatch(value)}
            if stamps:
                self._client.hset(key, mapping=stamps)
        left = self._client.pttl(key)
        if left > by:
            self._client.pexpire(key, left - by)
        elif left >= 0:
            self._client.delete(key)
