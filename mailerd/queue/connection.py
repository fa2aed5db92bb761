"""
The door to redis-py: clients as mailerd needs them, and their errors as mailerd knows them.

redis-py's own retries are off everywhere: a command that it repeats after a lost reply may pop a second job.
What may be repeated is repeated by ``Patience``, which tenacity drives and a stop interrupts.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import redis
import tenacity
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry

from mailerd.clock import Clock, Stop
from mailerd.config import Redis as RedisSettings
from mailerd.config.urls import is_sentinel_url, parse_sentinel_url
from mailerd.errors import RedisRefused, RedisReplaced, RedisUnavailable, TooFewCopies
from mailerd.queue import leaving

log = logging.getLogger(__name__)

CONNECT_TIMEOUT = 3.0
COMMAND_TIMEOUT = 5.0
# With the 6 s in which a new master hears from everybody (``failover.py``), work flows again within 10 s.
LONGEST_PAUSE = 3.0
# A server that answers can be asked sooner; asking for copies takes up to 0.8 s itself.
LONGEST_PAUSE_FOR_COPIES = 1.0

# Replies of a server that is there but cannot serve us now; each passes by itself or by an operator's hand.
# Redis 6.2 tells the code somewhere inside where a script met it.
_PASSING = re.compile(
    r"(?:^(?:LOADING|CLUSTERDOWN|TRYAGAIN|BUSY|UNBLOCKED)"
    r"|(?:^|[ -])(?:MASTERDOWN|READONLY|NOREPLICAS|MISCONF|OOM|NOMASTERLINK))\b"
)
_REFUSED = ("NOAUTH", "WRONGPASS", "NOPERM")
_NO_REDIS = "what answers there is no Redis"
# What redis-py says of a server that speaks before it is asked.
_SPEAKS_FIRST = "Connection not ready"

T = TypeVar("T")


def connect(
    settings: RedisSettings,
    *,
    timeout: float = COMMAND_TIMEOUT,
    connect_timeout: float = CONNECT_TIMEOUT,
    greet: Callable[[Any], None] | None = None,
) -> redis.Redis:
    """
    A client of its own connections; nothing is sent yet.

    ``timeout`` (seconds) bounds each reply; a client that blocks in the server needs more than that block.
    ``greet`` is what each new connection does instead of logging in (``eras.py``).
    """
    url = settings.url.get_secret_value()
    options: dict[str, Any] = {
        "socket_timeout": timeout,
        "socket_connect_timeout": connect_timeout,
        "health_check_interval": 0,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "redis_connect_func": greet,
        "driver_info": None,  # telling its name costs each new connection two round trips
    }
    if is_sentinel_url(url):
        from mailerd.queue.sentinels import master_of  # noqa: PLC0415 - only those who have sentinels pay for it

        place = parse_sentinel_url(url)
        options |= {"socket_keepalive": True, **_without_place(_options_of(place.server))}
        return master_of(place, settings.sentinel_password.get_secret_value(), options)
    if not url.startswith("unix:"):
        options["socket_keepalive"] = True
    options |= _options_of(url) | {"connection_class": leaving.CLASSES[url.partition(":")[0]]}
    return redis.Redis.from_pool(redis.ConnectionPool(**options))


def hang_up(client: redis.Redis) -> None:
    """End the idle connections of a client; the next command makes a new one."""
    client.connection_pool.disconnect(inuse_connections=False)


def _options_of(url: str) -> dict[str, Any]:
    options: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call] # redis-py's
    return options


def _without_place(parsed: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parsed.items() if name not in ("host", "port", "connection_class")}


@contextmanager
def translated() -> Iterator[None]:
    """Turn redis-py's errors into ``RedisUnavailable`` where trying again can help, or ``RedisRefused``."""
    try:
        yield
    except (redis.AuthenticationError, redis.exceptions.NoPermissionError) as error:
        raise RedisRefused(_words(error)) from error
    except redis.InvalidResponse as error:
        raise RedisUnavailable(_NO_REDIS) from error
    except (redis.ConnectionError, redis.TimeoutError, redis.ReadOnlyError, OSError) as error:
        words = _words(error)
        raise RedisUnavailable(_NO_REDIS if words == _SPEAKS_FIRST else words) from error
    except redis.ResponseError as error:
        words = _words(error)
        if words.startswith(_REFUSED):
            raise RedisRefused(words) from error
        if _PASSING.search(words):
            raise RedisUnavailable(words) from error
        raise


def _words(error: BaseException) -> str:
    # redis-py cuts off the codes that it has a class for.
    code = getattr(error, "status_code", None)
    words = " ".join(str(error).split()) or type(error).__name__
    return words if code in (None, "ERR") else f"{code} {words}"


_growing = tenacity.wait_random_exponential(multiplier=0.1, max=LONGEST_PAUSE, min=0.1)


def _next_pause(state: tenacity.RetryCallState) -> float:
    fault = state.outcome.exception() if state.outcome is not None else None
    longest = LONGEST_PAUSE_FOR_COPIES if isinstance(fault, TooFewCopies) else LONGEST_PAUSE
    return min(_growing(state), longest)


class Patience:
    """
    Repeats what may be repeated until Redis answers, with pauses that grow to 3 s; a stop ends it.

    Where it answers and replicas do not, they grow to 1 s.

    ``pausing`` is told before each pause how long it is (seconds), so that a watchdog knows of the wait.
    Only the change of state is logged, not each attempt.
    """

    def __init__(self, clock: Clock, stop: Stop, pausing: Callable[[float], None] = lambda _: None) -> None:
        self._clock = clock
        self._stop = stop
        self._pausing = pausing
        self._away_since: float | None = None

    def call(self, operation: Callable[[], T]) -> T:
        """
        The operation's answer; it must be harmless to repeat.

        Raises ``RedisUnavailable`` or ``RedisRefused`` once the stop was asked for and Redis is still away.
        """
        try:
            return operation()
        except (RedisUnavailable, RedisRefused) as error:
            self._note_fault(error)
        answer = self._retrying()(operation)
        self._note_back()
        return answer

    def _retrying(self) -> tenacity.Retrying:
        return tenacity.Retrying(
            retry=tenacity.retry_if_exception_type((RedisUnavailable, RedisRefused)),
            wait=_next_pause,
            stop=lambda _: bool(self._stop),
            sleep=self._pause,
            before_sleep=self._note_try,
            reraise=True,
        )

    def _pause(self, seconds: float) -> None:
        self._pausing(seconds)
        self._stop.wait(seconds)

    def _note_try(self, state: tenacity.RetryCallState) -> None:
        if state.outcome is not None:
            self._note_fault(state.outcome.exception())

    def _note_fault(self, error: BaseException | None) -> None:
        if isinstance(error, RedisReplaced):
            self._note_back()  # it answered; what is repeated now may wait for a job
        elif self._away_since is None:
            self._away_since = self._clock.monotonic()
            log.warning("Redis is away, trying again: %s", error, extra={"event": "redis.away"})

    def _note_back(self) -> None:
        if self._away_since is not None:
            seconds = self._clock.monotonic() - self._away_since
            log.warning("Redis is back after %.1f s", seconds, extra={"event": "redis.back"})
            self._away_since = None


class Once(Patience):
    """No patience: for steps of what its caller repeats as a whole."""

    def __init__(self) -> None: ...

    def call(self, operation: Callable[[], T]) -> T:
        """See ``Patience``; here a fault is the caller's at once."""
        return operation()
