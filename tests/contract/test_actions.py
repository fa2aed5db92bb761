"""Cancel, pause, resume and retry: in force at the next claim, swept by the janitor, conserved throughout."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mailerd.outcome import Kind
from mailerd.queue.actions import Actions
from mailerd.queue.answers import Halt
from mailerd.queue.keys import Batch
from mailerd.queue.model import Action, BatchState, Effect
from mailerd.queue.payloads import Slice, Ticket, parse
from rigs.ledger_bench import Hands, LedgerBench, booking, contacts, job


@pytest.fixture
def actions(bench: LedgerBench) -> Actions:
    return Actions(bench.client, bench.keys)


def act(actions: Actions, action: Action) -> Effect:
    return actions.act(action, "shop", "b1")


def state(bench: LedgerBench) -> BatchState:
    return bench.batches.find("b1")[0].state


def drawn(worker: Hands) -> Iterator[Slice]:
    """The slices that go round, each taken, drawn and acked."""
    while (claim := worker.take()) is not None:
        raw = worker.ledger.draw(Ticket("shop", "b1"))
        if raw is None:
            continue
        piece = parse(raw, 2**20)
        assert isinstance(piece, Slice)
        yield piece
        worker.bench.client.lrem(worker.bench.keys.hand(worker.incarnation), 1, raw)
        del claim


@pytest.mark.parametrize("action", list(Action))
def test_nothing_can_be_done_with_an_unknown_batch(actions: Actions, action: Action) -> None:
    """A batch that nobody knows is said to be unknown, and stays so."""
    assert act(actions, action) is Effect.UNKNOWN
    assert act(actions, action) is Effect.UNKNOWN


def test_a_paused_batch_is_not_claimed_until_it_is_resumed(bench: LedgerBench, actions: Actions) -> None:
    """Pause refuses the next claim, resume allows it; neither can be done twice."""
    worker = bench.hands()
    batch = worker.admit(job(["a", "b"]))

    assert act(actions, Action.RESUME) is Effect.NOTHING
    assert act(actions, Action.PAUSE) is Effect.DONE
    assert act(actions, Action.PAUSE) is Effect.NOTHING
    assert worker.claim(batch, "a") is Halt.PAUSED
    assert worker.open(job(["a", "b"])).halt is Halt.PAUSED
    assert state(bench) is BatchState.PAUSED

    assert act(actions, Action.RESUME) is Effect.DONE
    assert worker.claim(batch, "a") == ["claimed"]
    bench.assert_conserved()


def test_who_is_in_hand_when_the_batch_is_paused_is_finished(bench: LedgerBench, actions: Actions) -> None:
    """A pause does not touch a hand-over under way; its outcome is booked."""
    worker = bench.hands()
    batch = worker.admit(job(["a", "b"]))
    worker.claim(batch, "a")
    act(actions, Action.PAUSE)

    assert worker.mark(batch, booking("a", Kind.SENT)) == 1
    assert bench.counts() == {"sent": 1, "queued": 1}


def test_parked_jobs_come_back_in_their_order(bench: LedgerBench, actions: Actions) -> None:
    """Jobs of a paused batch leave the queue; after the resume they are at its head, the first first."""
    worker = bench.hands()
    first, second, other = job(["a"]), job(["b"]), job(["z"], "b2")
    for each in (first, second, other):
        bench.client.lpush(bench.keys.queue, each.to_json())
    worker.open(first)
    worker.admit(first)
    act(actions, Action.PAUSE)
    for _ in range(2):
        worker.claims.park(worker.took(), "shop/b1")

    assert bench.client.lrange(bench.keys.queue, 0, -1) == [other.to_json()]

    act(actions, Action.RESUME)
    bench.upkeep.sweep()
    assert [worker.took().raw for _ in range(2)] == [first.to_json(), second.to_json()]
    assert bench.client.llen(bench.keys.sweeps) == 0


def test_a_job_parked_after_the_resume_is_not_forgotten(bench: LedgerBench, actions: Actions) -> None:
    """A worker that saw the pause and parks only after it ended puts the job back on the queue."""
    worker = bench.hands()
    each = job(["a"])
    worker.admit(each)
    bench.client.lpush(bench.keys.queue, each.to_json())
    claim = worker.took()
    act(actions, Action.PAUSE)
    act(actions, Action.RESUME)
    bench.upkeep.sweep()

    worker.claims.park(claim, "shop/b1")

    assert bench.client.lrange(bench.keys.queue, 0, -1) == [each.to_json()]


def test_the_ticket_of_a_paused_batch_is_parked(bench: LedgerBench, actions: Actions) -> None:
    """No slice of a paused batch is drawn; after resume the same ticket brings all of them."""
    worker = bench.hands()
    worker.admit(job(contacts(90)), slice_size=30)
    act(actions, Action.PAUSE)

    assert list(drawn(worker)) == []
    assert bench.queue() == []
    assert bench.tickets("b1") == 1

    act(actions, Action.RESUME)
    bench.upkeep.sweep()
    assert sorted(each for piece in drawn(worker) for each in piece.contact_ids) == sorted(contacts(90))


def test_cancel_settles_everybody_who_is_open(bench: LedgerBench, actions: Actions) -> None:
    """Queued and deferred recipients are cancelled by one sweep; the batch has ended, settled ones stay."""
    worker = bench.hands()
    batch = worker.admit(job(contacts(90)), slice_size=30)
    worker.claim(batch, *contacts(3))
    first, second, third, *rest = contacts(90)
    worker.mark(batch, booking(first, Kind.SENT), booking(second, Kind.DEFERRED), booking(third, Kind.FAILED))

    assert act(actions, Action.CANCEL) is Effect.DONE
    assert worker.claim(batch, *rest[:2]) is Halt.CANCELLED
    bench.assert_conserved()
    bench.upkeep.sweep()

    assert bench.counts() == {"sent": 1, "failed": 1, "cancelled": 88}
    assert state(bench) is BatchState.CANCELLED
    assert bench.batches.find("b1")[0].finished_at is not None
    assert list(drawn(worker)) == []
    bench.assert_conserved()
    for action in Action:
        assert act(actions, action) is Effect.NOTHING


def test_who_is_in_hand_when_the_batch_is_cancelled_is_not_tried_again(
    bench: LedgerBench, actions: Actions
) -> None:
    """After a cancel a sent one is sent, and whoever would be tried again is cancelled instead."""
    worker = bench.hands()
    batch = worker.admit(job(["a", "b", "c"]))
    worker.claim(batch, "a", "b", "c")
    act(actions, Action.CANCEL)
    bench.upkeep.sweep()

    worker.mark(batch, booking("a", Kind.SENT), booking("b", Kind.DEFERRED), booking("c", Kind.WITHHELD))

    assert bench.counts() == {"sent": 1, "cancelled": 2}
    assert bench.client.zcard(bench.keys.retry) == 0
    bench.assert_conserved()


def test_what_was_promised_is_cancelled_before_it_is_admitted(bench: LedgerBench, actions: Actions) -> None:
    """An enqueued batch that nobody has begun ends at its cancel, and its job adds nobody later."""
    each = job(["a", "b"])
    bench.enqueuer().enqueue(each, "request")

    act(actions, Action.CANCEL)
    assert bench.counts() == {"cancelled": 2}
    assert state(bench) is BatchState.CANCELLED

    bench.hands().admit(each)
    assert bench.counts() == {"cancelled": 2}
    bench.assert_conserved()


def test_a_job_that_comes_late_to_a_cancelled_batch_is_cancelled(
    bench: LedgerBench, actions: Actions
) -> None:
    """Contacts that a foreign job adds after the cancel are cancelled, and no slice is made of them."""
    worker = bench.hands()
    worker.admit(job(["a"]))
    act(actions, Action.CANCEL)

    worker.admit(job(contacts(90)), slice_size=30)
    bench.upkeep.sweep()

    assert bench.counts() == {"cancelled": 91}
    assert bench.tickets("b1") == 0
    bench.assert_conserved()


def test_parked_jobs_of_a_cancelled_batch_are_recorded(bench: LedgerBench, actions: Actions) -> None:
    """A job that is parked at the cancel goes back to the queue, so that its contacts are recorded."""
    worker = bench.hands()
    worker.admit(job(["a"]))
    bench.client.lpush(bench.keys.queue, job(["b"]).to_json())
    act(actions, Action.PAUSE)
    worker.claims.park(worker.took(), "shop/b1")

    act(actions, Action.CANCEL)
    bench.upkeep.sweep()

    assert bench.client.lrange(bench.keys.queue, 0, -1) == [job(["b"]).to_json()]


@pytest.mark.parametrize("number", [3, 90])
@pytest.mark.covers("mail-5")
def test_retry_opens_whoever_got_nothing(bench: LedgerBench, actions: Actions, number: int) -> None:
    """Failed, invalid and expired recipients get a job again, each once; sent and unknown ones do not."""
    worker = bench.hands()
    batch: Batch = worker.admit(job(contacts(number)))
    everybody = contacts(number)
    kinds = [Kind.FAILED, Kind.INVALID, Kind.EXPIRED]
    worker.claim(batch, *everybody)
    worker.mark(batch, *(booking(each, kinds[at % 3]) for at, each in enumerate(everybody)))
    sent = worker.admit(job(["sent", "lost"]))
    worker.claim(sent, "sent", "lost")
    worker.mark(sent, booking("sent", Kind.SENT), booking("lost", Kind.UNKNOWN))

    assert act(actions, Action.RETRY) is Effect.DONE
    bench.upkeep.sweep()

    assert bench.counts() == {"queued": number, "sent": 1, "unknown": 1}
    assert sorted(each for piece in drawn(worker) for each in piece.contact_ids) == sorted(everybody)
    assert act(actions, Action.RETRY) is Effect.NOTHING
    bench.assert_conserved()
