"""The door before a Redis that is slow: whom it takes is answered in time, whom it refuses at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from mailerd.clock import SystemClock
from rigs.door import Door, job
from rigs.proxy import Proxy
from rigs.redis_server import RedisServer

CLIENTS = 300
CLOCK = SystemClock()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What must be closed in turn."""
    with ExitStack() as stack:
        yield stack


def slow_door(stack: ExitStack, valkey: RedisServer) -> tuple[Door, Proxy]:
    """A door whose Redis is behind a proxy; it has answered once, without delay."""
    proxy = stack.enter_context(Proxy(valkey.port))
    door = stack.enter_context(Door(f"redis://127.0.0.1:{proxy.port}/0"))
    assert door.post(job("warm")).status == 202
    return door, proxy


def post_all(door: Door) -> list[tuple[int, float, bool]]:
    """All clients at once: status, seconds, and whether Retry-After was told, of each."""
    together = threading.Barrier(CLIENTS)

    def post(number: int) -> tuple[int, float, bool]:
        together.wait(30)
        begun = CLOCK.monotonic()
        answer = door.post(job(f"b-{number}"))
        return answer.status, CLOCK.monotonic() - begun, "retry-after" in answer.headers

    with ThreadPoolExecutor(CLIENTS) as clients:
        return list(clients.map(post, range(CLIENTS)))


@pytest.mark.parametrize("delay", [0.1, 0.5, 1.0])
def test_300_parallel_posts_before_a_slow_redis(stack: ExitStack, valkey: RedisServer, delay: float) -> None:
    """99 in 100 of the accepted have their answer within 3 s, the rest their 503 within half a second."""
    door, proxy = slow_door(stack, valkey)
    proxy.delay = delay
    answers = post_all(door)
    accepted = sorted(seconds for status, seconds, _ in answers if status == 202)
    refused = sorted(seconds for status, seconds, told in answers if status == 503 and told)
    assert len(accepted) + len(refused) == CLIENTS
    assert accepted
    assert accepted[int(len(accepted) * 0.99)] < 3
    # The clients are 300 threads of this same process.
    assert refused[-1] < 0.5 + 0.4, refused[-5:]
    proxy.delay = 0.0
    assert door.post(job("after")).status == 202


def test_300_parallel_posts_before_a_quick_redis(stack: ExitStack, valkey: RedisServer) -> None:
    """A long queue that moves refuses nobody, unless the host itself is overloaded."""
    door, _ = slow_door(stack, valkey)
    statuses = [status for status, _, _ in post_all(door)]
    assert statuses.count(202) > CLIENTS * 0.5
    assert set(statuses) <= {202, 503}


def test_health_is_told_at_once_while_redis_is_slow(stack: ExitStack, valkey: RedisServer) -> None:
    """With every thread waiting for Redis, /healthz still answers."""
    door, proxy = slow_door(stack, valkey)
    proxy.delay = 1.0
    with ThreadPoolExecutor(20) as clients:
        posts = [clients.submit(door.post, job(f"b-{number}")) for number in range(20)]
        begun = CLOCK.monotonic()
        for _ in range(5):
            assert door.get("/healthz").status == 200
        assert CLOCK.monotonic() - begun < 1
        assert {post.result().status for post in posts} <= {202, 503}
