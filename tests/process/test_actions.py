"""Pause, resume, cancel and retry in the middle of a long batch on two daemons."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from mailerd.outcome import State
from rigs.daemon import Daemon
from rigs.project import Project, job, push
from rigs.redis_server import RedisServer
from rigs.sink import Sink
from rigs.waiting import holds_for, wait_until

Daemons = Callable[..., Daemon]
EVERYBODY = 50_000


class Sampler:
    """Reads a batch's counters again and again; each sample is one read, and must add up."""

    def __init__(self, redis: RedisServer, tag: str) -> None:
        self.broken: list[dict[str, int]] = []
        self.samples = 0
        self._redis, self._tag = redis, tag
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._done.set()
        self._thread.join(10)

    def _run(self) -> None:
        fields = ["recipients", *State]
        with self._redis.client() as client:
            while not self._done.wait(0.005):
                values = client.hmget("{email_queue}:batch:" + self._tag, fields)
                recipients, *counts = [int(value or 0) for value in values]
                self.samples += 1
                if recipients != sum(counts):
                    self.broken.append(dict(zip(fields, [recipients, *counts], strict=True)))


@pytest.fixture
def long_batch(daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project) -> list[Daemon]:
    """Two daemons in the middle of a batch of 50,000; the first hundred recipients are refused."""
    sink.behave(rules=[{"at": "rcpt", "match": r"^<?h\d\d?@", "do": "550 5.1.1 no such user"}])
    sections = project.sections(valkey, sink)
    del sections["contacts"]
    pair = [daemons(sections).start() for _ in range(2)]
    push(valkey, job("long", [f"h{n}@example.com" for n in range(EVERYBODY)]))
    sink.wait_for(300, 30)
    return pair


def say(daemon: Daemon, action: str) -> float:
    """Say it over HTTP; when it was answered."""
    answer = daemon.post(f"/batches/long/{action}")
    assert answer.status == 202, answer
    return time.monotonic()


@pytest.mark.covers("mail-3")
def test_an_operators_word_is_in_force_within_a_second(
    long_batch: list[Daemon], valkey: RedisServer, sink: Sink
) -> None:
    """Each word counts on both daemons within a second, sums hold at every sample, nobody gets two mails."""
    first, second = long_batch
    sampler = Sampler(valkey, "c1/long")

    for _ in range(2):
        say(first, "pause")
        assert first.batch("long")["state"] == "paused"
        wait_until(lambda: second.batch("long")["counts"].get("sending", 0) == 0, 1.0)
        stands = len(sink.mails())
        holds_for(lambda stands=stands: len(sink.mails()) == stands, 0.5)
        assert first.post("/batches/long/pause").status == 409
        asked = say(second, "resume")
        wait_until(lambda stands=stands: len(sink.mails()) > stands, 10)
        assert time.monotonic() - asked < 2.0
    say(first, "cancel")
    wait_until(lambda: second.batch("long")["finished_at"] is not None, 10)
    stands = len(sink.mails())
    holds_for(lambda: len(sink.mails()) == stands, 0.5)
    sampler.stop()

    batch = second.batch("long")
    assert batch["state"] == "cancelled"
    assert batch["counts"].get("sent", 0) == stands
    assert sum(batch["counts"].values()) == EVERYBODY
    assert set(batch["counts"]) <= {"sent", "cancelled", "failed"}
    assert first.post("/batches/long/resume").status == 409
    assert sampler.samples > 100
    assert sampler.broken == []
    assert max(sink.recipients().values()) == 1
    assert [daemon.term() for daemon in long_batch] == [0, 0]


@pytest.mark.covers("mail-5")
def test_retry_opens_exactly_those_who_got_nothing(
    daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project
) -> None:
    """After a retry those who had failed get their one mail, those who had one do not get another."""
    sink.behave(rules=[{"at": "rcpt", "match": r"^<?h[0-4]@", "do": "550 5.1.1 no such user"}])
    sections = project.sections(valkey, sink)
    del sections["contacts"]
    daemon = daemons(sections).start()
    push(valkey, job("long", [f"h{n}@example.com" for n in range(150)]))
    assert daemon.wait_for_batch("long")["counts"] == {"sent": 145, "failed": 5}
    sink.behave()

    say(daemon, "retry")

    wait_until(lambda: len(sink.mails()) == 150, 20, daemon.tail)
    assert daemon.wait_for_batch("long")["counts"] == {"sent": 150}
    assert max(sink.recipients().values()) == 1
    assert daemon.post("/batches/long/retry").status == 409
