"""A Redis that has forgotten it is told who has been handed over; no final state falls back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from mailerd.board import Answered, Board, Group, Slot
from mailerd.clock import Stop, SystemClock
from mailerd.errors import RedisReplaced
from mailerd.outcome import Kind, Outcome
from mailerd.queue import eras
from mailerd.queue.claims import Claims
from mailerd.queue.connection import connect, hang_up
from mailerd.queue.eras import arrive, era_of, greeting, replay
from mailerd.queue.lease import register
from mailerd.queue.payloads import Slice
from mailerd.queue.scripts import run
from mailerd.work.failover import Failover
from rigs.ledger_bench import Hands, LedgerBench, booking, contacts, job
from rigs.redis_server import RedisServer

LONG_AGO = 0.0
NOW = 4e9  # after everything that the server has noted


def answered(hands: Hands, *outcomes: tuple[str, Kind | None], at: float = NOW) -> list[Answered]:
    return [Answered(at, hands.incarnation, "shop", "b1", outcomes)]


@pytest.mark.covers("queues-42")
@pytest.mark.parametrize("size", [3, 100], ids=["inline", "buckets"])
def test_whoever_is_queued_again_is_as_the_ring_says(bench: LedgerBench, size: int) -> None:
    """Sent, unknown and in hand, each counted once however often it is told."""
    hands = bench.hands()
    hands.admit(job(contacts(size)))
    told = answered(hands, ("c0", Kind.SENT), ("c1", Kind.UNKNOWN), ("c2", None))

    assert replay(bench.client, bench.keys, told) == 3
    assert replay(bench.client, bench.keys, told) == 0
    states = bench.states()
    assert (states["c0"], states["c1"], states["c2"]) == ("sent", "unknown", "sending")
    assert bench.rows()["c2"].split(",")[1] == hands.incarnation
    bench.assert_conserved()


@pytest.mark.parametrize("kind", [Kind.SENT, Kind.FAILED, Kind.INVALID, Kind.EXPIRED, Kind.SUPPRESSED])
@pytest.mark.parametrize("told", [Kind.SENT, Kind.UNKNOWN, None])
def test_a_final_state_stays(bench: LedgerBench, kind: Kind, told: Kind | None) -> None:
    """Whatever a ring tells later."""
    hands = bench.hands()
    batch = hands.admit(job(["a"]))
    hands.claim(batch, "a")
    hands.mark(batch, booking("a", kind))
    before = bench.rows()

    assert replay(bench.client, bench.keys, answered(hands, ("a", told))) == 0
    assert bench.rows() == before
    bench.assert_conserved()


def test_what_was_said_later_than_the_ring_holds(bench: LedgerBench) -> None:
    """An unknown recipient whom an operator had sent again is not unknown again by an old ring."""
    hands = bench.hands()
    batch = hands.admit(job(["a", "b"]))
    client = bench.client
    client.hincrby(bench.keys.batch("shop/b1"), "created", -1_000_000)  # a thousand seconds ago
    hands.claim(batch, "a", "b")
    hands.mark(batch, booking("a", Kind.WITHHELD), booking("b", Kind.WITHHELD))

    assert replay(client, bench.keys, answered(hands, ("a", Kind.UNKNOWN), ("b", None), at=LONG_AGO)) == 0
    assert bench.states() == {"a": "queued", "b": "queued"}
    assert replay(client, bench.keys, answered(hands, ("a", Kind.SENT), at=LONG_AGO)) == 1


@pytest.mark.parametrize("enqueued", [False, True], ids=["foreign", "enqueued"])
@pytest.mark.parametrize(("size", "cut"), [(5, 0), (100, 10)], ids=["short", "cut"])
def test_whoever_is_admitted_again_is_as_the_ring_said(
    bench: LedgerBench, enqueued: bool, size: int, cut: int
) -> None:
    """Where even the rows are lost, the job that comes back does not open those who have the mail."""
    hands, of = bench.hands(), job(contacts(size))
    if enqueued:
        bench.enqueuer().enqueue(of, "r1")
    told = answered(hands, ("c0", None), ("c0", Kind.SENT), ("c1", Kind.UNKNOWN), ("c2", None))
    replay(bench.client, bench.keys, told)

    batch = hands.admit(of, cut)
    states = bench.states()
    assert (states["c0"], states["c1"], states["c2"], states["c3"]) == (
        "sent",
        "unknown",
        "sending",
        "queued",
    )
    assert bench.record()["recipients"] == str(size)
    bench.assert_conserved()
    assert not bench.client.exists(bench.keys.told("shop/b1"))

    slices = b"\n".join(bench.client.lrange(bench.keys.side("shop/b1"), 0, -1)).split(b"\n")
    assert (b"c2" in slices, b"c3" in slices, b"c0" in slices) == (cut > 0, cut > 0, False)
    another = bench.hands()
    assert another.claim(batch, "c0", "c1", "c2", "c3") == ["settled", "unknown", "busy", "claimed"]


def test_a_claim_that_came_to_nothing_is_released_for_its_own_incarnation_only(bench: LedgerBench) -> None:
    """Also where the batch was cancelled; whoever is queued, sent, unknown or another's stays."""
    hands, other = bench.hands(), bench.hands()
    batch = hands.admit(job(contacts(5)))
    hands.claim(batch, "c0", "c2", "c3")
    other.claim(batch, "c1")
    hands.mark(batch, booking("c2", Kind.SENT), booking("c3", Kind.UNKNOWN))
    nobody = [(contact, Kind.WITHHELD) for contact in (*contacts(5), "stranger")]

    assert replay(bench.client, bench.keys, answered(hands, *nobody)) == 1
    assert bench.states() == {"c0": "queued", "c1": "sending", "c2": "sent", "c3": "unknown", "c4": "queued"}
    assert not bench.client.exists(bench.keys.told("shop/b1"))
    bench.assert_conserved()
    bench.client.hset(bench.keys.batch("shop/b1"), "halt", "cancelled")
    assert replay(bench.client, bench.keys, answered(other, *nobody)) == 1
    assert bench.states()["c1"] == "cancelled"
    bench.assert_conserved()


@pytest.mark.parametrize("size", [1, 100], ids=["inline", "buckets"])
@pytest.mark.parametrize("halt", ["", "cancelled"])
def test_whoever_a_life_of_redis_took_for_unknown_is_queued_again_on_its_own_worker_s_word(
    bench: LedgerBench, size: int, halt: str
) -> None:
    """
    Its refusal was booked at the old master only, and in the new one others took it over meanwhile.

    The word of another incarnation is none; a small job brings it, since the job that had it may be over.
    """
    hands, other = bench.hands(), bench.hands()
    batch = hands.admit(job(contacts(size)))
    hands.claim(batch, "c0")
    hands.die()
    assert other.claim(batch, "c0") == ["unknown"]
    if halt:
        bench.client.hset(bench.keys.batch("shop/b1"), "halt", halt)

    assert replay(bench.client, bench.keys, answered(other, ("c0", Kind.WITHHELD))) == 0
    assert bench.states()["c0"] == "unknown"
    for news in (1, 0):
        assert replay(bench.client, bench.keys, answered(hands, ("c0", Kind.WITHHELD))) == news
    assert bench.states()["c0"] == (halt or "queued")
    small = [] if halt else [Slice("shop", "b1", ("c0",)).to_bytes()]
    assert bench.put_aside() == small
    bench.assert_conserved()


@pytest.mark.covers("queues-42")
def test_one_word_of_an_open_end_outweighs_all_others_of_that_worker(bench: LedgerBench) -> None:
    """
    A worker that was refused, tried again and got no answer does not open whom it may have mailed.

    However long ago it was, and whichever of the two hand-overs the new life of Redis knows.
    """
    hands, other = bench.hands(), bench.hands()
    batch = hands.admit(job(contacts(3)))
    hands.claim(batch, "c0", "c1")
    hands.die()
    assert other.claim(batch, "c1") == ["unknown"]
    told = [
        *answered(hands, ("c0", Kind.WITHHELD), ("c1", Kind.WITHHELD), at=LONG_AGO),
        *answered(hands, ("c0", Kind.UNKNOWN), ("c1", Kind.UNKNOWN), at=LONG_AGO),
        *answered(hands, ("c0", Kind.WITHHELD), ("c1", Kind.WITHHELD), at=LONG_AGO),
    ]

    assert replay(bench.client, bench.keys, told) == 2
    assert replay(bench.client, bench.keys, told[-1:]) == 0
    assert bench.states() == {"c0": "unknown", "c1": "unknown", "c2": "queued"}
    assert bench.put_aside() == []
    bench.assert_conserved()


@pytest.mark.covers("queues-42")
def test_nobody_with_a_mail_is_open_while_the_ring_is_told(
    bench: LedgerBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever was refused first and mailed then is not free between the scripts that say so."""
    hands, other = bench.hands(), bench.hands()
    batch = hands.admit(job(["a"]))
    hands.claim(batch, "a")
    told = [*answered(hands, ("a", Kind.WITHHELD)), *answered(hands, ("a", Kind.SENT))]
    answers = []

    def tell_and_claim(*script: Any) -> Any:
        news = run(*script)
        answers.extend(other.claim(batch, "a"))
        return news

    monkeypatch.setattr(eras, "ROWS_IN_A_SCRIPT", 1)
    monkeypatch.setattr(eras, "run", tell_and_claim)
    replay(bench.client, bench.keys, told)

    assert answers == ["settled"]
    assert bench.states() == {"a": "sent"}


@pytest.mark.covers("queues-41")
def test_a_worker_that_an_old_master_registered_is_not_taken_for_one_of_the_new_master(
    bench: LedgerBench,
) -> None:
    """Each gives numbers without knowing of the other: neither keeps the lease of the other one's worker."""
    of_the_old = bench.hands()
    bench.client.flushall()
    of_the_new = bench.hands()

    assert of_the_new.lease.renew(bench.client, bench.keys)
    assert not of_the_old.lease.renew(bench.client, bench.keys)


def test_what_one_worker_takes_back_another_may_have_mailed_since(bench: LedgerBench) -> None:
    """Whoever is queued again by an old word waits since then, not since it was heard."""
    hands, other = bench.hands(), bench.hands()
    batch = hands.admit(job(["a"]))
    hands.claim(batch, "a")
    bench.client.hincrby(bench.keys.batch("shop/b1"), "created", -1_000_000)  # a thousand seconds ago
    now = bench.now()

    assert replay(bench.client, bench.keys, answered(hands, ("a", Kind.WITHHELD), at=now - 300)) == 1
    assert replay(bench.client, bench.keys, answered(other, ("a", Kind.UNKNOWN), at=now - 200)) == 1
    assert bench.states() == {"a": "unknown"}
    bench.assert_conserved()


def test_whoever_was_in_hand_and_got_nothing_is_free_when_its_job_is_admitted_again(
    bench: LedgerBench,
) -> None:
    """What was remembered of a hand-over that Redis has no row for is over with it."""
    hands, other = bench.hands(), bench.hands()
    for kind in (None, Kind.WITHHELD):
        replay(bench.client, bench.keys, answered(hands, ("a", kind)))
    replay(bench.client, bench.keys, answered(hands, ("b", None)))

    batch = other.admit(job(["a", "b"]))
    assert other.claim(batch, "a", "b") == ["claimed", "busy"]


@pytest.mark.parametrize("arrived", ["told", "alerted", "in another era"])
@pytest.mark.parametrize("known", [True, False], ids=["row", "no row"])
def test_that_somebody_is_in_hand_is_not_believed_once_its_worker_has_told_all(
    bench: LedgerBench, arrived: str, known: bool
) -> None:
    """By then it may have booked what came of it; that only its keeper has met this life is not enough."""
    hands, other = bench.hands(), bench.hands()
    if known:
        other.admit(job(["a"]))
    arrive(
        bench.client,
        bench.keys,
        hands.incarnation,
        "e0" if arrived == "in another era" else "e1",
        told=arrived != "alerted",
    )

    news = replay(bench.client, bench.keys, answered(hands, ("a", None)), "e1")
    batch = other.admit(job(["a"]))

    assert news == (arrived != "told")
    assert other.claim(batch, "a") == ["claimed" if arrived == "told" else "busy"]
    bench.assert_conserved()


@pytest.mark.parametrize("end", ["ack", "bury"])
def test_a_claim_of_another_life_of_redis_is_not_over(bench: LedgerBench, end: str) -> None:
    """What was booked during it may be forgotten: the job is worked on once more."""
    hands = bench.hands()
    eras = iter(["e1", "e2"])
    claims = Claims(bench.client, bench.keys, hands.lease, bench.patience(), lambda: next(eras))
    for _ in range(2):
        bench.push(job(["a"]))
        claim = replace(hands.took(), era="e1")
        claims.ack(claim) if end == "ack" else claims.bury(claim, "as the test says")

    assert bench.queue() == [job(["a"]).to_json()]
    assert bench.hand(hands) == []
    assert len(bench.client.zrange(bench.keys.dead, 0, -1)) == (end == "bury")


class Met:
    """Two workers of a host, the second of which meets this life of Redis; both come from another one."""

    def __init__(self, valkey: RedisServer, folder: Path) -> None:
        self.client = valkey.client()
        self.bench = LedgerBench(self.client, valkey.url)
        self.era = era_of(self.client)
        self.hands, self.newcomer = self.bench.hands(), self.bench.hands()
        self.batch = self.hands.admit(job(["a"]))
        self.board = Board.create(folder, 2, 1)
        self.one, self.other = self.board.slots
        for slot, hands in ((self.one, self.hands), (self.other, self.newcomer)):
            slot.open(hands.incarnation, 1, 0.0)
            slot.era = "another life"

    def in_hand(self, slot: Slot, hands: Hands) -> None:
        slot.begin_group(Group("shop", "b1", ["a"]))
        hands.claim(self.batch, "a")
        slot.hand_over(0)

    def on_ring(self, slot: Slot, hands: Hands, kind: Kind) -> None:
        slot.ring.add(*answered(hands, ("a", kind), at=self.bench.now()))

    def meets(self, *, keeper: bool = False) -> dict[str, str]:
        clock = SystemClock()
        failover = Failover(
            self.bench.config,
            self.other,
            clock,
            Stop(),
            lambda _: None,
            noted=not keeper,
            hang_up=lambda: None,
        )
        with pytest.raises(RedisReplaced):
            failover.meet(self.era)
        self.bench.assert_conserved()
        return self.bench.states()


@pytest.fixture
def met(valkey: RedisServer, tmp_path: Path) -> Iterator[Met]:
    """The two, with one recipient."""
    made = Met(valkey, tmp_path)
    yield made
    made.client.close()


@pytest.mark.parametrize("known", [True, False])
def test_a_hand_over_is_told_by_those_who_have_not_met_the_era_only(met: Met, known: bool) -> None:
    """What a worker shows in hand and has just booked is not taken for in hand again by a newcomer's word."""
    met.one.era = met.era if known else "another life"
    met.in_hand(met.one, met.hands)
    met.hands.mark(met.batch, booking("a", Kind.DEFERRED))

    assert met.meets() == {"a": "deferred" if known else "sending"}


def test_who_meets_an_era_while_its_hand_is_read_is_not_told_of(
    met: Met, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it shows then may be booked already, by an incarnation that never was in the era before."""
    met.in_hand(met.one, met.hands)
    met.hands.mark(met.batch, booking("a", Kind.DEFERRED))
    recall = Slot.recall

    def recall_and_meet(slot: Slot, now: float) -> list[Answered]:
        told = recall(slot, now)
        met.one.era = met.era
        return told

    monkeypatch.setattr(Slot, "recall", recall_and_meet)
    assert met.meets() == {"a": "deferred"}


@pytest.mark.parametrize("lives", [True, False])
def test_that_a_claim_came_to_nothing_is_told_of_the_dead_and_not_of_the_living(
    met: Met, lives: bool
) -> None:
    """A living worker may have claimed once more; what a dead one had in hand is on its ring."""
    met.in_hand(met.one, met.hands)
    met.on_ring(met.one, met.hands, Kind.WITHHELD)
    met.one.clear_group()
    if not lives:
        met.board.clear(met.one, met.bench.now())
        met.one.open("boot-2", 1, 0.0)

    assert met.meets() == {"a": "sending" if lives else "queued"}


def test_whom_a_dead_worker_was_handing_over_is_not_taken_back(met: Met) -> None:
    """It had been refused once before it died in the second attempt."""
    met.on_ring(met.one, met.hands, Kind.WITHHELD)
    met.in_hand(met.one, met.hands)
    met.board.clear(met.one, met.bench.now())
    met.one.open("boot-2", 1, 0.0)

    assert met.meets() == {"a": "unknown"}


@pytest.mark.parametrize(
    ("phase", "keeper", "becomes"),
    [
        ("claimed", False, "sending"),
        ("refused", False, "queued"),
        ("settled", False, "queued"),
        ("settled", True, "sending"),
    ],
)
def test_what_a_worker_tells_of_its_own_claim(met: Met, phase: str, keeper: bool, becomes: str) -> None:
    """It is over once the answer is there, though not yet booked; only the worker itself can be sure."""
    met.on_ring(met.other, met.newcomer, Kind.WITHHELD)
    met.in_hand(met.other, met.newcomer)
    if phase == "claimed":
        met.other.begin_group(Group("shop", "b1", ["a"]))
    else:
        met.other.answer(0, Outcome(Kind.DEFERRED, "450 later"))
    if phase == "settled":
        met.other.clear_group()

    assert met.meets(keeper=keeper) == {"a": becomes}


def test_a_batch_that_ended_long_ago_is_not_remembered(bench: LedgerBench) -> None:
    """After its retention only a tombstone is left, and nothing is told of it."""
    bench.client.set(bench.keys.tombstone("shop/b1"), "digest 1")

    assert replay(bench.client, bench.keys, answered(bench.hands(), ("a", Kind.SENT))) == 0
    assert not bench.client.exists(bench.keys.told("shop/b1"))


@pytest.mark.covers("queues-42")
def test_who_meets_another_life_speaks_to_the_one_before_no_more(met: Met) -> None:
    """An idle connection to an old master that takes itself for the master still would be used again."""
    eras = []
    client = connect(met.bench.config.redis, greet=greeting(eras.append))
    client.ping()
    failover = Failover(
        met.bench.config,
        met.other,
        SystemClock(),
        Stop(),
        lambda _: None,
        noted=True,
        hang_up=lambda: hang_up(client),
    )
    with pytest.raises(RedisReplaced):
        failover.meet(met.era)

    client.ping()
    assert eras == [met.era, met.era]
    client.close()


def test_who_has_not_met_an_era_is_named(client: redis.Redis) -> None:
    """Until each registered worker has arrived; the next era begins anew, and nobody waits for the dead."""
    bench = LedgerBench(client)
    one, two = bench.hands(), bench.hands()

    assert arrive(client, bench.keys, one.incarnation, "e1") == {two.incarnation}
    assert arrive(client, bench.keys, two.incarnation, "e1") == set()
    assert arrive(client, bench.keys, two.incarnation, "e2") == {one.incarnation}
    assert arrive(client, bench.keys, one.incarnation, "e2", told=False) == set()
    assert arrive(client, bench.keys, two.incarnation, "e2", told=False) == set()
    assert client.hget(bench.keys.arrivals, two.incarnation) == b"e2"
    two.die()
    bench.upkeep.reap_lapsed()
    assert arrive(client, bench.keys, one.incarnation, "e2") == set()
    bench.hands()
    # Another that has read its hand may be slow to tell it, and is not to be believed then either.
    assert client.hexists(bench.keys.arrivals, two.incarnation)
    client.zadd(bench.keys.graves, {two.incarnation: (bench.now() - 3600) * 1000})
    bench.hands()
    assert client.hkeys(bench.keys.arrivals) == [one.incarnation.encode()]


def test_who_is_registered_by_a_worker_that_has_met_the_era_is_not_waited_for(client: redis.Redis) -> None:
    """It has told all before, and goes on under another number; the next era has yet to hear it."""
    bench = LedgerBench(client)
    one = bench.hands()
    register(client, bench.keys, 5, bench.clock, "e1")

    assert arrive(client, bench.keys, one.incarnation, "e1") == set()
    assert len(arrive(client, bench.keys, one.incarnation, "e2")) == 1


def test_who_is_not_registered_yet_is_not_by_arriving(client: redis.Redis) -> None:
    """A new worker meets a Redis under the name that its supervisor gave it."""
    bench = LedgerBench(client)
    arrive(client, bench.keys, "00c0ffee00c0ffee", "e1")
    assert client.hkeys(bench.keys.workers) == []


def test_a_worker_that_a_failover_forgot_takes_no_job_out_of_sight(real_bench: LedgerBench) -> None:
    """Its registration and its lease are gone; what it takes before it learns that is found when it dies."""
    bench = real_bench
    hands = bench.hands()
    for key in (bench.keys.workers, bench.keys.lease(hands.incarnation)):
        bench.client.delete(key)
    bench.push(job(["a"]))

    arrive(bench.client, bench.keys, hands.incarnation, "new")
    claim = hands.took()
    bench.upkeep.reap_lapsed()

    assert bench.queue() == [claim.raw]
    bench.upkeep.reap_lapsed()
    bench.upkeep.visit_graves()
    assert bench.hand(hands) == []
