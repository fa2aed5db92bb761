"""What takes hours, days or years, shown with a real server, real workers and a real janitor, in no time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

from mailerd.config import Config
from mailerd.outcome import SPREAD, Kind, Outcome
from mailerd.queue.lease import leave
from mailerd.queue.model import Admission
from rigs.ledger_bench import LedgerBench, contacts, job
from rigs.office import Killed, Man, Office
from rigs.passing_time import PassingTime
from rigs.redis_server import RedisServer

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
# 1, 5, 15 minutes, 1, 2, 4, 8, 16 hours
DELAYS = list(Config().mail.retry_delays)
LATER = Outcome(Kind.DEFERRED, "451 try again later")
# What this machine may need for whatever a test does between two moments.
LEEWAY = 20.0


class Story:
    """An office in which time passes."""

    def __init__(self, client: Any, url: str, folder: Path, queue: dict[str, Any], **mail: Any) -> None:
        self.bench = LedgerBench(client, url, **queue)
        self.bench.clock = self.time = PassingTime(client)
        self.office = Office(self.bench, folder, "outbox", **{"retry_delays": DELAYS, **mail})
        self.post = self.office.post

    def wait(self, seconds: float) -> None:
        """Time passes, and then the janitor does what is due."""
        self.time.let_pass(seconds)
        self.office.janitor._do_what_is_due()

    def wait_for_the_next(self) -> None:
        """Until what was put aside is due."""
        (_, due) = self.bench.client.zrange(self.bench.keys.retry, 0, 0, withscores=True)[0]
        seconds, micros = self.bench.client.time()
        self.wait(due / 1000 - seconds - micros / 1e6 + 0.01)

    def work(self) -> None:
        """A worker comes, works until the queue is empty, and leaves."""
        man = self.office.hire()
        while self.bench.queue():
            man.works()
        leave(self.bench.client, self.bench.keys, man.hands.lease)
        self.bench.assert_conserved()

    def state(self, contact: str = "c0") -> str:
        return self.bench.states()[contact]


@pytest.fixture
def client(valkey: RedisServer) -> Iterator[Any]:
    with valkey.client() as made:
        yield made


@pytest.fixture
def story(client: Any, valkey: RedisServer, tmp_path: Path) -> Story:
    return Story(client, valkey.url, tmp_path, {"lease": 15})


# deferred


def test_whoever_is_deferred_again_and_again_is_tried_after_growing_pauses(story: Story) -> None:
    """After 1, 5, 15 minutes, 1, 2, 4, 8 and 16 hours, less a twentieth at most; then it is sent."""
    story.post.outcomes["c0"] = LATER
    story.bench.push(job(contacts(3)))
    story.work()
    assert sorted(story.post.got) == ["c1", "c2"]

    for attempts, delay in enumerate([*DELAYS, DELAYS[-1]], start=1):
        assert story.bench.rows()["c0"].split(",")[2] == str(attempts)
        story.wait(delay * (1 - SPREAD) - LEEWAY)
        assert (story.bench.queue(), story.state()) == ([], "deferred")
        story.wait(delay * SPREAD + LEEWAY)
        assert len(story.bench.queue()) == 1
        if attempts == len(DELAYS) + 1:
            story.post.outcomes.clear()
        story.work()

    assert story.bench.counts() == {"sent": 3}
    assert sorted(story.post.got) == contacts(3)
    assert story.bench.leftovers() == {}


def test_whoever_a_provider_holds_back_is_left_alone_for_as_long(story: Story) -> None:
    """Whom a refusal tells that we are too many comes back when it says, and not after a minute."""
    story.post.outcomes["c0"] = Outcome(Kind.DEFERRED, "421 4.7.28 unusual rate", wait=10 * MINUTE)
    story.bench.push(job(contacts(2)))
    story.work()
    story.post.outcomes.clear()

    story.wait(10 * MINUTE - LEEWAY)
    assert (story.bench.queue(), story.state()) == ([], "deferred")
    story.wait(LEEWAY)
    story.work()

    assert story.bench.counts() == {"sent": 2}


@pytest.mark.parametrize(
    ("max_age", "attempts"), [(30 * MINUTE, 4), (5 * HOUR, 6), (2 * DAY, 10), (5 * DAY, 14)]
)
@pytest.mark.covers("mail-24")
def test_whoever_is_deferred_for_too_long_is_given_up(
    client: Any, valkey: RedisServer, tmp_path: Path, max_age: float, attempts: int
) -> None:
    """After mail.max_age, by default two days, it has expired, with the reason and the number of attempts."""
    story = Story(client, valkey.url, tmp_path, {}, max_age=max_age)
    begun, tries = story.time.now(), list[float]()
    story.post.outcomes["c0"] = LATER
    story.post.before = lambda _: tries.append(story.time.now() - begun)
    story.bench.push(job(["c0"]))
    story.work()
    while story.state() == "deferred":
        story.wait_for_the_next()
        story.work()

    [row] = story.bench.batches.recipients("shop", "b1")
    assert (row.state, row.reason) == ("expired", f"given up after {attempts} attempts: {LATER.reason}")
    for at, nominal in zip(tries, tried_at(attempts), strict=True):
        assert nominal * (1 - SPREAD) - LEEWAY <= at <= nominal + LEEWAY * attempts
    assert tries[-1] < max_age
    assert "finished" in story.bench.record()
    assert story.bench.leftovers() == {}


def tried_at(attempts: int) -> list[float]:
    delays = [*DELAYS, *DELAYS[-1:] * attempts]
    return [0.0, *accumulate(delays[: attempts - 1])]


def test_an_outage_of_days_is_nobodys_attempt(story: Story) -> None:
    """While the route is out of order nobody's age and nobody's attempts count, however long it takes."""
    story.post.outcomes["c0"] = Outcome(Kind.BLOCKED, "535 login refused")
    story.bench.push(job(["c0"]))
    for _ in range(10):
        man = story.office.hire()
        assert man.works() == "535 login refused"
        story.wait(DAY)
    story.post.outcomes["c0"] = LATER
    story.work()
    assert story.bench.rows()["c0"].split(",")[2] == "1"

    story.post.outcomes.clear()
    story.wait(MINUTE)
    story.work()

    assert story.bench.counts() == {"sent": 1}


# expires_at


@pytest.mark.parametrize("enqueued", [True, False], ids=["enqueued", "foreign"])
def test_a_batch_that_runs_out_of_time_expires_where_it_is(story: Story, enqueued: bool) -> None:
    """Who was sent is sent; who waits in the queue or was deferred is not sent after expires_at, and ends."""
    expires = datetime.fromtimestamp(story.time.now() + 2 * HOUR, UTC)
    one = job(contacts(30), expires_at=expires)
    story.post.outcomes["c0"] = LATER
    if enqueued:
        story.bench.enqueuer().enqueue(one, "request")
    else:
        story.bench.push(one)
    man = story.office.hire()
    for _ in range(3):  # the cut and two slices
        man.works()
    sent = sorted(story.post.got)
    assert len(sent) == 19
    story.wait(2 * HOUR - LEEWAY)
    story.office.hire().works()
    assert len(story.post.got) > 19
    sent = sorted(story.post.got)

    story.wait(LEEWAY)
    story.work()

    assert sorted(story.post.got) == sent
    assert story.bench.counts() == {"sent": len(sent), "expired": 30 - len(sent)}
    expired = [row for row in story.bench.batches.recipients("shop", "b1") if row.state == "expired"]
    assert {row.reason for row in expired} == {"expires_at had passed before it was sent"}
    assert story.bench.leftovers() == {}


# deaths


def dies_over_it(story: Story) -> Man:
    """A worker that opens the next job and dies before it has anybody in hand."""

    def kill(_: object) -> None:
        raise Killed

    man, lookup = story.office.hire(), story.post.lookup
    story.post.lookup = kill  # type: ignore[method-assign,assignment] # what kills whoever works on the job
    with pytest.raises(Killed):
        man.works()
    story.post.lookup = lookup  # type: ignore[method-assign] # see above
    return man


def vanishes_after_three(story: Story) -> None:
    """A worker that settles its first group and then vanishes with its host."""
    man = story.office.hire()
    ledger, mark = man.hands.ledger, man.hands.ledger.mark

    def mark_and_die(*arguments: Any) -> int:
        mark(*arguments)
        raise Killed

    ledger.mark = mark_and_die  # type: ignore[method-assign] # the moment after the script
    with pytest.raises(Killed):
        man.works()


@pytest.mark.covers("queues-22")
def test_a_job_that_kills_is_buried_and_can_be_retried_weeks_later(story: Story) -> None:
    """Three deaths with nobody settled: whoever is open fails, with the reason; a retry opens just those."""
    bench, one, first = story.bench, job(contacts(9)), story.office.hire()
    story.post.open = lambda _: first.stop.raise_()
    bench.push(one)
    first.works()
    story.post.open = lambda _: None
    assert bench.counts() == {"sent": 3, "queued": 6}

    story.office.settle(dies_over_it(story))
    dies_over_it(story)  # with its host: nobody tells of it
    story.wait(bench.config.queue.lease - 1)
    assert bench.queue() == []
    story.wait(5)
    assert bench.queue() == [one.to_json()]
    story.office.settle(dies_over_it(story))
    story.work()

    [letter] = bench.dead.newest(10)
    assert letter.reason == "poison: 3 workers in a row died with it and got nobody settled"
    assert bench.counts() == {"sent": 3, "failed": 6}
    story.wait(29 * DAY)
    assert bench.dead.newest(10)[0].died_at < story.time.now() - 28 * DAY
    assert bench.dead.retry(letter.letter_id)
    assert bench.counts() == {"sent": 3, "queued": 6}
    story.work()

    assert sorted(story.post.got) == contacts(9)
    assert bench.counts() == {"sent": 9}
    assert bench.leftovers() == {}


def test_deaths_weeks_apart_count_unless_somebody_got_on_in_between(story: Story) -> None:
    """It is the job's own count: no time makes it smaller, one settled recipient does."""
    bench, one = story.bench, job(contacts(9))
    bench.push(one)
    for _ in range(2):
        story.office.settle(dies_over_it(story))
        story.wait(7 * DAY)
    vanishes_after_three(story)
    story.wait(7 * DAY)
    story.office.settle(dies_over_it(story))
    story.wait(7 * DAY)
    story.work()

    assert bench.counts() == {"sent": 9}
    assert bench.dead.ids() == []


@pytest.mark.covers("queues-20")
def test_a_vanished_hosts_job_is_back_within_a_lease_and_five_seconds(story: Story) -> None:
    """No sooner than its lease lets it live, and by the janitor of any other host."""
    lease = story.bench.config.queue.lease
    story.bench.push(job(contacts(3)))
    story.office.hire().hands.took()

    story.wait(lease - 1)
    assert story.bench.queue() == []
    story.wait(6)
    assert story.bench.queue() == [job(contacts(3)).to_json()]


@pytest.mark.covers("queues-14")
def test_what_reaches_a_dead_hand_within_a_week_comes_back(story: Story) -> None:
    """Looked at every minute for seven days; by then no command of a dead worker is parked anywhere."""
    dead = story.office.hire()
    dead.hands.die()
    story.wait(5)
    for _ in range(6):
        story.wait(DAY)
        story.bench.client.lpush(story.bench.keys.hand(dead.hands.incarnation), b"late")
        story.wait(MINUTE)
        assert story.bench.queue() == [b"late"]
        story.bench.client.delete(story.bench.keys.queue)
    story.wait(DAY)

    assert story.bench.client.zcard(story.bench.keys.graves) == 0


# retention


def test_a_batch_is_known_for_a_month_and_its_replays_for_a_year(story: Story) -> None:
    """Rows and counters for retention_days after the end; the same request is a replay for replay_days."""
    bench, one = story.bench, job(contacts(100), "spring")
    admissions = [bench.enqueuer().enqueue(one, "first").admission]
    story.work()
    for days in (29.0, 1.1, 369.0):
        story.wait(days * DAY)
        known = len(list(bench.batches.recipients("shop", "spring")))
        admissions.append(bench.enqueuer().enqueue(one, "again").admission)
        assert known == (100 if days == 29.0 else 0)
        assert bench.queue() == []
    assert set(admissions) == {Admission.QUEUED, Admission.REPLAYED}
    assert bench.client.keys("*rows*") == []
    bench.push(one)
    story.work()
    assert "new batch_id" in bench.dead.newest(1)[0].reason
    assert len(story.post.got) == 100

    story.wait(DAY)
    assert bench.enqueuer().enqueue(one, "a year later").admission is Admission.QUEUED


def test_an_open_batch_is_never_too_old(story: Story) -> None:
    """As long as somebody waits it is kept, for years; its month begins with its end."""
    bench = story.bench
    story.post.outcomes["c0"] = Outcome(Kind.BLOCKED, "the server is away")
    bench.enqueuer().enqueue(job(contacts(3)), "request")
    for _ in range(3):
        story.office.hire().works()
        story.wait(400 * DAY)
    story.post.outcomes.clear()
    story.work()

    assert bench.counts() == {"sent": 3}
    story.wait(29 * DAY)
    assert bench.counts() == {"sent": 3}
    story.wait(2 * DAY)
    assert bench.record() == {}
