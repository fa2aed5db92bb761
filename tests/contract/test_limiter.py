"""The limiter's promises, over fakeredis and over a real Valkey; its time is the server's."""

from __future__ import annotations

import logging
import math
import threading
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Any

import fakeredis._helpers
import fakeredis.commands_mixins.server_mixin
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailerd.clock import Stop, SystemClock
from mailerd.config import Limits
from mailerd.outcome import Allowance, Kind, Outcome
from mailerd.queue import limiter as limiters
from mailerd.queue.limit_views import limit_views
from mailerd.queue.limiter import Limiter, Outside
from mailerd.queue.limits import Wait
from rigs.ledger_bench import Hands, LedgerBench

SENT = Outcome(Kind.SENT, "250 taken")
THROTTLED = Outcome(Kind.THROTTLED, "454 Throttling failure")
OVER = Outcome(Kind.OVER_QUOTA, "Daily message quota exceeded")
DAY = 86_400_000
ROUTE = "{email_queue}:limit:route"


@dataclass
class Sender:
    """One worker as far as limits go, and when what it handed over was taken."""

    limiter: Limiter
    hands: Hands
    took: list[float] = field(default_factory=list)

    def take(self, *addresses: str, client: str = "shop") -> list[Wait | None]:
        return self.limiter.take(client, addresses)

    def send(self, count: int, outcome: Outcome = SENT, client: str = "shop") -> int:
        """Ask for so many, and hand over those that may go; how many those are."""
        waits = self.take(*["a@b.test"] * count, client=client)
        for index, wait in enumerate(waits):
            if wait is None:
                self.limiter.answered(index, outcome)
                self.took.append(SystemClock().monotonic())
        return waits.count(None)


class Fleet:
    """Workers of one queue with the same limits; an account, where there is one, counts who asks it."""

    def __init__(self, bench: LedgerBench, account: Allowance | None = None, **limits: Any) -> None:
        self.bench = bench
        self.limits = Limits.model_validate(limits)
        self.account = account
        self.asked = 0

    def sender(self, *, account: bool = False) -> Sender:
        hands = self.bench.hands()
        outside = Outside(self._ask if account else None, lambda address: address.partition("@")[2])
        keys, patience = self.bench.keys, self.bench.patience()
        limiter = Limiter(
            self.bench.client, keys, hands.lease, self.limits, outside, patience, self.bench.clock
        )
        return Sender(limiter, hands)

    def _ask(self) -> Allowance | None:
        self.asked += 1
        return self.account

    def pass_time(self, ms: int, limit: str = "route") -> None:
        """As if all that is kept of this limit had happened so much earlier."""
        client, key = self.bench.client, self.bench.keys.limit(limit)
        for name, score in client.zrange(f"{key}:rest", 0, -1, withscores=True):
            client.zadd(f"{key}:rest", {name: score - ms})
        for name in ("at", "paused"):
            if client.hexists(key, name):
                client.hincrby(key, name, -ms)
        days = {int(slot) - ms // 900_000: count for slot, count in client.hgetall(f"{key}:day").items()}
        client.delete(f"{key}:day")
        if days:
            client.hset(f"{key}:day", mapping=days)
        client.hdel(key, "pruned")


def test_without_limits_nothing_is_asked(bench: LedgerBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unlimited installation pays no round trip for limits that do not concern it."""
    sender = Fleet(bench, clients=[{"client_id": "other", "per_second": 1}]).sender()
    monkeypatch.setattr(limiters, "run", lambda *_: pytest.fail("Redis was asked"))

    assert [sender.send(50) for _ in range(3)] == [50, 50, 50]
    sender.limiter.settle()


@pytest.mark.covers("mail-7")
def test_a_permit_is_free_a_second_after_its_answer(bench: LedgerBench) -> None:
    """However workers share them there are as many as the rate; one in hand counts, at rest or not."""
    fleet = Fleet(bench, per_second=5)
    one, other = fleet.sender(), fleet.sender()

    assert one.send(3) == 3
    assert other.send(4) == 2
    assert one.send(1) == 0
    other.limiter.settle()
    (wait,) = one.take("a@b.test")
    assert wait is not None
    assert 0.8 < wait.seconds <= 1.01
    assert wait.reason.startswith("the route gets 5 mails a second; the next at ")
    fleet.pass_time(1100)
    assert one.send(9) == 5


@pytest.mark.covers("mail-8")
def test_a_permit_rests_from_its_answer_on(bench: LedgerBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """However late the worker tells of it: what it does between two groups costs the fleet nothing."""
    sender = Fleet(bench, per_second=5).sender()
    assert sender.send(5) == 5
    now = SystemClock().monotonic() + 0.9
    monkeypatch.setattr(SystemClock, "monotonic", lambda _: now)
    (wait,) = sender.take("a@b.test")

    assert wait is not None
    assert wait.seconds < 0.2


def test_who_has_not_been_handed_over_gives_its_permit_back_at_once(bench: LedgerBench) -> None:
    """Permits of the settled, the busy and the withheld do not rest."""
    sender = Fleet(bench, per_second=5, per_day=100).sender()

    sender.take(*["a@b.test"] * 5)
    sender.limiter.answered(0, SENT)
    sender.limiter.answered(1, Outcome(Kind.WITHHELD, "told to stop"))
    assert sender.send(9) == 4


@pytest.mark.parametrize(("rate", "most", "window"), [(0.5, 1, 2.0), (2.5, 3, 1.2), (14, 14, 1.0)])
def test_fractions_are_permits_that_rest_longer(
    bench: LedgerBench, rate: float, most: int, window: float
) -> None:
    """No second sees more than the rate, rounded up, and in the long run it is kept."""
    sender = Fleet(bench, per_second=rate).sender()

    assert sender.send(99) == most
    sender.limiter.settle()
    (wait,) = sender.take("a@b.test")
    assert wait is not None
    assert window - 0.2 < wait.seconds <= window + 0.01


def test_a_limited_client_or_domain_holds_up_nobody_else(bench: LedgerBench) -> None:
    """In one group those under a limit that is used up wait, each for its own, and the others go."""
    clients = [{"client_id": "shop", "per_second": 3}]
    domains = [{"domain": "slow.test", "per_second": 1}]
    sender = Fleet(bench, clients=clients, domains=domains).sender()

    waits = sender.take("a@slow.test", "b@slow.test", "c@quick.test", "d@quick.test", "e@quick.test")
    limits = [wait and wait.limit for wait in waits]
    assert limits == [None, "domain:slow.test", None, None, "client:shop"]
    assert sender.take("a@slow.test", client="club")[0] is None


def test_the_permits_of_the_dead_come_back_a_second_later(bench: LedgerBench) -> None:
    """Those in hand count as long as the lease lives; then they rest as if their mails went just now."""
    fleet = Fleet(bench, per_second=4)
    dead, other = fleet.sender(), fleet.sender()
    assert dead.send(4) == 4

    fleet.pass_time(60_000)
    assert other.send(1) == 0
    dead.hands.die()
    assert other.send(1) == 0
    fleet.pass_time(1100)
    assert other.send(9) == 4


def test_a_lost_answer_takes_no_permit_twice(bench: LedgerBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The script repeated after its answer was lost takes the same permits, and books the last ones once."""
    sender = Fleet(bench, per_second=10, per_day=100).sender()
    assert sender.send(4) == 4
    run = limiters.run

    def twice(*call: Any) -> Any:
        run(*call)
        return run(*call)

    monkeypatch.setattr(limiters, "run", twice)
    assert sender.send(9) == 6
    sender.limiter.settle()
    assert bench.client.zcard(f"{ROUTE}:rest") == 10
    assert bench.client.hget(ROUTE, "total") == b"10"


@pytest.mark.covers("mail-25")
def test_throttling_halves_the_rate_once_a_second_and_it_grows_back(bench: LedgerBench) -> None:
    """All refusals of one moment are one; growth is a twentieth of the granted rate each second."""
    fleet = Fleet(bench, per_second=16)
    one, other = fleet.sender(), fleet.sender()
    for sender in (one, other):
        sender.send(4, THROTTLED)
        sender.limiter.settle()

    fleet.pass_time(1200)
    assert one.send(99) in (9, 10)
    one.limiter.settle()
    fleet.pass_time(5000)
    assert one.send(99) in (13, 14)
    one.limiter.settle()
    fleet.pass_time(5000)
    assert one.send(99) == 16


def test_a_route_without_a_limit_has_one_once_it_throttles(bench: LedgerBench) -> None:
    """Half of what the fleet had sent in a second, growing; forgotten when ten minutes went well."""
    fleet = Fleet(bench)
    sender = fleet.sender()
    assert sender.send(40) == 40
    sender.send(1, THROTTLED)
    assert sender.send(99) == 0
    fleet.pass_time(1200)

    assert sender.send(99) in range(20, 26)
    sender.limiter.settle()
    fleet.pass_time(601_000)
    assert sender.send(99) == 99
    assert sender.limiter._route_open


@pytest.mark.covers("mail-10")
def test_a_day_is_24_hours_back_from_now(bench: LedgerBench, caplog: pytest.LogCaptureFixture) -> None:
    """What is used up comes back when it is a day old, in quarters of an hour; told once, and its end."""
    caplog.set_level(logging.WARNING)
    fleet = Fleet(bench, per_day=10)
    sender, other = fleet.sender(), fleet.sender()
    assert sender.send(6) == 6
    sender.limiter.settle()
    fleet.pass_time(DAY // 2)
    assert other.send(9) == 4
    other.limiter.settle()

    (wait,) = sender.take("a@b.test")
    assert wait is not None
    assert 11.7 * 3600 < wait.seconds <= 12.26 * 3600
    assert wait.reason.startswith("the 10 mails that the route gets in 24 hours are used up; the next by 20")
    fleet.pass_time(DAY // 2 + 1_000_000)
    assert sender.send(99) == 6
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == "Mails wait: the 10 mails that the route gets in 24 hours are used up"
    assert len(said) <= 3


def test_a_mail_counts_for_the_day_from_when_it_has_gone(bench: LedgerBench) -> None:
    """A hand-over may take minutes, across the edge of a quarter of an hour: it counts until it is back."""
    fleet = Fleet(bench, per_day=10)
    slow, other = fleet.sender(), fleet.sender()
    assert slow.send(6) == 6
    fleet.pass_time(DAY + 1_000_000)
    slow.limiter.settle()

    assert other.send(99) == 4


def test_what_was_refused_is_not_counted_for_the_day(bench: LedgerBench) -> None:
    """Only what was taken, or may have been, uses up a day."""
    fleet = Fleet(bench, per_day=10)
    sender = fleet.sender()
    for kind in (Kind.DEFERRED, Kind.FAILED, Kind.BLOCKED, Kind.SENT, Kind.UNKNOWN):
        assert sender.send(2, Outcome(kind, "as it says")) == 2

    assert sender.send(99) == 6


@pytest.mark.covers("mail-10")
def test_a_route_whose_day_is_over_is_left_alone(
    bench: LedgerBench, caplog: pytest.LogCaptureFixture
) -> None:
    """Every worker waits, in the provider's words, until the next try; one alert, and a word at its end."""
    caplog.set_level(logging.WARNING)
    fleet = Fleet(bench)
    one, other = fleet.sender(), fleet.sender()
    for sender in (one, other):
        sender.send(1, OVER)
        (wait,) = sender.take("a@b.test")
        assert wait is not None
        assert 590 < wait.seconds <= 600
        assert wait.reason.startswith("Daily message quota exceeded; the next try by ")
    fleet.pass_time(601_000)
    assert one.send(3) == 3

    said = [record.getMessage() for record in caplog.records]
    assert said == ["Mails wait: Daily message quota exceeded", "Mails go again for the route"]


@pytest.mark.covers("mail-7", "mail-10")
def test_an_account_says_what_it_grants_to_all(bench: LedgerBench) -> None:
    """One worker asks in a minute; nobody goes before that; what others have sent counts for the day."""
    fleet = Fleet(bench, Allowance(14, 20, sent=12))
    senders = [fleet.sender(account=True) for _ in range(4)]

    assert [sender.send(3) for sender in senders] == [3, 3, 2, 0]
    assert fleet.asked == 1
    fleet.account = Allowance(14, 20, sent=2)
    bench.client.delete(bench.keys.account)
    assert senders[3].send(1) == 1
    assert senders[3].send(99) == 5
    assert fleet.asked == 2


def test_less_than_the_account_grants_may_be_configured(bench: LedgerBench) -> None:
    """The smaller one holds; an account that says nothing, or any number, leaves what is configured."""
    assert Fleet(bench, Allowance(14, 0), per_second=5).sender(account=True).send(99) == 5
    bench.client.flushall()
    assert Fleet(bench, Allowance(14, 3), per_second=50).sender(account=True).send(99) == 3
    bench.client.flushall()
    assert Fleet(bench, None, per_second=6).sender(account=True).send(99) == 6
    bench.client.flushall()
    assert Fleet(bench, None).sender(account=True).send(99) == 99


def test_how_limits_stand_is_told(bench: LedgerBench) -> None:
    """What an operator sees: the rate, what of it and of the day is used; nothing of what limits nothing."""
    fleet = Fleet(bench, per_second=5, clients=[{"client_id": "shop", "per_day": 2000}])
    sender = fleet.sender()
    assert sender.send(3) == 3

    views = [str(view) for view in limit_views(bench.client, bench.keys, fleet.limits)]
    assert views == ["the route: 5 mails a second, 3 in use", "client shop: 3 of 2,000 mails in 24 hours"]
    assert limit_views(bench.client, bench.keys, Limits()) == []


@pytest.mark.slow
@pytest.mark.covers("mail-8")
def test_the_limiter_keeps_no_more_back_than_it_must(real_bench: LedgerBench) -> None:
    """Four workers whose server answers in 5 ms get at least 190 of the 200 mails a second that they may."""
    fleet, over = Fleet(real_bench, per_second=200), Stop()
    senders = [fleet.sender() for _ in range(4)]

    def work(sender: Sender) -> None:
        while not over:
            waits = sender.take(*["a@b.test"] * 4)
            over.wait(0.005)
            now = SystemClock().monotonic()
            for index in range(waits.count(None)):
                sender.limiter.answered(index, SENT)
                sender.took.append(now)
            if not waits.count(None) and waits[0] is not None:
                over.wait(waits[0].seconds)

    threads = [threading.Thread(target=work, args=(sender,)) for sender in senders]
    for thread in threads:
        thread.start()
    over.wait(6)
    over.raise_()
    for thread in threads:
        thread.join()
    took = sorted(at for sender in senders for at in sender.took)

    assert sum(at > took[0] + 1 for at in took) / (took[-1] - took[0] - 1) >= 190


# --- over simulated time ----------------------------------------------------------------------------


class Simulation:
    """Time that passes when told to, for Redis and for its clients; fakeredis alone can do that."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at = 1_800_000_000.0
        for module in (fakeredis._helpers, fakeredis.commands_mixins.server_mixin):
            monkeypatch.setattr(module, "time", self)

    def time(self) -> float:
        return self.at

    now = monotonic = time


Turn = tuple[int, int, float, str]
TURNS = st.tuples(
    st.integers(0, 2), st.integers(1, 6), st.floats(0.001, 0.7), st.sampled_from(["early", "late", "dies"])
)


@pytest.mark.covers("mail-7")
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from([0.7, 3, 4.5]), st.lists(TURNS, min_size=20, max_size=40))
def test_no_second_ever_sees_more_than_the_rate(
    monkeypatch: pytest.MonkeyPatch, rate: float, turns: list[Turn]
) -> None:
    """Whoever asks for how many, is slow, stands still or dies: no sliding second at the server has more."""
    simulation = Simulation(monkeypatch)
    bench = LedgerBench(fakeredis.FakeRedis())
    bench.clock = simulation
    fleet = Fleet(bench, per_second=rate)
    senders, in_hand, seen = [fleet.sender() for _ in range(3)], [(0, "")] * 3, []
    for number, count, seconds, how in turns:
        simulation.at += seconds
        granted, when = in_hand[number]
        seen += [simulation.at] * granted if when == "late" else []
        if how == "dies":
            senders[number].hands.die()
            senders[number] = fleet.sender()
        else:
            for index in range(granted):
                senders[number].limiter.answered(index, SENT)
        granted = senders[number].take(*["a@b.test"] * count).count(None)
        in_hand[number] = (granted, how)
        seen += [simulation.at] * granted if how != "late" else []
    seen.sort()

    assert max(bisect_left(seen, at + 1 - 1e-6) - n for n, at in enumerate(seen)) <= math.ceil(rate)
