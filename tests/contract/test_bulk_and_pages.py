"""Several batches enqueued at once, all or none; and the pages in which batches and recipients are read."""

from __future__ import annotations

import pytest

from mailerd.outcome import Kind, State
from mailerd.queue.model import Admission, BatchState, Enqueued
from rigs.ledger_bench import LedgerBench, booking, contacts, job


def test_all_batches_are_queued_in_their_order(bench: LedgerBench) -> None:
    """Each batch is registered as a single enqueue would, the first is taken first, a repeat is a replay."""
    jobs = [job(contacts(2), "b1"), job(contacts(70), "b2"), job(contacts(1), "b3")]

    assert bench.enqueuer().enqueue_all(jobs, "r1") == [
        Enqueued(Admission.QUEUED, 2),
        Enqueued(Admission.QUEUED, 70),
        Enqueued(Admission.QUEUED, 1),
    ]
    assert bench.enqueuer().enqueue_all(jobs, "r1")[0].admission is Admission.QUEUED
    assert {each.admission for each in bench.enqueuer().enqueue_all(jobs, "r2")} == {Admission.REPLAYED}
    worker = bench.hands()
    assert [worker.took().raw for _ in jobs] == [each.to_json() for each in jobs]
    for each in jobs:
        worker.admit(each)
        bench.assert_conserved(each.batch_id)


@pytest.mark.parametrize("refused", [Admission.CONFLICT, Admission.FOREIGN])
def test_one_refused_batch_refuses_all(bench: LedgerBench, refused: Admission) -> None:
    """With one batch in conflict nothing is queued and nothing registered; the answers name the culprit."""
    known = job(contacts(2), "b2")
    if refused is Admission.CONFLICT:
        bench.enqueuer().enqueue(job(contacts(3), "b2"), "r1")
    else:
        bench.hands().admit(known)
    before = bench.queue()

    answers = bench.enqueuer().enqueue_all([job(contacts(2), "b1"), known], "r2")

    assert answers[1].admission is refused
    assert bench.queue() == before
    assert bench.batches.find("b1") == []


def test_a_queue_without_room_for_all_takes_none(bench: LedgerBench) -> None:
    """``queue.max_length`` is for the whole of a bulk; replays need no room."""
    bench.config = bench.config.model_copy(
        update={"queue": bench.config.queue.model_copy(update={"max_length": 2})}
    )
    enqueuer = bench.enqueuer()
    enqueuer.enqueue(job(["a"], "b1"), "r1")

    full = enqueuer.enqueue_all([job(["a"], "b1"), job(["a"], "b2"), job(["a"], "b3")], "r2")

    assert [each.admission for each in full] == [Admission.REPLAYED, Admission.FULL, Admission.FULL]
    assert len(bench.queue()) == 1
    assert enqueuer.enqueue_all([job(["a"], "b2")], "r3")[0].admission is Admission.QUEUED


def test_every_batch_is_on_one_page(bench: LedgerBench) -> None:
    """Following the cursors gives every batch once, the newest first, though all came in one millisecond."""
    ids = [f"b{number:02}" for number in range(25)]
    bench.enqueuer().enqueue_all([job(["a"], each) for each in ids], "r1")

    seen, cursor = [], ""
    while cursor is not None:
        page = bench.batches.page(None, None, cursor, 4)
        seen += [view.batch_id for view in page.batches]
        cursor = page.next

    assert sorted(seen) == ids
    assert bench.batches.page("shop", BatchState.QUEUED, "", 100).next is None
    assert len(bench.batches.page("shop", BatchState.QUEUED, "", 100).batches) == 25
    assert bench.batches.page("shop", BatchState.DONE, "", 100).batches == ()
    assert bench.batches.page("other", None, "", 100).batches == ()


def test_a_page_is_longer_than_what_is_read_at_once(bench: LedgerBench) -> None:
    """230 batches are read in three goes: all of them, in order, without one that was just deleted."""
    ids = [f"b{number:03}" for number in range(230)]
    bench.enqueuer().enqueue_all([job(["a"], each) for each in ids], "r1")
    bench.client.zadd(bench.keys.batches, {f"shop/{each}": 1000 + place for place, each in enumerate(ids)})
    bench.client.delete(bench.keys.batch("shop/b150"))

    page = bench.batches.page(None, None, "", 205)
    rest = bench.batches.page(None, BatchState.QUEUED, page.next or "", 205)

    assert [view.batch_id for view in (*page.batches, *rest.batches)] == [
        each for each in reversed(ids) if each != "b150"
    ]
    assert (len(page.batches), rest.next) == (205, None)


def test_a_page_goes_on_though_its_last_batch_was_deleted(bench: LedgerBench) -> None:
    """A cursor stays good when the batch that it names has been deleted in the meantime."""
    enqueuer = bench.enqueuer()
    for number in range(3):
        enqueuer.enqueue(job(["a"], f"b{number}"), f"r{number}")
        bench.client.zadd(bench.keys.batches, {f"shop/b{number}": 1000 + number})
    page = bench.batches.page(None, None, "", 1)
    assert page.next is not None
    bench.client.zrem(bench.keys.batches, "shop/b2")

    assert [view.batch_id for view in bench.batches.page(None, None, page.next, 9).batches] == ["b1", "b0"]


@pytest.mark.parametrize("number", [7, 200])
def test_every_recipient_is_on_one_page(bench: LedgerBench, number: int) -> None:
    """Following the cursors gives every recipient once, wherever the rows lie, also of one state alone."""
    worker = bench.hands()
    batch = worker.admit(job(contacts(number)))
    worker.claim(batch, *contacts(5))
    worker.mark(batch, *(booking(each, Kind.SENT) for each in contacts(5)))

    for state, wanted in ((None, contacts(number)), (State.SENT, contacts(5)), (State.FAILED, [])):
        seen, cursor = [], ""
        while cursor is not None:
            page = bench.batches.page_of_recipients("shop", "b1", state, cursor, 3)
            seen += [view.contact_id for view in page.recipients]
            cursor = page.next
        assert sorted(seen) == sorted(wanted)


@pytest.mark.parametrize("cursor", ["x", "1", "-1.0", "1.1.1", "1.x", " ", "٣.٣"])
def test_a_made_up_cursor_is_refused(bench: LedgerBench, cursor: str) -> None:
    """A cursor that no page gave is an error and no empty page."""
    bench.hands().admit(job(["a"]))

    with pytest.raises(ValueError, match="no cursor"):
        bench.batches.page_of_recipients("shop", "b1", None, cursor, 3)
    with pytest.raises(ValueError, match="no cursor"):
        bench.batches.page(None, None, cursor, 3)
