"""Real failovers under a working daemon: who is lost, who gets two, and how long nothing moves."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rigs.daemon import Daemon, Sections
from rigs.project import Project, address, job
from rigs.redis_server import RedisServer
from rigs.sentinels import Sentinels
from rigs.sink import Sink
from rigs.waiting import holds_for, wait_until

pytestmark = pytest.mark.slow
Daemons = Callable[..., Daemon]
PEOPLE = 400


@pytest.fixture
def group(debian_redis_program: str, tmp_path: Path) -> Iterator[Sentinels]:
    """A master with a replica, and three sentinels."""
    with Sentinels(debian_redis_program, tmp_path / "group", replicas=1) as made:
        yield made


@pytest.fixture
def group_of_three(debian_redis_program: str, tmp_path: Path) -> Iterator[Sentinels]:
    """A master with two replicas, and three sentinels."""
    with Sentinels(debian_redis_program, tmp_path / "group", replicas=2) as made:
        yield made


def sections(project: Project, group: Sentinels, sink: Sink, replicas: int, **keys: Any) -> Sections:
    made = project.sections(group.servers[0], sink, **keys)
    made["redis"] = {"url": group.url, "replicas": replicas}
    return made


def everybody(count: int, each: int = 1) -> Counter[str]:
    return Counter({address(f"user{number}"): each for number in range(1, count + 1)})


def lag_behind(replica: RedisServer, master: RedisServer) -> None:
    """Cut a replica off from its master, which takes it for a stranger; the sentinels see both."""
    with contextlib.closing(replica.client()) as client:
        client.config_set("masterauth", "wrong")
    with contextlib.closing(master.client()) as client:
        client.client_kill_filter(_type="replica")
        wait_until(lambda: client.info("replication")["connected_slaves"] == 0, 5, "still connected")


def sent_according_to(server: RedisServer, batch: str) -> int:
    with contextlib.closing(server.client()) as client:
        return int(client.hget(f"{{email_queue}}:batch:c1/{batch}", "sent") or 0)  # type: ignore[arg-type] # sync


@pytest.mark.covers("mail-19")
def test_a_failover_in_mid_batch_with_copies_loses_nobody_and_mails_nobody_twice(
    daemons: Daemons, group_of_three: Sentinels, sink: Sink, project: Project
) -> None:
    """With replicas = 1 whoever was accepted gets one mail; only open hand-overs may be unknown."""
    contacts = project.contacts(PEOPLE)
    sink.behave(delay=0.01)
    daemon = daemons(sections(project, group_of_three, sink, 1)).start()
    assert daemon.post("/queue", job("one", contacts)).status == 202
    sink.wait_for(PEOPLE // 4)

    group_of_three.failover()
    there = len(sink.mails())
    wait_until(lambda: len(sink.mails()) > there + 8, 15, daemon.tail)
    batch = daemon.wait_for_batch("one", 60, ("done", "needs_attention"))

    assert sink.recipients() == everybody(PEOPLE)
    assert batch["counts"].get("unknown", 0) == 0, batch
    assert batch["counts"] == {"sent": PEOPLE}
    assert daemon.post("/queue", job("one", contacts)).json["replayed"] is True
    assert daemon.term() == 0


@pytest.mark.covers("queues-4")
def test_sentinels_that_are_silent_for_a_while_cost_nothing_but_that_while(
    daemons: Daemons, group: Sentinels, sink: Sink, project: Project
) -> None:
    """A worker in the middle of a fetch finds the new master once the sentinels answer again."""
    contacts = project.contacts(4)
    daemon = daemons(sections(project, group, sink, 0)).start()
    first = group.master
    group.freeze()
    first.kill()
    daemon.wait_for_line("Redis is away", 15)
    assert daemon.post("/queue", job("early", contacts)).status == 503
    group.thaw()
    group.wait_for_another(first)

    wait_until(lambda: daemon.post("/queue", job("late", contacts)).status in (200, 202), 10, daemon.tail)
    sink.wait_for(4, 10)
    daemon.wait_for_batch("late", 10)
    assert sink.recipients() == everybody(4)
    assert daemon.term() == 0


@pytest.mark.covers("queues-42")
@pytest.mark.parametrize("begun", [True, False], ids=["begun", "untouched"])
def test_without_copies_a_failover_forgets_jobs_but_nobody_who_was_mailed_is_mailed_again(
    daemons: Daemons, group: Sentinels, sink: Sink, project: Project, begun: bool
) -> None:
    """
    With replicas = 0 what the replica had not got is lost: the batch that was accepted last is unknown.

    The job that it has got, begun or as it was pushed, is worked on again, by workers who know from the ring
    whom they had mailed.
    """
    contacts = project.contacts(PEOPLE)
    refused = {"at": "rcpt", "match": "[05]@", "do": "550 5.1.1 no such user"}
    sink.behave(0.01, [refused, {"at": "rcpt", "match": "7@", "do": "450 4.2.0 later", "times": 30}])
    daemon = daemons(sections(project, group, sink, 0, workers={"processes": 3})).start()
    workers = daemon.workers()
    for worker in () if begun else workers:
        worker.suspend()
    assert daemon.post("/queue", job("kept", contacts)).status == 202
    if begun:
        sink.wait_for(10)
    lag_behind(group.replicas[0], group.master)
    for worker in () if begun else workers:
        worker.resume()
    known = sent_according_to(group.replicas[0], "kept")
    assert daemon.post("/queue", job("lost", contacts[:1], "welcome")).status == 202
    sink.wait_for(known + PEOPLE // 4)

    new = group.failover()
    daemon.wait_for_line("told of the last hand-overs", 15)
    wait_until(lambda: sent_according_to(new, "kept") > known + PEOPLE // 8, 10, daemon.tail)
    batch = daemon.wait_for_batch("kept", 60, ("done", "needs_attention"))

    assert daemon.get("/batches/lost").status == 404
    mailed = Counter(mail.recipient for mail in sink.mails() if b"Subject: Hello\r" in mail.content)
    assert max(mailed.values()) == 1, mailed.most_common(3)
    unknown = batch["counts"].get("unknown", 0)
    assert len(mailed) >= PEOPLE - PEOPLE // 5 - unknown
    assert batch["counts"]["failed"] == PEOPLE // 5
    assert batch["counts"]["sent"] == PEOPLE - PEOPLE // 5 - unknown
    assert daemon.term() == 0


def test_without_the_copies_that_were_asked_for_nothing_is_taken_and_nobody_mailed_until_they_return(
    daemons: Daemons, group: Sentinels, sink: Sink, project: Project
) -> None:
    """503 and waiting_for while the replica is silent; everything within 10 s of its return."""
    contacts = project.contacts(20)
    daemon = daemons(sections(project, group, sink, 1)).start()
    replica = group.replicas[0]
    replica.freeze()
    refused = daemon.post("/queue", job("one", contacts))
    assert (refused.status, "Retry-After" in refused.headers) == (503, True)

    daemon.wait_for_line("Nobody is handed over", 15)
    wait_until(lambda: "replicas" in (daemon.batch("one")["waiting_for"] or ""), 10, daemon.tail)
    holds_for(lambda: not sink.mails(), 2.0, "somebody was mailed without copies")
    counts = daemon.batch("one")["counts"]
    assert counts == {"queued": 20}, counts
    replica.thaw()
    sink.wait_for(20, 10)
    daemon.wait_for_batch("one", 10)
    wait_until(lambda: daemon.post("/queue", job("one", contacts)).status == 200, 10, daemon.tail)

    assert sink.recipients() == everybody(20)
    assert daemon.term() == 0


def test_only_as_many_copies_as_replicas_survive_whoever_becomes_the_master(
    group_of_three: Sentinels,
) -> None:
    """
    One replica has fallen behind, the other stands still while Sentinel chooses: the one behind is chosen.

    What one of two had confirmed is gone then; with redis.replicas = 2 it would not have been accepted.
    """
    master, behind, ahead = group_of_three.servers
    with contextlib.closing(behind.client()) as client:
        client.replicaof("127.0.0.1", 1)  # type: ignore[arg-type] # a port is a number
    with contextlib.closing(master.client()) as client:
        wait_until(lambda: client.info("replication")["connected_slaves"] == 1, 5, "still connected")
        client.set("accepted", 1)
        assert client.wait(2, 500) == 1
    ahead.freeze()
    new = group_of_three.failover()
    with contextlib.closing(new.client()) as client:
        assert (new, client.get("accepted")) == (behind, None)
