"""Enqueueing: a batch is queued once; repeats, other content and lost answers are told apart."""

from __future__ import annotations

import pytest

from mailerd.errors import RedisUnavailable
from mailerd.job import parse_job
from mailerd.queue.enqueue import EmailQueue, Enqueuer
from mailerd.queue.model import Admission, Enqueued
from rigs.ledger_bench import LedgerBench, contacts, job
from rigs.ports import free_port
from rigs.proxy import Proxy
from rigs.redis_server import RedisServer

ONE = job(["a", "b", "a"], variables={"x": 1})


def test_an_enqueued_batch_is_registered_and_its_job_pushed(bench: LedgerBench) -> None:
    """Its distinct contacts are counted at once, and the job is the producer's own."""
    assert bench.enqueuer().enqueue(ONE, "r1") == Enqueued(Admission.QUEUED, 2)

    assert [parse_job(raw) for raw in bench.queue()] == [ONE]
    [view] = bench.batches.find("b1")
    assert (view.client_id, view.template_id, view.recipients) == ("shop", "welcome", 2)
    assert view.counts == {"queued": 2}
    assert bench.batches.newest(1) == [view]
    bench.assert_conserved()


def test_the_same_request_again_is_no_replay(bench: LedgerBench) -> None:
    """A second try after a lost answer finds its own work."""
    enqueuer = bench.enqueuer()
    enqueuer.enqueue(ONE, "r1")

    assert enqueuer.enqueue(ONE, "r1") == Enqueued(Admission.QUEUED, 2)
    assert len(bench.queue()) == 1


def test_the_same_content_again_is_a_replay(bench: LedgerBench) -> None:
    """In another request, in any order of contacts: nothing is queued twice."""
    enqueuer = bench.enqueuer()
    enqueuer.enqueue(ONE, "r1")

    assert enqueuer.enqueue(job(["b", "a"], variables={"x": 1}), "r2") == Enqueued(Admission.REPLAYED, 2)
    assert len(bench.queue()) == 1


def test_what_would_come_of_it_is_foretold(bench: LedgerBench) -> None:
    """With the words of enqueue, and nothing is written: queued, a replay, a conflict, full."""
    enqueuer = bench.enqueuer()
    other = job(["z"])

    assert enqueuer.foretell(ONE) == Enqueued(Admission.QUEUED, 2)
    assert bench.client.keys() == []
    enqueuer.enqueue(ONE, "r1")
    before = bench.record()
    assert enqueuer.foretell(ONE) == Enqueued(Admission.REPLAYED, 2)
    assert enqueuer.foretell(other).admission is Admission.CONFLICT
    assert (
        Enqueuer(bench.client, bench.keys, 1, bench.clock).foretell(job(["a"], "b2")).admission
        is Admission.FULL
    )
    assert bench.record() == before
    assert len(bench.queue()) == 1


@pytest.mark.parametrize(
    "other",
    [
        job(["a"], variables={"x": 1}),
        job(["a", "b"], variables={"x": 2}),
        job(["a", "b"], template="other", variables={"x": 1}),
    ],
    ids=["contacts", "variables", "template"],
)
def test_other_content_is_a_conflict(bench: LedgerBench, other: object) -> None:
    """Whatever differs; the batch stays as it was."""
    enqueuer = bench.enqueuer()
    enqueuer.enqueue(ONE, "r1")
    before = bench.record()

    assert enqueuer.enqueue(other, "r2").admission is Admission.CONFLICT  # type: ignore[arg-type] # parametrised
    assert bench.record() == before
    assert len(bench.queue()) == 1


def test_another_client_may_use_the_same_batch_id(bench: LedgerBench) -> None:
    """A batch is known by client and id; both are found by the id alone."""
    enqueuer = bench.enqueuer()
    enqueuer.enqueue(ONE, "r1")

    assert enqueuer.enqueue(job(["z"], client="other"), "r2").admission is Admission.QUEUED
    assert {view.client_id for view in bench.batches.find("b1")} == {"shop", "other"}
    assert [view.client_id for view in bench.batches.find("b1", "other")] == ["other"]


def test_a_batch_known_only_from_a_foreign_job_is_foreign(bench: LedgerBench) -> None:
    """Its content is not known, so no repeat can be told."""
    bench.hands().admit(ONE)

    assert bench.enqueuer().enqueue(ONE, "r1").admission is Admission.FOREIGN
    assert bench.queue() == []
    bench.assert_conserved()


def test_a_full_queue_takes_no_more(bench: LedgerBench) -> None:
    """At max_length nothing is registered; a replay is answered all the same."""
    enqueuer = bench.enqueuer()
    enqueuer._max_length = 1
    enqueuer.enqueue(ONE, "r1")

    assert enqueuer.enqueue(job(["a"], "b2"), "r2").admission is Admission.FULL
    assert not bench.record("b2")
    assert enqueuer.enqueue(ONE, "r3").admission is Admission.REPLAYED


@pytest.mark.covers("queues-12")
def test_a_lost_answer_does_not_turn_into_a_replay(real_bench: LedgerBench, valkey: RedisServer) -> None:
    """The script was carried out and its reply swallowed: the caller hears that it queued, once."""
    with Proxy(valkey.port) as proxy:
        enqueuer = Enqueuer.of(
            real_bench.config.with_redis_url(f"redis://127.0.0.1:{proxy.port}/0"), real_bench.clock
        )
        enqueuer.enqueue(job(["a"], "b0"), "r0")
        proxy.swallow(b"queued")

        assert enqueuer.enqueue(ONE, "r1") == Enqueued(Admission.QUEUED, 2)

        assert proxy.swallowed == 1
    assert len(real_bench.queue()) == 2


def test_a_nearly_full_redis_takes_no_new_work(real_bench: LedgerBench) -> None:
    """Beyond nine tenths of maxmemory an enqueue is refused, and taken again when there is room."""
    client = real_bench.client
    used = client.info("memory")["used_memory"]
    client.config_set("maxmemory", int(used * 1.05))
    try:
        with pytest.raises(RedisUnavailable, match=r"nearly full: 9\d % of its maxmemory"):
            real_bench.enqueuer().enqueue(ONE, "r1")
        assert real_bench.queue() == []
        client.config_set("maxmemory", used * 2)
        assert real_bench.enqueuer().enqueue(ONE, "r1").admission is Admission.QUEUED
    finally:
        client.config_set("maxmemory", 0)


def test_a_late_replay_is_answered_by_the_tombstone(bench: LedgerBench) -> None:
    """After the retention the content is still known, and how many recipients it had."""
    enqueuer = bench.enqueuer()
    enqueuer.enqueue(ONE, "r1")
    digest = bench.record()["digest"]
    bench.client.flushall()
    bench.client.set(bench.keys.tombstone("shop/b1"), f"{digest} 2")

    assert enqueuer.enqueue(ONE, "r2") == Enqueued(Admission.REPLAYED, 2)
    assert enqueuer.enqueue(job(["z"]), "r3").admission is Admission.CONFLICT
    assert bench.queue() == []


def test_another_program_enqueues_with_three_lines(valkey: RedisServer) -> None:
    """``EmailQueue`` pushes the job as any foreign producer does, and says where nobody answers."""
    with valkey.client() as client:
        queue = EmailQueue.connect(valkey.addr)
        queue.enqueue(job(contacts(2)))
        assert parse_job(client.lindex("email_queue", 0)) == job(contacts(2))  # type: ignore[arg-type] # sync

    with pytest.raises(RedisUnavailable):
        EmailQueue.connect(f"127.0.0.1:{free_port()}")
