"""``redis.replicas``: nothing is accepted, and nobody handed over, before the replicas have confirmed it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from mailerd.config import Redis
from mailerd.errors import TooFewCopies
from mailerd.outcome import Kind
from mailerd.queue.connection import connect
from mailerd.queue.copies import misfit
from mailerd.queue.diagnosis import diagnose
from mailerd.queue.enqueue import EmailQueue, Enqueuer
from mailerd.queue.ledger import Ledger
from mailerd.queue.model import Admission
from mailerd.queue.probe import describe, examine
from rigs.ledger_bench import Hands, LedgerBench, booking, job
from rigs.redis_server import RedisServer
from rigs.waiting import wait_until


@dataclass
class Pair:
    """A master and its replica."""

    master: RedisServer
    replica: RedisServer
    bench: LedgerBench

    def enqueuer(self) -> Enqueuer:
        bench = self.bench
        return Enqueuer(bench.client, bench.keys, 100, bench.clock, replicas=1)

    def hands(self) -> Hands:
        hands, bench = self.bench.hands(), self.bench
        hands.ledger = Ledger(bench.client, bench.keys, hands.incarnation, 60, bench.patience(), replicas=1)
        return hands


@pytest.fixture
def pair(redis_servers: Callable[..., RedisServer]) -> Iterator[Pair]:
    """Both running, the replica up to date."""
    settings = ("--repl-diskless-sync-delay", "0", "--repl-timeout", "3")
    master, replica = redis_servers(settings=settings).start(), redis_servers(settings=settings).start()
    follower: Any = replica.client()
    follower.replicaof("127.0.0.1", master.port)
    wait_until(lambda: follower.info("replication")["master_link_status"] == "up", 15, "no replication")
    client = connect(Redis(url=master.url), timeout=5)
    yield Pair(master, replica, LedgerBench(client, master.url))
    client.close()
    follower.close()


def test_what_replicas_confirm_is_accepted_and_claimed(pair: Pair) -> None:
    """With its replica there everything goes on, and the replica has it."""
    assert pair.enqueuer().enqueue(job(["a"]), "r1").admission is Admission.QUEUED
    EmailQueue.connect(pair.master.addr, replicas=1).enqueue(job(["b"], batch="b2"))

    hands = pair.hands()
    assert hands.claim(hands.admit(job(["a"])), "a") == ["claimed"]
    with pair.replica.client() as replica:
        assert replica.llen("email_queue") == 2
        assert replica.hget(pair.bench.keys.batch("shop/b1"), "sending") == b"1"


@pytest.mark.slow
def test_what_no_replica_confirms_is_not_accepted_however_often_it_is_asked(pair: Pair) -> None:
    """Also the second request, which finds the job queued and writes nothing new, waits for the copies."""
    pair.replica.freeze()
    for request in ("r1", "r1", "r2"):
        with pytest.raises(TooFewCopies, match="0 of 1 replicas"):
            pair.enqueuer().enqueue(job(["a"]), request)
    with pytest.raises(TooFewCopies):
        pair.enqueuer().enqueue_all([job(["a"]), job(["b"], batch="b2")], "r3")
    with pytest.raises(TooFewCopies):
        EmailQueue.connect(pair.master.addr, replicas=1).enqueue(job(["c"], batch="b3"))

    pair.replica.thaw()
    assert pair.enqueuer().enqueue(job(["a"]), "r4").admission is Admission.REPLAYED


def test_a_replay_is_confirmed_over_a_connection_that_never_wrote(pair: Pair) -> None:
    """The copies of what another connection wrote are asked for too."""
    pair.replica.freeze()
    pair.bench.enqueuer().enqueue(job(["a"]), "r1")

    client = connect(Redis(url=pair.master.url), timeout=5)
    fresh = Enqueuer(client, pair.bench.keys, 100, pair.bench.clock, replicas=1)
    with pytest.raises(TooFewCopies):
        fresh.enqueue(job(["a"]), "r2")
    client.close()


@pytest.mark.slow
def test_a_claim_that_no_replica_confirms_is_told_and_can_be_released(pair: Pair) -> None:
    """Also the second try, which finds the recipient claimed; released, it is as if never tried."""
    hands = pair.hands()
    batch = hands.admit(job(["a"]))
    pair.replica.freeze()
    for _ in range(2):
        with pytest.raises(TooFewCopies):
            hands.claim(batch, "a")

    hands.mark(batch, booking("a", Kind.WITHHELD))
    assert pair.bench.states() == {"a": "queued"}
    pair.replica.thaw()
    assert hands.claim(batch, "a") == ["claimed"]


def test_missing_replicas_are_told(pair: Pair) -> None:
    """The start, the doctor and the check say how many are asked for and how many are there."""
    bench = pair.bench
    wanting = bench.config.redis.model_copy(update={"replicas": 2})
    config = bench.config.model_copy(update={"redis": wanting})

    assert any("asks for 2 copies and 1 replicas" in warning for warning in examine(bench.client, config))
    assert any("asks for 2 copies" in each.what for each in diagnose(bench.client, bench.keys, 2))
    assert not any("copies" in each.what for each in diagnose(bench.client, bench.keys, 1))
    assert describe(bench.client).endswith(f"master of 127.0.0.1:{pair.replica.port}")


@pytest.mark.parametrize(
    ("wanted", "connected", "says"),
    [(0, 2, ""), (2, 2, ""), (1, 2, "may choose one that has not confirmed"), (2, 1, "nothing is taken")],
)
def test_fewer_copies_than_replicas_are_told_of(wanted: int, connected: int, says: str) -> None:
    """Only as many confirmations as replicas survive whatever replica becomes the master."""
    what, advice = misfit(wanted, connected) or ("", "")
    assert says in what
    assert bool(what) == bool(says)
    assert ("redis.replicas = 2" in advice) == ("may choose" in says)
