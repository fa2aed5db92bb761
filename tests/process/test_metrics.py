"""The metrics of a real daemon: what its workers did is counted, and no death takes it away."""

from __future__ import annotations

import re
from collections.abc import Callable

from rigs.daemon import Daemon
from rigs.project import Project, job
from rigs.redis_server import RedisServer
from rigs.sink import Sink
from rigs.waiting import wait_until

Daemons = Callable[..., Daemon]


def total(daemon: Daemon, name: str, labels: str = "") -> float:
    """The sum of all samples of that name whose labels hold that text."""
    page = daemon.get("/metrics").body.decode()
    found = re.findall(rf"^{name}(?:\{{(.*)\}})? (\S+)$", page, re.MULTILINE)
    return sum(float(value) for has, value in found if labels in has)


def test_what_workers_did_is_counted_and_outlives_them(
    daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project
) -> None:
    """Outcomes, durations and states while they live, and after one of them was killed."""
    daemon = daemons(project.sections(valkey, sink, workers={"processes": 2})).start()
    daemon.post("/queue", job("news", project.contacts(100), "plain"))
    daemon.wait_for_batch("news")

    assert total(daemon, "mailerd_outcomes_total", 'outcome="sent"') == 100
    assert total(daemon, "mailerd_recipients", 'state="sent"') == 100
    assert total(daemon, "mailerd_hand_over_seconds_count") == 100
    assert 0 < total(daemon, "mailerd_hand_over_seconds_sum") < 100
    assert total(daemon, "mailerd_pick_up_seconds_count") == 1
    assert total(daemon, "mailerd_worker_uss_bytes", 'worker="1"') > 2**20
    assert total(daemon, "mailerd_queue_workers") == 2
    assert total(daemon, "mailerd_conservation_gap") == 0

    daemon.workers()[0].kill()
    wait_until(lambda: total(daemon, "mailerd_worker_restarts_total") == 1)
    wait_until(lambda: total(daemon, "mailerd_events_total", "death_settled") == 1)

    assert total(daemon, "mailerd_worker_deaths_total") == 1
    assert total(daemon, "mailerd_outcomes_total", 'outcome="sent"') == 100
    assert total(daemon, "mailerd_hand_over_seconds_count") == 100
