"""The door before a Redis that is slow: whom it takes is answered in time, whom it refuses at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from mailerd.clock import SystemClock
from rigs.door import Door, job
from rigs.post_many import post_many
from rigs.proxy import Proxy
from rigs.redis_server import RedisServer

CLIENTS = 300
FEW = 60  # fifteen for each thread
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


def in_one_of_five_rounds(complaint_of: Callable[[], str]) -> None:
    """A bound on time, on a machine that others use as well: noise can only break it, not keep it."""
    complaints = []
    for _ in range(5):
        complaint = complaint_of()
        if not complaint:
            return
        complaints.append(complaint)
    raise AssertionError(complaints)


@pytest.mark.parametrize("delay", [0.1, pytest.param(0.5, marks=pytest.mark.slow), 1.0])
@pytest.mark.covers("supervisor-35")
def test_300_parallel_posts_before_a_slow_redis(stack: ExitStack, valkey: RedisServer, delay: float) -> None:
    """99 in 100 of the accepted have their answer within 3 s, the rest their 503 within half a second."""
    door, proxy = slow_door(stack, valkey)

    def complaint() -> str:
        at_once = max(each.seconds for each in post_many(door.address[1], CLIENTS, "/healthz"))
        proxy.delay = delay
        answers = post_many(door.address[1], CLIENTS)
        proxy.delay = 0.0
        assert door.post(job("after")).status in {200, 202}
        accepted = sorted(each.seconds for each in answers if each.status in {200, 202})
        refused = sorted(each.seconds for each in answers if each.status == 503 and each.retry_after)
        assert len(accepted) + len(refused) == CLIENTS
        assert accepted
        # What needs nothing but the process shows how slow the machine is at the moment.
        if accepted[int(len(accepted) * 0.99)] < 3 + at_once and refused[-1] < 0.5 + 2 * at_once:
            return ""
        late = [each for each in refused if each > 0.5]
        return f"accepted {accepted[-1]:.2f} s, refused late {late}, healthy {at_once:.2f} s"

    in_one_of_five_rounds(complaint)


def test_parallel_posts_before_a_quick_redis(stack: ExitStack, valkey: RedisServer) -> None:
    """A queue that moves refuses nobody, however many come at once: who waits for a moment is taken."""
    door, _ = slow_door(stack, valkey)

    def complaint() -> str:
        refused = [each.status for each in post_many(door.address[1], FEW) if each.status not in {200, 202}]
        return f"{len(refused)} of {FEW} were refused: {set(refused)}" if refused else ""

    in_one_of_five_rounds(complaint)


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
