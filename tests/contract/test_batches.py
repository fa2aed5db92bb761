"""Batches as users see them: each view is one read, and says what the ledger says."""

from __future__ import annotations

import pytest

from mailerd.outcome import Kind, State
from mailerd.queue.batches import batch_state, queue_status
from mailerd.queue.model import BatchState
from rigs.ledger_bench import LedgerBench, booking, contacts, job


@pytest.mark.parametrize(
    ("counts", "state"),
    [
        ({}, BatchState.QUEUED),
        ({State.QUEUED: 2}, BatchState.QUEUED),
        ({State.QUEUED: 2, State.SENT: 1}, BatchState.SENDING),
        ({State.SENDING: 1}, BatchState.SENDING),
        ({State.DEFERRED: 1, State.UNKNOWN: 1}, BatchState.SENDING),
        ({State.UNKNOWN: 1, State.SENT: 5}, BatchState.NEEDS_ATTENTION),
        ({State.SENT: 5, State.FAILED: 1}, BatchState.DONE),
        ({State.DISCARDED: 1}, BatchState.DONE),
    ],
)
@pytest.mark.covers("mail-2")
def test_the_state_of_a_batch_follows_from_its_recipients(
    counts: dict[State, int], state: BatchState
) -> None:
    """Derived, never stored, so that it cannot disagree with them."""
    assert batch_state(counts) is state


def test_a_batch_is_seen_from_its_first_job_to_its_end(bench: LedgerBench) -> None:
    """State, counts and times at each step; opened again it has no end."""
    worker = bench.hands()
    batch = worker.admit(job(["a", "b"]))
    [queued] = bench.batches.find("b1")
    assert (queued.state, queued.counts, queued.finished_at) == (BatchState.QUEUED, {"queued": 2}, None)

    worker.claim(batch, "a", "b")
    worker.mark(batch, booking("a", Kind.SENT), booking("b", Kind.UNKNOWN))
    [asking] = bench.batches.find("b1")
    assert asking.state is BatchState.NEEDS_ATTENTION
    assert asking.counts == {"sent": 1, "unknown": 1}
    assert asking.finished_at is not None
    assert queued.created_at <= asking.finished_at <= queued.created_at + 60

    worker.admit(job(["c"]))
    [again] = bench.batches.find("b1")
    assert (again.state, again.recipients, again.finished_at) == (BatchState.SENDING, 3, None)


@pytest.mark.parametrize("count", [5, 200])
@pytest.mark.covers("mail-5")
def test_recipients_are_listed_wherever_their_rows_lie(bench: LedgerBench, count: int) -> None:
    """All of them, or those in one state, each with why and when."""
    worker = bench.hands()
    batch = worker.admit(job(contacts(count)))
    worker.mark(batch, booking("c1", Kind.INVALID, "no such contact"))

    everybody = list(bench.batches.recipients("shop", "b1"))
    [invalid] = bench.batches.recipients("shop", "b1", State.INVALID)

    assert sorted(row.contact_id for row in everybody) == sorted(contacts(count))
    assert (invalid.contact_id, invalid.reason) == ("c1", "no such contact")
    [view] = bench.batches.find("b1")
    assert view.created_at <= invalid.time <= view.created_at + 60


def test_an_unknown_batch_is_nowhere(bench: LedgerBench) -> None:
    """Neither by its id nor by its recipients."""
    assert bench.batches.find("b1") == []
    assert list(bench.batches.recipients("shop", "b1")) == []
    assert bench.batches.newest(10) == []


def test_the_newest_batches_come_first(bench: LedgerBench) -> None:
    """As many as asked for."""
    worker = bench.hands()
    for number in range(5):
        worker.admit(job(["a"], f"b{number}"))
        bench.client.zadd(bench.keys.batches, {f"shop/b{number}": number})

    assert [view.batch_id for view in bench.batches.newest(3)] == ["b4", "b3", "b2"]


def test_the_status_of_a_queue_names_its_workers(bench: LedgerBench) -> None:
    """Waiting, put aside and dead jobs; who lives, and who holds a job."""
    assert queue_status(bench.client, bench.keys).workers == ()
    worker, dead = bench.hands(), bench.hands()
    bench.push(job(["a"]), job(["b"]), b"{", job(["c"]))
    worker.claims.ack(worker.took())
    batch = worker.admit(job(["b"]))
    worker.claim(batch, "b")
    worker.mark(batch, booking("b", Kind.DEFERRED, delay=60.0))
    worker.claims.ack(worker.took())
    worker.claims.bury(worker.took(), "no job")
    dead.took()
    dead.die()

    status = queue_status(bench.client, bench.keys)

    assert (status.length, status.put_aside, status.dead) == (0, 1, 1)
    seen = {view.incarnation: (view.alive, view.in_hand) for view in status.workers}
    assert seen == {worker.incarnation: (True, 0), dead.incarnation: (False, 1)}
