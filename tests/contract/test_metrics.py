"""The figures of a queue for ``/metrics``: what one finds by asking for each of its parts."""

from __future__ import annotations

import json

import pytest

from mailerd.outcome import Kind, State
from mailerd.queue.figures import QueueFigures
from mailerd.queue.metrics import LONG, Metrics
from mailerd.queue.model import Resolution
from rigs.ledger_bench import LedgerBench, booking, contacts, job


@pytest.fixture
def metrics(bench: LedgerBench) -> Metrics:
    return Metrics(bench.client, bench.keys)


def grow_older(bench: LedgerBench, seconds: int, batch: str = "b1") -> None:
    bench.client.hincrby(bench.keys.batch(f"shop/{batch}"), "created", -1000 * seconds)


def test_an_empty_queue_has_nothing(metrics: Metrics) -> None:
    """A queue that nobody ever used reads as zeros, and no job has an age."""
    nobody = dict.fromkeys(State, 0)
    assert metrics.read() == QueueFigures(0, None, 0, 0, 0, 0, 0, 0, nobody, 0)


def test_every_part_of_a_queue_is_counted(bench: LedgerBench, metrics: Metrics) -> None:
    """Jobs waiting, put aside and dead, workers, and batches and recipients by state."""
    worker = bench.hands()
    batch = worker.admit(job(["a", "b", "c"]))
    worker.claim(batch, "a", "b")
    worker.mark(batch, booking("a", Kind.SENT), booking("b", Kind.DEFERRED, delay=60.0))
    bench.enqueuer().enqueue(job(["x"], "b2"), "request")
    bench.client.lpush(bench.keys.queue, b"{")

    figures = metrics.read()

    assert (figures.length, figures.put_aside, figures.workers_alive) == (2, 1, 1)
    assert (figures.batches_open, figures.batches_needing_attention, figures.batches_ended) == (2, 0, 0)
    assert {state: n for state, n in figures.recipients.items() if n} == {
        State.SENT: 1,
        State.DEFERRED: 1,
        State.QUEUED: 2,
    }
    assert figures.conservation_gap == 0


def test_a_batch_with_unknown_ones_asks_until_they_are_settled(bench: LedgerBench, metrics: Metrics) -> None:
    """It needs attention once only they are left, and no more when an operator has settled them."""
    worker = bench.hands()
    batch = worker.admit(job(["a", "b"]))
    worker.claim(batch, "a", "b")
    worker.mark(batch, booking("a", Kind.UNKNOWN))
    assert metrics.read().batches_needing_attention == 0

    worker.mark(batch, booking("b", Kind.SENT))
    figures = metrics.read()
    assert (figures.batches_open, figures.batches_needing_attention, figures.batches_ended) == (0, 1, 0)

    bench.unknowns.resolve("shop", "b1", ["a"], Resolution.SENT)
    figures = metrics.read()
    assert (figures.batches_open, figures.batches_needing_attention, figures.batches_ended) == (0, 0, 1)
    assert figures.recipients[State.SENT] == 2


@pytest.mark.parametrize("recipients", [2, LONG])
def test_the_age_of_an_enqueued_job_counts_from_its_enqueueing(
    bench: LedgerBench, metrics: Metrics, recipients: int
) -> None:
    """Whether it is short or too long to be read as a whole."""
    bench.enqueuer().enqueue(job(contacts(recipients)), "request")
    grow_older(bench, 100)

    age = metrics.read().oldest_seconds

    assert age is not None
    assert 100 <= age < 110


def test_the_age_of_a_foreign_job_counts_from_when_it_was_seen(bench: LedgerBench, metrics: Metrics) -> None:
    """Also where its batch is older: that one came with another job."""
    bench.enqueuer().enqueue(job(["a"]), "request")
    bench.client.delete(bench.keys.queue)
    grow_older(bench, 100)
    bench.client.lpush(bench.keys.queue, json.dumps(json.loads(job(["b"]).to_json())))

    first = metrics.read().oldest_seconds
    second = metrics.read().oldest_seconds

    assert first == 0.0
    assert second is not None
    assert 0.0 <= second < 10.0


def test_a_ticket_that_goes_round_does_not_grow_old(bench: LedgerBench, metrics: Metrics) -> None:
    """Each slice that is drawn makes it young again, though its bytes are the same."""
    worker = bench.hands()
    raw = b"mailerd ticket shop/b1"
    bench.client.lpush(bench.keys.queue, raw)
    bench.client.rpush(bench.keys.side("shop/b1"), b"one", b"two")
    metrics.read()
    seen, since = metrics._seen
    metrics._seen = (seen, since - 100_000)
    waiting = metrics.read().oldest_seconds
    bench.client.lpop(bench.keys.side("shop/b1"))

    assert waiting is not None
    assert waiting >= 100
    assert metrics.read().oldest_seconds == 0.0
    assert worker.incarnation
