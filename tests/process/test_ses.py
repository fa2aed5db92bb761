"""Batches through the real daemon to Amazon SES, or to what stands in for it."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest

from rigs.daemon import Daemon, Sections
from rigs.fake_ses import ENVIRONMENT, TOO_MANY, FakeSes
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


@pytest.mark.covers("mail-16")
@pytest.mark.slow
def test_errors_within_ses_make_few_unknown(start: Start, project: Project, fake: FakeSes) -> None:
    """500, 502 and 504 leave open who has the mail: a few, then one at a time with growing pauses; no end."""
    contacts = project.contacts(300)
    failing = {"[0-3]@": "status 500", "[4-6]@": "status 502", "[7-9]@": "status 504"}
    fake.state.rules = [{"match": match, "do": do, "times": 1000} for match, do in failing.items()]
    daemon = start(workers={"processes": 1, "connections": 4})
    daemon.post("/queue", job("news", contacts))
    wait_until(lambda: len(fake.mails()) >= 7, 30, daemon.tail)
    waiting = daemon.wait_for_reason("news")
    taken = [mail.time for mail in fake.mails()]
    fake.state.rules = []
    batch = daemon.wait_for_batch("news", 40, states=("needs_attention",))

    assert waiting["waiting_for"].startswith("no answer to ")
    pauses = [after - before for before, after in pairwise(taken[-4:])]
    assert 0.9 < pauses[0] < pauses[1] < pauses[2], pauses
    assert 7 <= batch["counts"]["unknown"] <= 9
    assert batch["counts"]["sent"] == 300 - batch["counts"]["unknown"]
    assert fake.recipients() == Counter(map(address, contacts))
    assert daemon.log.count("The route is blocked: no answer to ") == 1


@pytest.mark.covers("mail-10")
@pytest.mark.slow
def test_a_used_up_day_is_waited_for(
    start: Start, project: Project, fake: FakeSes, valkey: RedisServer
) -> None:
    """Nobody fails; the batch says why it waits and until when; it goes on by itself when SES takes mail."""
    contacts = project.contacts(12)
    fake.state.day = 9
    fake.spend(4)
    daemon = start(workers={"processes": 2})
    daemon.post("/queue", job("news", contacts))
    waiting = daemon.wait_for_reason("news")
    fake.state.day = 50
    valkey.client().delete("{email_queue}:account")  # a minute has passed
    batch = daemon.wait_for_batch("news", 30)

    assert waiting["counts"] == {"sent": 5, "queued": 7}
    assert waiting["waiting_for"].startswith(
        "the 9 mails that the route gets in 24 hours are used up; the next"
    )
    assert waiting["waiting_for"].endswith(" UTC at the latest")
    assert batch["counts"] == {"sent": 12}
    assert fake.recipients() == Counter(map(address, contacts))
    assert fake.problems() == {}
    assert daemon.log.count("Mails wait: ") == daemon.log.count("Mails go again for the route") == 1
    assert "The route is blocked" not in daemon.log


@pytest.mark.covers("mail-10")
@pytest.mark.slow
def test_a_day_that_ends_before_the_account_says_so_is_waited_for(
    start: Start, project: Project, fake: FakeSes, valkey: RedisServer
) -> None:
    """SES's word holds for all workers, until its account has something left again."""
    contacts = project.contacts(6)
    fake.state.rules = [{"do": f"TooManyRequestsException: {TOO_MANY}", "times": 1}]
    daemon = start(workers={"processes": 1, "connections": 1})
    daemon.post("/queue", job("news", contacts))
    waiting = daemon.wait_for_reason("news")
    fake.state.day = 50_000
    valkey.client().delete("{email_queue}:account")
    batch = daemon.wait_for_batch("news", 30)

    assert waiting["counts"] == {"queued": 6}
    assert TOO_MANY[:-1] in waiting["waiting_for"]
    assert "; the next try by " in waiting["waiting_for"]
    assert batch["counts"] == {"sent": 6}
    assert daemon.log.count("Mails wait: ") == 1


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
    """An account that grants more than it takes: what it throttles is sent later, once, and is no attempt."""
    contacts = project.contacts(100)
    fake.state.rate, fake.state.granted = 20, 100
    daemon = start(mail={"max_age": 1})
    daemon.post("/queue", job("news", contacts))
    batch = daemon.wait_for_batch("news", 60)

    assert batch["counts"] == {"sent": 100}
    assert fake.recipients() == Counter(map(address, contacts))
    assert set(fake.problems()) == {"TooManyRequestsException"}
    assert fake.most_in_a_second() <= 20
    assert "The route is blocked" not in daemon.log


@pytest.mark.slow
@pytest.mark.covers("mail-7")
def test_a_fleet_never_sends_more_than_the_account_grants(
    start: Start, project: Project, fake: FakeSes
) -> None:
    """Two daemons, four workers, one stopped for a while and one killed: never too many in any second."""
    contacts = project.contacts(140)
    fake.state.rate = 14
    first, second = start(), start()
    first.post("/queue", job("news", contacts))
    wait_until(lambda: len(fake.mails()) >= 30, 20, first.tail)
    stopped = second.workers()[0]
    stopped.suspend()
    first.workers()[0].kill()
    wait_until(lambda: len(fake.mails()) >= 60, 20, first.tail)
    stopped.resume()
    batch = first.wait_for_batch("news", 60, states=("done", "needs_attention"))

    assert set(batch["counts"]) <= {"sent", "unknown"}
    assert sum(batch["counts"].values()) == 140
    assert max(fake.recipients().values()) == 1
    assert fake.most_in_a_second() <= 14
    assert fake.problems() == {}
    assert sum(call.operation == "GetAccount" for call in fake.calls) == 1


@pytest.mark.slow
@pytest.mark.covers("mail-8")
def test_a_fleet_sends_as_fast_as_the_account_grants(start: Start, project: Project, fake: FakeSes) -> None:
    """Two daemons, four workers: at least 190 of the 200 mails a second that they may, and never one more."""
    contacts = project.contacts(1400)
    fake.state.rate = 200
    first, _ = start(), start()
    for number in range(4):
        first.post("/queue", job(f"news{number}", contacts[number::4]))
    for number in range(4):
        assert first.wait_for_batch(f"news{number}", 60)["counts"] == {"sent": 350}

    assert fake.most_in_a_second() <= 200
    assert fake.problems() == {}
    assert fake.best_rate(800) >= 190


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
