"""Which process has which connection to Redis, and that jobs survive restarts of workers and of Redis."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
from collections.abc import Callable

import psutil
import pytest

from rigs.daemon import Daemon
from rigs.project import Project, job, push
from rigs.redis_server import RedisServer
from rigs.sink import Sink
from rigs.waiting import holds_for, wait_until

pytestmark = pytest.mark.slow  # each of them waits for real time-outs and real deaths

Daemons = Callable[..., Daemon]
Servers = Callable[..., RedisServer]


def ports(worker: psutil.Process, redis: RedisServer) -> set[int]:
    """The ports from which a worker has connections to Redis."""
    with contextlib.suppress(psutil.NoSuchProcess):
        connections = worker.net_connections("tcp")
        return {one.laddr.port for one in connections if one.raddr and one.raddr.port == redis.port}
    return set()


def clients(daemon: Daemon, redis: RedisServer) -> dict[int, set[int]]:
    """Each worker's ports; without those that have no connection (yet)."""
    found = {worker.pid: ports(worker, redis) for worker in daemon.workers()}
    return {pid: some for pid, some in found.items() if some}


@pytest.mark.covers("supervisor-28", "supervisor-1", "queues-40")
def test_every_worker_has_connections_of_its_own(daemons: Daemons, valkey: RedisServer) -> None:
    """No connection is shared by a fork, and whoever forks has neither connection nor second thread."""
    daemon = daemons({"redis": {"url": valkey.url}, "workers": {"processes": 4}}).start()
    gone: set[int] = set()
    for _ in range(3):
        wait_until(lambda gone=gone: len(clients(daemon, valkey).keys() - gone) == 4, 20, daemon.tail)
        found = clients(daemon, valkey)
        assert len(set.union(*found.values())) == sum(map(len, found.values()))
        assert daemon.supervisor().net_connections("tcp") == []
        assert daemon.supervisor().num_threads() == 1
        gone = gone | found.keys()
        daemon.signal(signal.SIGHUP)  # the next ones are forked by a daemon that has been at work for a while

    assert "refusing to fork" not in daemon.log
    assert daemon.term() == 0


def at_work(daemon: Daemon) -> list[psutil.Process]:
    """Those who have had a job: a slot whose workers leave before that is filled again after pauses only."""
    found = []
    for worker in daemon.workers():
        with contextlib.suppress(psutil.NoSuchProcess):
            name = " ".join(worker.cmdline()[0].split()[1:3])
            if f"{name}: New Job Received" in daemon.log.rpartition(f"{name}: Worker started")[2]:
                found.append(worker)
    return found


@pytest.mark.parametrize("fetch", ["blmove", "brpop"])
@pytest.mark.parametrize("stops", [4, pytest.param(20, marks=pytest.mark.slow)])
@pytest.mark.covers("supervisor-29")
def test_workers_told_to_stop_under_load_lose_no_job(
    daemons: Daemons, valkey: RedisServer, fetch: str, stops: int
) -> None:
    """TERM to a worker at any moment: each job that was pushed is worked off, once."""
    daemon = daemons({"redis": {"url": valkey.url}, "queue": {"fetch": fetch}}).start()
    pushed, over = [0], threading.Event()

    def produce() -> None:
        with valkey.client() as redis:
            while not over.wait(0.005):
                redis.lpush("email_queue", json.dumps(job(f"b{pushed[0]}", ["one"])))
                pushed[0] += 1

    producer = threading.Thread(target=produce)
    producer.start()
    try:
        for _ in range(stops):
            (victim, *_) = wait_until(lambda: at_work(daemon), 10, daemon.tail)
            victim.terminate()
            wait_until(lambda gone=victim: gone not in daemon.workers(), 10, daemon.tail)
    finally:
        over.set()
        producer.join()

    with valkey.client() as redis:
        wait_until(lambda: redis.zcard("{email_queue}:ended") == pushed[0], 20, daemon.tail)
        assert redis.llen("email_queue") == 0
    assert daemon.log.count("New Job Received") == pushed[0]
    assert daemon.term() == 0


@pytest.mark.parametrize("restarts", [2, pytest.param(10, marks=pytest.mark.slow)])
@pytest.mark.covers("supervisor-26")
def test_workers_go_on_after_each_restart_of_redis(
    daemons: Daemons, redis_servers: Servers, restarts: int
) -> None:
    """A job pushed after a restart is worked off in time, by the same processes, time after time."""
    redis = redis_servers(append_only=True).start()
    daemon = daemons({"redis": {"url": redis.url}}).start()
    before = {worker.pid for worker in daemon.workers()}
    for number in range(restarts):
        redis.stop()
        redis.start()
        push(redis, job(f"b{number}", ["one"]))
        wait_until(lambda number=number: f"BatchID:b{number}}}" in daemon.log, 20, daemon.tail)

    assert {worker.pid for worker in daemon.workers()} == before
    assert daemon.term() == 0


@pytest.mark.slow
@pytest.mark.covers("supervisor-27")
def test_waiting_for_work_is_no_fault(daemons: Daemons, valkey: RedisServer) -> None:
    """Longer idle than every time-out: no reconnect, no restart and no line in the log."""
    daemon = daemons({"redis": {"url": valkey.url}}).start()
    daemon.wait_for_line("Ready: ")
    before, logged = clients(daemon, valkey), daemon.log

    holds_for(lambda: daemon.running, 13)

    after = clients(daemon, valkey)
    assert before.keys() == after.keys()
    assert all(before[pid] <= after[pid] for pid in before), f"{before} became {after}"
    assert daemon.log == logged
    assert daemon.term() == 0


def test_the_first_life_of_redis_is_no_other_one(
    daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project
) -> None:
    """That a lease is renewed for the first time, after something was sent, is no change of Redis."""
    contacts = project.contacts(1)
    daemon = daemons(project.sections(valkey, sink, queue={"lease": 2})).start()
    daemon.post("/queue", job("spring", contacts))
    daemon.wait_for_batch("spring")

    holds_for(lambda: "Redis is another one" not in daemon.log, 1.5)
