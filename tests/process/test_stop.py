"""SIGTERM in the middle of a batch: a clean end, and the next life goes on where this one stopped."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable

import pytest

from rigs.daemon import Daemon
from rigs.project import Project, address, job, push
from rigs.redis_server import RedisServer
from rigs.sink import Sink
from rigs.waiting import wait_until

Daemons = Callable[..., Daemon]
DELAY = 0.05


@pytest.mark.covers("supervisor-29", "queues-25", "queues-26")
def test_term_in_mid_batch(daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project) -> None:
    """It ends with 0 within one hand-over and a second; after the restart nobody is missing or repeated."""
    contacts, took = project.contacts(300), list[float]()
    sink.behave(delay=DELAY)
    daemon = daemons(project.sections(valkey, sink)).start()
    push(valkey, job("stopped", contacts))
    for stop in range(1, 4):
        sink.wait_for(50 * stop, 20)
        begun, there = time.monotonic(), len(sink.mails())
        assert daemon.term() == 0
        took.append(time.monotonic() - begun)
        assert len(sink.mails()) - there <= 40  # eight in hand, and those that were quicker than the signal
        assert daemon.survivors() == []
        assert sink.open() == []
        daemon.start()
    assert min(took) <= DELAY + 1, took  # others use this machine as well
    batch = daemon.wait_for_batch("stopped", 30)

    assert batch["counts"] == {"sent": 300}
    assert sink.recipients() == Counter(map(address, contacts))
    assert daemon.term() == 0


def test_stop_of_an_idle_daemon(daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project) -> None:
    """Workers that wait for a job leave at once, not when their blocking call comes back."""
    daemon = daemons(project.sections(valkey, sink)).start()
    begun = time.monotonic()

    assert daemon.term() == 0
    assert time.monotonic() - begun <= 1
    assert daemon.survivors() == []


@pytest.mark.covers("queues-35")
def test_hand_over_without_an_answer_is_unknown(
    daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project
) -> None:
    """A hand-over that is still unanswered at the drain deadline is unknown and is not repeated."""
    contacts = project.contacts(6)
    sink.behave(rules=[{"at": "dot", "match": "^user3@", "do": "hang"}])
    daemon = daemons(project.sections(valkey, sink, workers={"drain_timeout": 1})).start()
    push(valkey, job("silent", contacts))
    sink.wait_for(4, 10)
    wait_until(lambda: len(sink.open()) == 1, 5, "one hand-over is open")
    begun = time.monotonic()
    assert daemon.term() == 0
    assert time.monotonic() - begun <= 6
    sink.behave()
    daemon.start()
    batch = daemon.wait_for_batch("silent", 20, ("needs_attention",))

    assert batch["counts"] == {"sent": 5, "unknown": 1}
    assert sink.recipients() == Counter(map(address, contacts))
    assert daemon.term() == 0


def test_second_term_is_faster(daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project) -> None:
    """A second TERM does not wait for the drain deadline."""
    contacts = project.contacts(2)
    sink.behave(rules=[{"at": "dot", "do": "hang"}])
    daemon = daemons(project.sections(valkey, sink, workers={"drain_timeout": 60})).start()
    push(valkey, job("silent", contacts))
    sink.wait_for(2, 10)
    daemon.signal(signal.SIGTERM)
    daemon.wait_for_line("Stopping", 5)
    begun = time.monotonic()

    assert daemon.term(20) == 0
    assert time.monotonic() - begun <= 10
    assert daemon.survivors() == []


def test_quit_stops_at_once(daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project) -> None:
    """SIGQUIT ends everything now, with 1; the next life settles what was in hand."""
    contacts = project.contacts(40)
    sink.behave(delay=DELAY)
    daemon = daemons(project.sections(valkey, sink)).start()
    push(valkey, job("cut", contacts))
    sink.wait_for(10, 10)
    daemon.signal(signal.SIGQUIT)
    assert daemon.wait(3) == 1
    assert daemon.survivors() == []
    daemon.start()
    batch = daemon.wait_for_batch("cut", 20, ("done", "needs_attention"))

    assert set(batch["counts"]) <= {"sent", "unknown"}
    assert max(sink.recipients().values()) == 1
    assert daemon.term() == 0
