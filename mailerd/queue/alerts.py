"""
What is out of order, told once for all workers of all hosts, and shown to whoever asks.

A worker notes it here, and is told whether it is the one to say so in the log. While Redis is away each says
it by itself: twice is better than not at all. Used by ``work``; read by ``mailerd status`` and ``doctor``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import redis

from mailerd.clock import Clock
from mailerd.errors import RedisRefused, RedisUnavailable
from mailerd.queue.connection import translated
from mailerd.queue.keys import Keys
from mailerd.queue.scripts import run

log = logging.getLogger(__name__)

# So long (seconds) after an alert there is no other one, unless what is out of order stays so.
QUIET = 600.0
_MILLISECONDS = int(QUIET * 1000)
# What a worker finds wrong with a relay is shown for so long (seconds), and noted again so often.
_SHOWN, _AGAIN = 120, 30.0


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


class SharedAlert:
    """What one worker tells of something out of order, such as the route by which mail leaves, for all."""

    def __init__(self, client: redis.Redis, key: str) -> None:
        self._client: Any = client  # redis-py types every reply as "sync or async"
        self._key = key

    def blocked(self, reason: str, *, lasting: bool) -> Standing:
        """It is out of order, for the first time or still; ``lasting``: for long."""
        try:
            return Standing(
                run(self._client, "alert", [self._key], [reason, _MILLISECONDS, int(lasting)]).decode()
            )
        except (RedisUnavailable, RedisRefused):
            return Standing.NEW

    def over(self) -> bool:
        """It is in order again; whether to tell it."""
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


class RelayNotes:
    """
    Which of several relays are left alone, and why: as the worker says who has worked last.

    That mail leaves by another one, and that it no longer does, is logged once for the fleet.
    """

    def __init__(self, client: redis.Redis, keys: Keys, clock: Clock) -> None:
        self._client: Any = client  # redis-py types every reply as "sync or async"
        self._key = keys.relays
        self._alert = SharedAlert(client, keys.relays_told)
        self._clock = clock
        self._noted: set[str] = set()
        self._again = 0.0

    def note(self, troubles: Mapping[str, str]) -> None:
        """Each relay with its trouble, or with none; costs Redis nothing while all is well."""
        bad = {where: why for where, why in troubles.items() if why}
        now = self._clock.monotonic()
        if bad.keys() == self._noted and (not bad or now < self._again):
            return
        with suppress(RedisUnavailable, RedisRefused), translated(), self._client.pipeline() as together:
            together.delete(self._key)
            if bad:
                together.hset(self._key, mapping=bad)
                together.expire(self._key, _SHOWN)
            together.execute()
            self._noted, self._again = set(bad), now + _AGAIN
            self._tell(troubles, "; ".join(bad.values()))

    def _tell(self, troubles: Mapping[str, str], why: str) -> None:
        goes_through = next((where for where, trouble in troubles.items() if not trouble), "")
        if not goes_through:
            return  # the route's alert tells it
        if not why:
            if self._alert.over():
                log.warning("Mail goes through %s again", goes_through, extra={"event": "relay.back"})
        elif self._alert.blocked(why, lasting=False) is Standing.NEW:
            log.warning("Mail goes through %s now: %s", goes_through, why, extra={"event": "relay.left"})

    def read(self) -> dict[str, str]:
        """The relays that are left alone. Raises ``RedisUnavailable`` or ``RedisRefused``."""
        with translated():
            found = self._client.hgetall(self._key)
        return {where.decode(): why.decode("utf-8", "replace") for where, why in sorted(found.items())}
