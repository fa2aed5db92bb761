"""
Looking at the Redis that the queue is to live in, before anything is taken from it and while it is used.

Refuses what would lose mail, warns of what may. Called by main at start, by ``mailerd check --online`` and
by the HTTP door's readiness.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import redis
import tenacity

from mailerd.clock import Clock, Stop
from mailerd.config import Config, scrub
from mailerd.config import Queue as QueueSettings
from mailerd.errors import NearlyFull, RedisNotReachable, RedisRefused, RedisUnavailable, TooFewCopies
from mailerd.queue.connection import connect, translated
from mailerd.queue.copies import connected_replicas, misfit
from mailerd.queue.keys import Keys
from mailerd.queue.upkeep import LAYOUT

log = logging.getLogger(__name__)

OLDEST = (6, 2)
# Short, so that the first failure is logged within a second.
TIMEOUT = 0.9


def wait_for_redis(config: Config, stop: Stop, clock: Clock, waiting: Callable[[], None]) -> None:
    """
    Block until Redis can be used, or the stop is raised; call ``waiting`` when the first try has failed.

    Raises ``RedisNotReachable`` after ``redis.startup_timeout`` (a server that is loading is waited for
    without end) and ``RedisRefused`` when it must not be used.
    """
    client = connect(config.redis, timeout=TIMEOUT, connect_timeout=TIMEOUT)
    where = scrub(config.redis.url.get_secret_value())
    give_up = clock.monotonic() + config.redis.startup_timeout

    def out_of_patience(state: tenacity.RetryCallState) -> bool:
        fault = state.outcome.exception() if state.outcome else None
        loading = str(fault).startswith("LOADING")
        return bool(stop) or (clock.monotonic() >= give_up and not loading)

    def first_failure(state: tenacity.RetryCallState) -> None:
        if state.attempt_number == 1 and state.outcome:
            fault = state.outcome.exception()
            log.warning("No Redis at %s yet: %s", where, fault, extra={"event": "redis.missing"})
            waiting()

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(RedisUnavailable),
        wait=tenacity.wait_random_exponential(multiplier=0.2, max=2.0, min=0.2),
        stop=out_of_patience,
        sleep=lambda seconds: _sleep(stop, seconds),
        before_sleep=first_failure,
        reraise=True,
    )
    try:
        warnings = retrying(_first_look, client, config)
    except RedisUnavailable as fault:
        if stop:
            return
        waited = f"no Redis at {where} within {config.redis.startup_timeout:g} s ({fault})"
        raise RedisNotReachable(f"{waited}; start it, or {_where_to_look(config)}") from fault
    for warning in warnings:
        log.warning("%s", warning, extra={"event": "redis.risk"})


def _first_look(client: redis.Redis, config: Config) -> list[str]:
    try:
        return examine(client, config)
    except RedisRefused as fault:
        where = scrub(config.redis.url.get_secret_value())
        raise RedisRefused(f"the Redis at {where}: {_advised(fault)}") from fault


def examine(client: redis.Redis, config: Config) -> list[str]:
    """
    What an operator should know about this server.

    Raises ``RedisRefused`` when it must not be used: too old, evicting, or laid out by a newer mailerd.
    """
    keys = Keys(config.queue.name)
    with translated():
        facts: dict[str, Any] = client.info()
        known = client.get(keys.schema)
        if known is None:  # written once: a full Redis, which must be drained, takes no SET
            client.set(keys.schema, LAYOUT, nx=True)
    layout = int(known or LAYOUT)
    if layout > LAYOUT:
        raise RedisRefused(
            f"{keys.schema} says layout {layout}, this mailerd knows {LAYOUT}: install the newer one"
        )
    version = str(facts.get("redis_version", "0"))
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        raise RedisRefused(f"Redis {version} is too old: 6.2 or newer, or Valkey, is needed")
    return [
        *_eviction(facts, config),
        *_persistence(facts),
        *_copies(facts, config),
        *_elsewhere(client, config.queue.name),
    ]


def describe(client: redis.Redis) -> str:
    """The server's kind and version, and its replicas. Raises ``RedisUnavailable`` or ``RedisRefused``."""
    with translated():
        facts: dict[str, Any] = client.info()
    kind = f"Redis {facts.get('redis_version', 'of unknown version')}"
    if "valkey_version" in facts:
        kind = f"Valkey {facts['valkey_version']}"
    replicas = replicas_in(facts)
    return f"{kind}, master of {', '.join(replicas)}" if replicas else kind


@contextmanager
def named(config: Config) -> Iterator[None]:
    """
    Have whatever is wrong with Redis said in one line: where, what, and what to do. For commands.

    Raises ``RedisNotReachable`` or ``RedisRefused``.
    """
    where = scrub(config.redis.url.get_secret_value())
    try:
        yield
    except RedisUnavailable as fault:
        words, advice = str(fault).rstrip("."), _remedy(fault, config)
        raise RedisNotReachable(f"the Redis at {where} cannot be used now: {words}; {advice}") from fault
    except (RedisRefused, redis.ResponseError) as fault:
        raise RedisRefused(f"the Redis at {where}: {_advised(fault)}") from fault


def _remedy(fault: RedisUnavailable, config: Config) -> str:
    if isinstance(fault, NearlyFull):
        return "raise its maxmemory, or shorten queue.retention_days"
    if str(fault).startswith("READONLY"):
        return "set redis.url to its primary"
    if config.redis.embedded:
        return "the daemon brings it: start mailerd, or restart it"
    return f"see that it runs, or {_where_to_look(config)}"


def _where_to_look(config: Config) -> str:
    tls = config.redis.url.get_secret_value().startswith("rediss")
    return "set REDIS_ADDR or redis.url" + (" (rediss:// is for a server with TLS)" if tls else "")


def _advised(fault: Exception) -> str:
    words = str(fault).rstrip(".")
    if words.startswith(("NOAUTH", "WRONGPASS")) or "Authentication required" in words:
        return f"{words}; put user and password into redis.url: redis://user:password@host:6379/0"
    return words


def _eviction(facts: dict[str, Any], config: Config) -> list[str]:
    policy = facts.get("maxmemory_policy")
    if policy is None:
        return ["Redis does not tell its maxmemory-policy: anything but noeviction loses mail"]
    if policy == "noeviction":
        return []
    risk = f"Redis evicts keys when it is full (maxmemory-policy {policy}): that loses mail"
    if config.redis.accept_eviction:
        return [f"{risk}; redis.accept_eviction allows it"]
    raise RedisRefused(f"{risk}; set it to noeviction, or accept the loss with redis.accept_eviction = true")


def _persistence(facts: dict[str, Any]) -> list[str]:
    if str(facts.get("aof_enabled", "")) == "1":
        return []
    return ["Redis keeps no append-only file (appendonly no): what it forgets in a crash, nobody can deliver"]


def replicas_in(facts: dict[str, Any]) -> list[str]:
    """The replicas of a server by what it tells, each as host:port."""
    told = (facts.get(f"slave{number}") for number in range(facts.get("connected_slaves", 0)))
    return [f"{one['ip']}:{one['port']}" for one in told if isinstance(one, dict)]


def _copies(facts: dict[str, Any], config: Config) -> list[str]:
    wrong = misfit(config.redis.replicas, facts.get("connected_slaves", 0))
    return ["; ".join(wrong)] if wrong else []


def _elsewhere(client: Any, queue: str) -> list[str]:
    """A queue of the usual name that no mailerd ever served, while this one has another name."""
    usual = Keys(QueueSettings().name)
    jobs = 0
    # Whom this server lets see its own queue only has nothing to learn of another.
    with suppress(RedisRefused), translated():
        if queue != usual.queue and client.type(usual.queue) == b"list" and not client.exists(usual.workers):
            jobs = client.llen(usual.queue)
    words = f"{jobs:,} waiting in {usual.queue}, which nobody serves: queue.name says {queue}"
    return [words] if jobs else []


def _sleep(stop: Stop, seconds: float) -> None:
    stop.wait(seconds)


def _ping(client: redis.Redis, replicas: int) -> None:
    with translated():
        client.ping()
    if replicas and (there := connected_replicas(client)) < replicas:
        raise TooFewCopies(there, replicas)


class Reachability:
    """Whether Redis, with its replicas, is there right now; looked at once a second at most."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self._client = connect(config.redis, timeout=TIMEOUT, connect_timeout=TIMEOUT)
        self._replicas = config.redis.replicas
        self._clock = clock
        self._lock = threading.Lock()
        self._asked = float("-inf")
        self._answered = False

    def __bool__(self) -> bool:
        """Whether it answered the last time, at most a second ago."""
        with self._lock:
            if self._clock.monotonic() - self._asked >= 1.0:
                try:
                    _ping(self._client, self._replicas)
                    self._answered = True
                except (RedisUnavailable, RedisRefused):
                    self._answered = False
                self._asked = self._clock.monotonic()
            return self._answered
