"""Several short jobs in one hand: each stays a claim of its own, whoever dies and whatever answer is lost."""

from __future__ import annotations

import pytest

from mailerd.errors import LeaseLost
from mailerd.queue.claims import SHORT, Claim, Claims
from mailerd.queue.payloads import Ticket, job_id
from mailerd.queue.upkeep import Blame
from rigs.ledger_bench import Hands, LedgerBench, job

JOBS = [job([f"a{number}", f"b{number}"]) for number in range(6)]
BYTES = [one.to_json() for one in JOBS]
JIDS = [job_id(raw) for raw in BYTES]


def raws(claims: list[Claim]) -> list[bytes]:
    return [claim.raw for claim in claims]


def test_a_take_acks_what_is_done(bench: LedgerBench) -> None:
    """The oldest jobs are taken, as many as were asked for; the next take leaves nothing of those done."""
    bench.push(*JOBS)
    worker = bench.hands()

    taken = worker.claims.ack_and_take(4)
    assert raws(taken) == BYTES[:4]
    for claim in taken:
        worker.claims.done(claim)
    assert raws(worker.claims.ack_and_take(4)) == BYTES[4:]

    assert bench.hand(worker) == BYTES[:3:-1]
    assert bench.queue() == []


def test_what_is_in_hand_is_taken_before_anything_else(bench: LedgerBench) -> None:
    """After a lost answer a repeat takes nothing more, and acks nothing that was not done."""
    bench.push(*JOBS)
    worker = bench.hands()
    worker.claims.ack_and_take(3)

    assert raws(worker.claims.ack_and_take(3)) == BYTES[:3]
    assert bench.queue() == BYTES[3:]


def test_nobody_takes_more_than_a_share(bench: LedgerBench) -> None:
    """Six jobs and three workers: each gets two at most, and where there are fewer, one."""
    bench.push(*JOBS)
    workers = [bench.hands() for _ in range(3)]

    assert [len(each.claims.ack_and_take(32)) for each in workers] == [2, 1, 1]


@pytest.mark.parametrize("other", [Ticket("shop", "b9").to_bytes(), b"x" * (SHORT + 1)], ids=["ours", "long"])
def test_what_may_take_long_is_taken_alone(bench: LedgerBench, other: bytes) -> None:
    """A ticket, a slice or a long job neither waits behind others in a hand nor lets others wait."""
    bench.push(JOBS[0], other, JOBS[1], JOBS[2])
    worker = bench.hands()
    taken = []

    for _ in range(3):
        claims = worker.claims.ack_and_take(4)
        taken.append(raws(claims))
        for claim in claims:
            worker.claims.done(claim)

    assert taken == [[BYTES[0]], [other], BYTES[1:3]]


def test_a_lapsed_lease_takes_and_acks_nothing(bench: LedgerBench) -> None:
    """Whoever was declared dead finds its jobs on their way to others."""
    bench.push(*JOBS)
    worker = bench.hands()
    worker.claims.done(worker.claims.ack_and_take(2)[0])
    worker.die()

    with pytest.raises(LeaseLost):
        worker.claims.ack_and_take(2)

    assert bench.hand(worker) == BYTES[1::-1]
    assert bench.queue() == BYTES[2:]


def test_a_job_done_in_another_life_of_redis_is_not_acked(bench: LedgerBench) -> None:
    """What was booked since then may be forgotten: it goes back and is worked on once more."""
    bench.push(JOBS[0])
    worker, eras = bench.hands(), ["first"]
    claims = Claims(bench.client, bench.keys, worker.lease, bench.patience(), lambda: eras[-1])
    (claim,) = claims.ack_and_take(2)
    claims.done(claim)
    eras.append("second")

    claims.settle()

    assert bench.queue() == [BYTES[0]]
    assert bench.hand(worker) == []


def opened(worker: Hands, *numbers: int) -> tuple[int, int]:
    """Deaths of the first of these jobs, and how many are opened with it."""
    first, *rest = numbers
    answer = worker.ledger.open_job(JOBS[first], JIDS[first], 2, [JIDS[number] for number in rest])
    return answer.deaths, answer.jobs  # type: ignore[union-attr] # it is open


def test_only_opened_jobs_are_to_blame(real_bench: LedgerBench) -> None:
    """Of four in a dead hand two were before its eyes: those are opened alone from now on, the others not."""
    bench = real_bench
    bench.push(*JOBS[:4])
    dead, worker = bench.hands(), bench.hands()
    assert len(dead.claims.ack_and_take(2)) == 2
    bench.client.hdel(bench.keys.workers, worker.incarnation)  # the share of the one that is left: all
    dead.claims._done[:] = []
    for _ in range(2):
        assert dead.take() is not None
    assert opened(dead, 0, 1) == (0, 2)
    dead.die()

    assert bench.upkeep.reap(dead.incarnation, Blame.SEEN_TO_DIE) == 4

    assert opened(worker, 2, 3, 0) == (0, 2)
    assert opened(worker, 0, 1) == (1, 1)
    assert opened(worker, 1, 2) == (1, 1)


def test_a_job_given_back_is_not_to_blame_later(real_bench: LedgerBench) -> None:
    """It was opened and given back; in a hand with another it is as innocent as one never opened."""
    bench = real_bench
    bench.push(*JOBS[:2])
    worker = bench.hands()
    claims = worker.claims.ack_and_take(2)
    assert opened(worker, 0) == (0, 1)
    worker.claims.give_back(claims[0])
    assert worker.take() is not None
    worker.die()

    bench.upkeep.reap(worker.incarnation, Blame.SEEN_TO_DIE)

    assert opened(bench.hands(), 0, 1) == (0, 2)


def test_several_jobs_are_admitted_as_one_after_the_other(bench: LedgerBench) -> None:
    """Rows, counters, cursors and the promise are the same, whoever is in two of them counted once."""
    names, contacts = ("together", "apart"), (["a", "b"], ["b", "c"])
    for batch in names:
        bench.enqueuer().enqueue(job(contacts[0], batch), "request")
    worker = bench.hands()
    batches = {batch: worker.open(job(contacts[0], batch)).batch for batch in names}
    ids = {batch: [job_id(job(each, batch).to_json()) for each in contacts] for batch in names}

    two = dict(zip(ids["together"], contacts, strict=True))
    assert worker.ledger.admit_whole(batches["together"], two) == [True, True]
    for jid, whom in zip(ids["apart"], contacts, strict=True):
        worker.ledger.admit(batches["apart"], jid, 0, whom, 0)

    for batch in names:
        assert bench.states(batch) == dict.fromkeys("abc", "queued")
        assert bench.record(batch)["recipients"] == "3"
        assert bench.record(batch)["promised"] == "0"
        assert [bench.client.hget(bench.keys.jobs, f"{jid}:cursor") for jid in ids[batch]] == [b"2", b"2"]
        bench.assert_conserved(batch)
