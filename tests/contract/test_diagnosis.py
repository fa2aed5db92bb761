"""What the doctor finds: nothing in a healthy queue, and each thing that can be wrong with its remedy."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mailerd.queue.actions import Actions
from mailerd.queue.diagnosis import diagnose
from mailerd.queue.model import Action
from mailerd.queue.payloads import Slice
from rigs.ledger_bench import LedgerBench, contacts, job

SERVER = ("Redis keeps no append-only file: a crash forgets jobs",)  # the rig's server is made for speed


def complaints(bench: LedgerBench) -> list[str]:
    return [each.what for each in diagnose(bench.client, bench.keys) if each.what not in SERVER]


def test_a_queue_at_work_is_healthy(real_bench: LedgerBench) -> None:
    """Jobs in hand, slices, parked jobs and dead letters are nothing to complain of."""
    bench = real_bench
    worker = bench.hands()
    bench.push(b"{")
    worker.claims.bury(worker.took(), "no job")
    bench.enqueuer().enqueue(job(contacts(90)), "request")
    claim = worker.took()
    worker.admit(job(contacts(90)), slice_size=30)
    Actions(bench.client, bench.keys).act(Action.PAUSE, "shop", "b1")
    worker.claims.park(claim, "shop/b1")

    assert complaints(bench) == []


def test_the_server_is_looked_at(real_bench: LedgerBench) -> None:
    """An evicting, quite full Redis without an append-only file is complained of three times."""
    client = real_bench.client
    client.config_set("maxmemory-policy", "allkeys-lru")
    client.config_set("maxmemory", int(client.info("memory")["used_memory"] * 1.2))
    try:
        found = {each.what: each.advice for each in diagnose(client, real_bench.keys)}
    finally:
        client.config_set("maxmemory", 0)
        client.config_set("maxmemory-policy", "noeviction")

    assert found["Redis evicts keys when it is full (allkeys-lru)"] == "set maxmemory-policy noeviction"
    assert found[SERVER[0]] == "set appendonly yes"
    assert any("of Redis' maxmemory are used" in what for what in found)


def dead_worker(bench: LedgerBench) -> None:
    bench.push(job(["a"]))
    worker = bench.hands()
    worker.took()
    worker.die()


def jobs_without_workers(bench: LedgerBench) -> None:
    bench.push(job(["a"]))


def overdue_retry(bench: LedgerBench) -> None:
    bench.client.zadd(bench.keys.retry, {"x": 1000})


def unfinished_sweep(bench: LedgerBench) -> None:
    bench.client.rpush(bench.keys.sweeps, "cancel shop/b1 1000")


def unknown_hand(bench: LedgerBench) -> None:
    bench.client.lpush(bench.keys.hand("99"), b"x")


def slices_without_ticket(bench: LedgerBench) -> None:
    bench.client.rpush(bench.keys.side("shop/b1"), Slice("shop", "b1", ("a",)).to_bytes())


def lost_ticket(bench: LedgerBench) -> None:
    bench.hands().admit(job(contacts(20)), slice_size=10)
    bench.client.delete(bench.keys.queue)  # as a worker does that dies between BRPOP and record


def forgotten_parked_job(bench: LedgerBench) -> None:
    bench.client.rpush(bench.keys.parked("shop/b1"), b"x")


def lost_recipient(bench: LedgerBench) -> None:
    bench.hands().admit(job(["a"]))
    bench.client.hincrby(bench.keys.totals, "queued", -1)


@pytest.mark.parametrize(
    ("break_it", "complaint"),
    [
        (dead_worker, "has no lease any more and is not cleaned up, 1 jobs in hand"),
        (jobs_without_workers, "1 jobs wait and no worker lives"),
        (overdue_retry, "1 jobs that were put aside are overdue"),
        (unfinished_sweep, "cancel of batch shop/b1 is not finished"),
        (unknown_hand, "1 jobs lie in the hand of 99, whom nobody knows"),
        (slices_without_ticket, "1 slices of batch shop/b1 wait and no ticket goes round"),
        (lost_ticket, "2 slices of batch shop/b1 wait and no ticket goes round"),
        (forgotten_parked_job, "1 jobs of batch shop/b1 are parked though it is not paused"),
        (lost_recipient, "+1 recipients are in no state"),
    ],
)
def test_what_is_wrong_is_named(
    real_bench: LedgerBench, break_it: Callable[[LedgerBench], None], complaint: str
) -> None:
    """Each thing that can be wrong is the one complaint, and comes with advice."""
    break_it(real_bench)

    assert [what for what in complaints(real_bench) if complaint in what] == complaints(real_bench) != []
    assert all(each.advice for each in diagnose(real_bench.client, real_bench.keys))
