"""Processes of the unit that die or hang: it comes back by itself, and nobody is lost or mailed twice."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from rigs.daemon import Sections
from rigs.memory import allowed_megabytes
from rigs.project import address
from rigs.service import UNIT, Service, title
from rigs.sink import Sink
from rigs.tracing import stopped_threads
from rigs.waiting import wait_until

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(900)]

CONTACTS = [f"user{n}" for n in range(1, 201)]
HOW: dict[str, Callable[[Service], object]] = {
    "main": lambda service: service.systemctl("kill", "--kill-who=main", "-s", "KILL", UNIT),
    "supervisor": lambda service: os.kill(service.supervisor, signal.SIGKILL),
    "worker": lambda service: os.kill(min(service.workers), signal.SIGKILL),
    "all": lambda service: service.systemctl("kill", "-s", "KILL", UNIT),
}


@pytest.mark.parametrize("victim", HOW)
def test_a_kill_in_mid_batch(service: Service, sections: Sections, sink: Sink, victim: str) -> None:
    """Whoever is killed, the batch is finished; only a hand-over that was open may be unknown."""
    service.start()
    sink.behave(delay=0.05)
    service.post("spring", CONTACTS)
    sink.wait_for(20)

    HOW[victim](service)

    assert_all_accounted_for(service, sink)
    assert service.restarts == (0 if victim == "worker" else 1)
    assert len(service.workers) == 2


def assert_all_accounted_for(service: Service, sink: Sink) -> None:
    """The batch ends: each contact got one mail, or its hand-over is told to be unknown."""

    def ended() -> bool:
        return service.is_up and service.batch("spring")["state"] in {"done", "needs_attention"}

    wait_until(ended, 90.0, lambda: service.journal()[-6000:])
    rows = service.recipients("spring")
    assert len(rows) == len(CONTACTS)
    unknown = {address(row["contact_id"]) for row in rows if row["state"] == "unknown"}
    sent = {address(row["contact_id"]) for row in rows if row["state"] == "sent"}
    assert len(sent) + len(unknown) == len(CONTACTS)
    assert len(unknown) <= 8  # 2 workers with 4 connections each
    mailed = sink.recipients()
    assert set(mailed.values()) == {1}
    assert sent <= set(mailed) <= sent | unknown


@pytest.mark.covers("supervisor-33")
def test_a_hung_http_loop_is_restarted(service: Service, sections: Sections, sink: Sink) -> None:
    """Main lives, its other threads do not move: the watchdog has it restarted."""
    service.drop_in("[Service]\nWatchdogSec=2\n")
    service.start()
    main = service.main

    with stopped_threads(main):
        wait_until(lambda: service.restarts == 1 and service.is_up, 30.0, service.journal)

    assert_restarted_by_the_watchdog(service, sink)


@pytest.mark.parametrize("victim", ["main", "supervisor"])
def test_a_stopped_process_is_restarted(
    service: Service, sections: Sections, sink: Sink, victim: str
) -> None:
    """A main process or a supervisor that no longer moves is replaced by way of the watchdog."""
    service.drop_in("[Service]\nWatchdogSec=2\n")
    service.start()

    os.kill(service.main if victim == "main" else service.supervisor, signal.SIGSTOP)
    wait_until(lambda: service.restarts == 1 and service.is_up, 30.0, service.journal)

    assert_restarted_by_the_watchdog(service, sink)


def assert_restarted_by_the_watchdog(service: Service, sink: Sink) -> None:
    """The journal says so, nobody of the old life is left, and it works."""
    assert "Watchdog timeout" in service.journal()
    assert len(service.processes()) == 4
    service.post("spring", ["user1"])
    sink.wait_for(1)


@pytest.mark.covers("supervisor-39")
def test_a_worker_out_of_memory_costs_only_itself(service: Service, sections: Sections) -> None:
    """The kernel kills a worker that grows; the unit, the other worker and the job go on."""
    service.configure({"workers": {"processes": 2}})
    service.start()
    victim, other = sorted(service.workers)
    main = service.main

    with allowed_megabytes(victim, 8):
        service.push_foreign("huge1", 100_000)
        service.push_foreign("huge2", 100_000)
        wait_until(lambda: not title(victim), 30.0, service.journal)
    assert (service.state, service.main) == ("active", main)
    assert title(other)
    for batch in ("huge1", "huge2"):
        assert service.wait_for_batch(batch)["counts"]["discarded"] == 100_000
    assert "killed by SIGKILL" in service.journal()
    assert service.restarts == 0
