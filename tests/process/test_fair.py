"""A long batch does not keep a short one waiting."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from rigs.daemon import Daemon
from rigs.project import Project, job, push
from rigs.redis_server import RedisServer
from rigs.sink import Sink
from rigs.waiting import wait_until

Daemons = Callable[..., Daemon]


@pytest.mark.covers("queues-37", "mail-26")
def test_a_short_job_overtakes_a_batch_of_100_000(
    daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project
) -> None:
    """While the batch of 100,000 runs on two workers, a job for one recipient leaves within a second."""
    sections = project.sections(valkey, sink)
    del sections["contacts"]
    daemon = daemons(sections).start()
    push(valkey, job("huge", [f"h{n}@example.com" for n in range(100_000)]))
    sink.wait_for(500, 30)
    for number in range(3):
        before = len(sink.mails())
        begun = time.monotonic()
        push(valkey, job(f"short{number}", [f"short{number}@example.com"]))
        wait_until(lambda number=number: f"short{number}@example.com" in sink.recipients(), 10, daemon.tail)
        assert time.monotonic() - begun <= 1
        sink.wait_for(before + 200, 20)
    batch = daemon.batch("huge")

    assert batch["recipients"] == sum(batch["counts"].values()) == 100_000
    assert batch["state"] == "sending"
    assert daemon.term() == 0
    assert max(sink.recipients().values()) == 1
