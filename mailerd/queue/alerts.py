"""
What is out of order, told once for all workers of all hosts, and shown to whoever asks.

A worker notes it here, and is told whether it is the one to say so in the log. While Redis is away each says
it by itself: twice is better than not at all. Used by ``work``'s breaker; read by ``mailerd status``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import redis

from mailerd.errors import RedisRefused, RedisUnavailable
from mailerd.queue.connection import translated
from mailerd.queue.keys import Keys
from mailerd.queue.scripts import run

# So long (seconds) after an alert there is no other one, unless what is out of order stays so.
QUIET = 600.0
_MILLISECONDS = int(QUIET * 1000)


class Standing(StrEnum):
    """How it stands with an alert."""

    NEW = "new"  # tell it
    TOLD = "told"  # somebody has told it
    QUIET = "quiet"  # it has just been over, and may be so again


@dataclass(frozen=True, slots=True)
class Alert:
    """What is out of order, and how long ago (seconds) that was last seen."""

    reason: str
    ago: float


class RouteAlert:
    """The alert about the route by which mail leaves."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client: Any = client  # redis-py types every reply as "sync or async"
        self._key = keys.alert

    def blocked(self, reason: str, *, lasting: bool) -> Standing:
        """The route is out of order, for the first time or still; ``lasting``: for long."""
        try:
            return Standing(
                run(self._client, "alert", [self._key], [reason, _MILLISECONDS, int(lasting)]).decode()
            )
        except (RedisUnavailable, RedisRefused):
            return Standing.NEW

    def over(self) -> bool:
        """It is open again; whether to tell it."""
        try:
            return bool(run(self._client, "alert_over", [self._key], [_MILLISECONDS]))
        except (RedisUnavailable, RedisRefused):
            return True

    def read(self) -> Alert | None:
        """What stands, if anything. Raises ``RedisUnavailable`` or ``RedisRefused``."""
        with translated():
            value, left = self._client.get(self._key), self._client.pttl(self._key)
        if not value:
            return None
        return Alert(value[1:].decode("utf-8", "replace"), max(0.0, QUIET - left / 1000))
