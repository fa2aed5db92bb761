"""Redis goes away and comes back with its data: work goes on by itself, quietly, in the same processes."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable

import psutil
import pytest

from rigs.daemon import Daemon
from rigs.project import Project, address, job, push
from rigs.redis_server import RedisServer
from rigs.sink import Sink
from rigs.waiting import holds_for, wait_until

Daemons = Callable[..., Daemon]
Servers = Callable[..., RedisServer]
AT_THE_LOSS = 2.0
A_TICK = 0.01  # in which the kernel counts each process' time
IDLE = 20.0
AWAY = [3, 30]


def cpu(daemon: Daemon) -> float:
    """Seconds of processor time that the whole daemon has used."""
    processes = [psutil.Process(daemon.pid), daemon.supervisor(), *daemon.workers()]
    return sum(process.cpu_times().user + process.cpu_times().system for process in processes)


def pids(daemon: Daemon) -> set[int]:
    """All processes of the daemon."""
    return {daemon.pid, daemon.supervisor().pid, *(worker.pid for worker in daemon.workers())}


def outage(daemon: Daemon, redis: RedisServer, seconds: float) -> None:
    """Redis is away for so long; meanwhile the daemon is quiet in its log and on the processor."""
    before, logged = pids(daemon), len(daemon.log.splitlines())
    redis.stop()
    # What every process has to do once, at the loss, is not what it does again and again.
    holds_for(lambda: daemon.running, AT_THE_LOSS, "the daemon ended")
    used = cpu(daemon)
    holds_for(lambda: daemon.running, seconds, "the daemon ended")
    used = cpu(daemon) - used
    lines = daemon.log.splitlines()[logged:]
    assert len(lines) < AT_THE_LOSS + seconds + 6, lines
    assert "Traceback" not in "\n".join(lines)
    assert used < 0.02 * seconds + A_TICK * len(before)
    assert daemon.get("/readyz").status == 503
    redis.start()
    assert pids(daemon) == before


@pytest.mark.slow
@pytest.mark.parametrize("seconds", AWAY)
@pytest.mark.covers("supervisor-11", "supervisor-26", "queues-2", "queues-3", "queues-39")
def test_redis_away_while_idle(
    daemons: Daemons, redis_servers: Servers, sink: Sink, project: Project, seconds: float
) -> None:
    """A job pushed after the return is worked off within ten seconds."""
    project.contacts(5)
    redis = redis_servers(append_only=True).start()
    daemon = daemons(project.sections(redis, sink)).start()
    outage(daemon, redis, seconds)
    push(redis, job("after", ["user1"]))
    sink.wait_for(1, 10)

    assert daemon.term() == 0


@pytest.mark.slow
@pytest.mark.parametrize("seconds", AWAY)
@pytest.mark.covers("supervisor-11")
def test_redis_away_while_sending(
    daemons: Daemons, redis_servers: Servers, sink: Sink, project: Project, seconds: float
) -> None:
    """The batch goes on within ten seconds of the return; nobody is lost, nobody gets it twice."""
    contacts = project.contacts(300)
    sink.behave(delay=0.05)
    redis = redis_servers(append_only=True, settings=("--appendfsync", "always")).start()
    daemon = daemons(project.sections(redis, sink)).start()
    push(redis, job("long", contacts))
    sink.wait_for(40, 10)
    outage(daemon, redis, seconds)
    before = len(sink.mails())
    sink.wait_for(before + 1, 10)
    batch = daemon.wait_for_batch("long", 60, ("done", "needs_attention"))

    assert batch["counts"] == {"sent": 300}
    assert sink.recipients() == Counter(map(address, contacts))
    assert daemon.term() == 0


@pytest.mark.slow
def test_nobody_is_handed_over_while_the_ledger_cannot_be_written(
    daemons: Daemons, redis_servers: Servers, sink: Sink, project: Project
) -> None:
    """Without Redis no more mails leave than the groups that were claimed before."""
    contacts = project.contacts(400)
    sink.behave(delay=0.02)
    redis = redis_servers(append_only=True, settings=("--appendfsync", "always")).start()
    daemon = daemons(project.sections(redis, sink)).start()
    push(redis, job("held", contacts))
    sink.wait_for(20, 10)
    redis.stop()
    before = len(sink.mails())
    holds_for(lambda: len(sink.mails()) <= before + 16, 1.5, "mails leave without a claim")
    redis.start()
    daemon.wait_for_batch("held", 40)

    assert sink.recipients() == Counter(map(address, contacts))
    assert daemon.term() == 0


def test_frozen_redis(daemons: Daemons, redis_servers: Servers, sink: Sink, project: Project) -> None:
    """A Redis that is silent but connected is an outage too: HTTP does not hang, and work goes on."""
    project.contacts(5)
    redis = redis_servers(append_only=True).start()
    daemon = daemons(project.sections(redis, sink)).start()
    redis.freeze()
    answer = daemon.post("/queue", job("frozen", ["user1"]))
    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) >= 1
    redis.thaw()
    wait_until(lambda: daemon.get("/readyz").status == 200, 10, daemon.tail)
    again = daemon.post("/queue", job("frozen", ["user1"]))
    assert again.status in (200, 202)
    sink.wait_for(1, 10)
    daemon.wait_for_batch("frozen", 10)

    assert len(sink.mails()) == 1
    assert daemon.term() == 0


@pytest.mark.slow
@pytest.mark.covers("queues-39")
def test_an_idle_daemon_leaves_redis_alone(
    daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project
) -> None:
    """Leases, takes and chores cost at most two commands a second and worker, with those inside scripts."""
    daemon = daemons(project.sections(valkey, sink, workers={"processes": 2})).start()
    with contextlib.closing(valkey.client()) as client:

        def served() -> int:
            statistics = client.info("commandstats")
            return sum(figures["calls"] for name, figures in statistics.items() if "info" not in name)

        before = served()
        holds_for(lambda: daemon.running, IDLE, "the daemon ended")
        commands = served() - before

    assert commands <= 2 * IDLE * 2
