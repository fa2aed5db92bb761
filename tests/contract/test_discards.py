"""Jobs of which nothing is handed over: discarded in one step where all is plain, else left alone."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from mailerd.errors import LeaseLost
from mailerd.job import EmailJob, parse_job
from mailerd.outcome import Kind
from mailerd.queue.actions import Actions
from mailerd.queue.claims import Claim, Claims
from mailerd.queue.discards import DISCARDED, MOST_ROWS, Discard
from mailerd.queue.model import Action
from mailerd.queue.payloads import job_id
from rigs.ledger_bench import Hands, LedgerBench, booking, contacts, job

JOBS = [job([f"a{number}", f"b{number}"]) for number in range(4)]
BYTES = [one.to_json() for one in JOBS]


class Told:
    """What is said of jobs that were discarded."""

    def __init__(self) -> None:
        self.waits: list[float | None] = []

    def discard(self, *jobs: EmailJob, era: str = "") -> Discard:
        parts = [(one.to_json(), job_id(one.to_json()), len(one.distinct())) for one in jobs]
        everybody = dict.fromkeys(contact for one in jobs for contact in one.distinct())
        return Discard(jobs[0], era, parts, everybody, self.waits.append)


def take(worker: Hands, most: int = 4) -> list[Claim]:
    return worker.claims.ack_and_take(most)


def long_way(worker: Hands, *jobs: EmailJob) -> None:
    for one in jobs:
        jid = job_id(one.to_json())
        batch = worker.admit(one)
        worker.mark(
            batch, *(booking(each, Kind.DISCARDED, DISCARDED.reason) for each in one.distinct()), jid=jid
        )
        worker.claims.ack(worker.took())


def ledger(bench: LedgerBench, batch: str) -> dict[str, str]:
    """All of the batch's record but the times."""
    bench.assert_conserved(batch)
    record = bench.record(batch)
    for name in ("created", "finished", "promise", "request", "digest"):
        record.pop(name, None)
    zero = {name for name, value in record.items() if value == "0" and name in ("queued", "promised")}
    return {name: value for name, value in record.items() if name not in zero}


@pytest.mark.parametrize("enqueued", [False, True], ids=["foreign", "enqueued"])
def test_discarded_in_one_step_or_the_long_way_is_the_same(bench: LedgerBench, enqueued: bool) -> None:
    """Rows, counters, totals, promise and indexes; who is in two jobs counts once; nothing is left."""
    worker, told = bench.hands(), Told()
    jobs = {name: [job(["a", "b"], name), job(["b", "c"], name)] for name in ("short", "long")}
    for name, pair in jobs.items():
        if enqueued:
            bench.enqueuer().enqueue(pair[0], "request")
        bench.push(*pair[enqueued:])
        if name == "long":
            long_way(worker, *pair)
        else:
            assert len(take(worker)) == 2
            assert worker.claims.discard(told.discard(*pair))
            assert take(worker) == []

    assert ledger(bench, "short") == ledger(bench, "long")
    assert bench.states("short") == dict.fromkeys("abc", "discarded")
    assert [row.reason for row in bench.batches.recipients("shop", "short")] == [DISCARDED.reason] * 3
    assert {"shop/short", "shop/long"} == {
        tag.decode() for tag in bench.client.zrange(bench.keys.batches, 0, -1)
    }
    assert bench.leftovers() == {}
    (waited,) = told.waits
    assert (waited is not None) == enqueued


def test_several_batches_are_discarded_and_the_next_jobs_taken_at_once(bench: LedgerBench) -> None:
    """One call; the second batch's later jobs come too late for it, and stay."""
    worker, told = bench.hands(), Told()
    other = job(["x"], "b2")
    bench.push(JOBS[0], other, *JOBS[1:])
    assert len(take(worker, 2)) == 2
    worker.claims.discard(told.discard(JOBS[0]))
    worker.claims.discard(told.discard(other))

    taken = take(worker, 2)

    assert [(claim.raw, claim.again) for claim in taken] == [(raw, False) for raw in BYTES[1:3]]
    assert bench.counts("b1") == {"discarded": 2}
    assert bench.counts("b2") == {"discarded": 1}
    assert bench.queue() == BYTES[3:]
    assert told.waits == [None, None]


def paused(bench: LedgerBench, worker: Hands) -> None:
    known(bench, worker)
    Actions(bench.client, bench.keys).act(Action.PAUSE, "shop", "b1")


def cancelled(bench: LedgerBench, worker: Hands) -> None:
    known(bench, worker)
    Actions(bench.client, bench.keys).act(Action.CANCEL, "shop", "b1")


def known(bench: LedgerBench, worker: Hands, contact: str = "z") -> None:
    worker.admit(job([contact]))


def admitted_before(bench: LedgerBench, worker: Hands) -> None:
    known(bench, worker, "a0")


def of_another_template(bench: LedgerBench, worker: Hands) -> None:
    worker.open(job(["z"], template="other"))


def of_other_variables(bench: LedgerBench, worker: Hands) -> None:
    worker.open(job(["z"], variables={"code": 1}))


def spread_over_buckets(bench: LedgerBench, worker: Hands) -> None:
    worker.open(job(contacts(100)))


def deleted_long_ago(bench: LedgerBench, worker: Hands) -> None:
    bench.client.set(bench.keys.tombstone("shop/b1"), "- 1")


def asking(bench: LedgerBench, worker: Hands) -> None:
    batch = worker.admit(job(["z"]))
    worker.claim(batch, "z")
    worker.mark(batch, booking("z", Kind.UNKNOWN))


def waiting(bench: LedgerBench, worker: Hands) -> None:
    known(bench, worker)
    bench.client.hset(bench.keys.batch("shop/b1"), "waiting_for", "a server")


def told_by_a_ring(bench: LedgerBench, worker: Hands) -> None:
    bench.client.hset(bench.keys.told("shop/b1"), "a0", "s,1")


def noted(what: str) -> Callable[[LedgerBench, Hands], None]:
    def note(bench: LedgerBench, worker: Hands) -> None:
        bench.client.hset(bench.keys.jobs, f"{job_id(BYTES[1])}:{what}", 1)

    note.__name__ = what
    return note


NOT_PLAIN = [paused, cancelled, admitted_before, of_another_template, of_other_variables, spread_over_buckets]
NOT_PLAIN += [deleted_long_ago, asking, waiting, told_by_a_ring]
NOT_PLAIN += [noted(what) for what in ("cursor", "deaths", "returned", "opened")]


@pytest.mark.parametrize("what", NOT_PLAIN, ids=lambda what: what.__name__)
def test_what_is_not_plain_is_left_as_it_is(
    bench: LedgerBench, what: Callable[[LedgerBench, Hands], None]
) -> None:
    """Neither the batch nor notes change: the jobs are in hand again, and only the other batch is done."""
    worker, told, other = bench.hands(), Told(), job(["x"], "b2")
    what(bench, worker)
    bench.push(*JOBS[:2], other, *JOBS[2:])
    assert len(take(worker, 3)) == 3
    before = (
        bench.record(),
        bench.client.hgetall(bench.keys.jobs),
        bench.client.get(bench.keys.tombstone("shop/b1")),
    )
    worker.claims.discard(told.discard(*JOBS[:2]))
    worker.claims.discard(told.discard(other))

    taken = take(worker)

    assert [(claim.raw, claim.again) for claim in taken] == [(raw, True) for raw in BYTES[:2]]
    assert before == (
        bench.record(),
        bench.client.hgetall(bench.keys.jobs),
        bench.client.get(bench.keys.tombstone("shop/b1")),
    )
    assert bench.counts("b2") == {"discarded": 1}
    assert told.waits == [None]
    assert bench.queue() == BYTES[2:]


def test_a_repeat_after_a_lost_answer_does_and_takes_nothing_more(bench: LedgerBench) -> None:
    """The jobs are not in hand any more, so they are done; those that the first try took are returned."""
    worker, told = bench.hands(), Told()
    bench.push(*JOBS)
    assert len(take(worker, 2)) == 2
    worker.claims.discard(told.discard(*JOBS[:2]))
    worker.claims._ack_and_take(1, "")  # its answer is lost

    taken = take(worker, 2)

    assert [claim.raw for claim in taken] == [BYTES[2]]
    assert bench.counts() == {"discarded": 4}
    assert told.waits == [None]
    assert bench.queue() == [BYTES[3]]
    bench.assert_conserved()


def test_jobs_of_which_one_is_not_in_hand_are_left(bench: LedgerBench) -> None:
    """Whatever took it away: no more is taken from the hand than was discarded, and what is done is acked."""
    worker, told = bench.hands(), Told()
    bench.push(*JOBS)
    claims = take(worker)
    bench.client.lrem(bench.keys.hand(worker.incarnation), 1, BYTES[1])
    bench.client.hset(bench.keys.jobs, f"{claims[3].jid}:cursor", 2)
    worker.claims.discard(told.discard(*JOBS[:2]))
    worker.claims.done(claims[3])

    assert [claim.raw for claim in take(worker)] == [BYTES[0], BYTES[2]]
    assert bench.record() == bench.client.hgetall(bench.keys.jobs) == {}


def test_the_same_bytes_twice_are_two_jobs(bench: LedgerBench) -> None:
    """The first is discarded; the second, which brings nobody, is in hand again."""
    worker, told = bench.hands(), Told()
    bench.push(JOBS[0], JOBS[0])
    assert len(take(worker)) == 2
    worker.claims.discard(told.discard(JOBS[0]))
    worker.claims.discard(told.discard(JOBS[0]))

    (second,) = take(worker)

    assert second.again
    assert bench.hand(worker) == [BYTES[0]]
    assert bench.counts() == {"discarded": 2}


def test_a_lapsed_lease_discards_nothing(bench: LedgerBench) -> None:
    """Whoever was declared dead finds its jobs on their way to others."""
    worker, told = bench.hands(), Told()
    bench.push(*JOBS)
    take(worker, 2)
    worker.claims.discard(told.discard(*JOBS[:2]))
    worker.die()

    with pytest.raises(LeaseLost):
        take(worker)

    assert bench.record() == {}
    assert told.waits == []


def test_jobs_taken_in_another_life_of_redis_are_not_discarded(bench: LedgerBench) -> None:
    """What of them is in hand in this one is found there again."""
    worker, told, eras = bench.hands(), Told(), ["first"]
    bench.push(*JOBS[:2])
    claims = Claims(bench.client, bench.keys, worker.lease, bench.patience(), lambda: eras[-1])
    (claim, _) = claims.ack_and_take(2)
    claims.discard(told.discard(*JOBS[:2], era=claim.era))
    eras.append("second")

    again = claims.ack_and_take(2)

    assert [(each.raw, each.era, each.again) for each in again] == [
        (raw, "second", True) for raw in BYTES[:2]
    ]
    assert bench.record() == {}
    assert told.waits == []


def test_one_script_writes_only_so_many_rows_and_none_into_buckets(bench: LedgerBench) -> None:
    """A job whose batch would be spread over buckets, and jobs past the most, go the long way."""
    worker, told = bench.hands(), Told()
    assert not worker.claims.discard(told.discard(job(contacts(65))))
    for number in range(MOST_ROWS // 50):
        assert worker.claims.discard(told.discard(job(contacts(50), f"b{number}")))

    assert not worker.claims.discard(told.discard(job(["one"])))


def test_a_batch_keeps_when_it_expires_and_its_variables(bench: LedgerBench) -> None:
    """As for every batch: a later job that disagrees is to be known."""
    raw = {"client_id": "shop", "contact_ids": ["a"], "template_id": "t", "batch_id": "b1"}
    raw |= {"variables": {"x": 1}, "expires_at": "2036-01-01T00:00:00Z"}
    worker, told, one = bench.hands(), Told(), parse_job(json.dumps(raw).encode())
    bench.push(one)
    take(worker, 2)
    worker.claims.discard(told.discard(one))
    worker.claims.settle()

    record = bench.record()
    assert (record["variables"], record["expires"], record["template"]) == ('{"x":1}', "2082758400000", "t")
