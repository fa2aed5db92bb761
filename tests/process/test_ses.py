"""Batches through the real daemon to Amazon SES, or to what stands in for it."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rigs.daemon import Daemon, Sections
from rigs.fake_ses import ENVIRONMENT, FakeSes
from rigs.project import Project, address, job
from rigs.redis_server import RedisServer
from rigs.waiting import wait_until

Daemons = Callable[..., Daemon]


@pytest.fixture
def fake() -> Iterator[FakeSes]:
    with FakeSes() as server:
        yield server


@pytest.fixture
def start(daemons: Daemons, valkey: RedisServer, project: Project, fake: FakeSes) -> Callable[..., Daemon]:
    """Starts a daemon that sends through the fake: ``start(workers={"processes": 1})``."""

    def started(**keys: dict[str, Any]) -> Daemon:
        sections: Sections = {
            "redis": {"url": valkey.url},
            "contacts": {"url": f"sqlite:///{project.database}"},
            "templates": {"path": str(project.folder / "templates")},
            "mail": {"transport": "ses", "from": "News <news@sender.test>", "retry_delays": [1, 1, 1]},
            "ses": fake.settings,
        }
        for name, overlay in keys.items():
            sections.setdefault(name, {}).update(overlay)
        daemon = daemons(sections, ENVIRONMENT)
        daemon.start()
        return daemon

    return started


Start = Callable[..., Daemon]


@pytest.mark.slow
def test_a_batch_arrives_and_a_lost_answer_is_not_a_repeat(
    start: Start, project: Project, fake: FakeSes
) -> None:
    """Everybody gets one mail, whole and tagged; whose answer SES kept to itself is unknown and held."""
    contacts = project.contacts(200)
    fake.state.rules = [{"match": "^user7@", "do": "drop", "times": 1}]
    daemon = start()
    daemon.post("/queue", job("news", contacts, "welcome"))
    batch = daemon.wait_for_batch("news", 60, states=("needs_attention",))

    assert batch["counts"] == {"sent": 199, "unknown": 1}
    assert fake.recipients() == Counter(map(address, contacts))
    for mail in fake.mails():
        contact = mail.recipient.removesuffix("@example.com")
        assert mail.sending.tags == {"batch": "news", "contact": contact, "client": "c1"}
        assert mail.sending.message["To"].addresses[0].addr_spec == mail.recipient
    assert fake.problems() == {}
    assert daemon.term() == 0
    assert len(fake.mails()) == 200


@pytest.mark.covers("mail-10")
@pytest.mark.slow
def test_a_used_up_day_is_waited_for(start: Start, project: Project, fake: FakeSes) -> None:
    """Nobody fails; the batch says why it waits and until when; it goes on by itself when SES takes mail."""
    contacts = project.contacts(12)
    fake.state.day = 5
    daemon = start(workers={"processes": 1})
    daemon.post("/queue", job("news", contacts))
    wait_until(lambda: daemon.batch("news")["waiting_for"], 10, daemon.tail)
    waiting = daemon.batch("news")
    fake.spend(-100)
    batch = daemon.wait_for_batch("news", 30)

    assert waiting["counts"] == {"sent": 5, "queued": 7}
    assert "Daily message quota exceeded" in waiting["waiting_for"]
    assert " UTC at the latest" in waiting["waiting_for"]
    assert batch["counts"] == {"sent": 12}
    assert fake.recipients() == Counter(map(address, contacts))
    assert daemon.log.count("The route is blocked") == 1
    assert "attempts" not in json.dumps(
        daemon.get("/batches/news/recipients?state=failed").json["recipients"]
    )


@pytest.mark.slow
def test_a_stop_does_not_wait_for_ses(start: Start, project: Project, fake: FakeSes) -> None:
    """At the drain deadline an answer that has not come is given up: unknown, and the daemon exits clean."""
    contacts = project.contacts(3)
    fake.state.rules = [{"match": "^user2@", "do": "hang", "times": 1}]
    daemon = start(workers={"processes": 1, "drain_timeout": 1})
    daemon.post("/queue", job("news", contacts))
    wait_until(lambda: len(fake.mails()) == 3, 10, daemon.tail)
    assert daemon.term(10) == 0
    again = start(workers={"processes": 1})
    batch = again.wait_for_batch("news", 10, states=("needs_attention",))

    assert batch["counts"] == {"sent": 2, "unknown": 1}
    assert "SIGKILL" not in daemon.log
    assert len(fake.mails()) == 3


@pytest.mark.slow
@pytest.mark.covers("mail-6", "mail-25")
def test_over_the_rate_nobody_loses_an_attempt(start: Start, project: Project, fake: FakeSes) -> None:
    """What SES throttles comes again, counts as no attempt, and is sent once."""
    contacts = project.contacts(60)
    fake.state.rate = 20
    daemon = start(mail={"max_age": 1})
    daemon.post("/queue", job("news", contacts))
    batch = daemon.wait_for_batch("news", 60)

    assert batch["counts"] == {"sent": 60}
    assert fake.recipients() == Counter(map(address, contacts))
    assert set(fake.problems()) == {"TooManyRequestsException"}
    assert fake.most_in_a_second() <= 20


@pytest.mark.slow
def test_reloads_cost_no_memory(start: Start, project: Project, fake: FakeSes) -> None:
    """What an earlier configuration had prepared, some 10 MB with boto3, goes with the next reload."""
    project.contacts(1)
    daemon = start(workers={"processes": 1})
    used = []
    for _ in range(6):
        mark = len(daemon.log)
        daemon.signal(signal.SIGHUP)
        daemon.wait_for_line("Worker started", 30, mark)
        used.append(daemon.supervisor().memory_info().rss / 2**20)

    assert used[-1] - used[2] < 15, used
    assert daemon.term() == 0
