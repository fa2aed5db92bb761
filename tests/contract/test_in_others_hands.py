"""
Whoever ends a job sees to those whom another worker has in hand: after a failover no other job may be left.

A failover puts a job back while its worker, whose lease lives, still claims from it.
"""

from __future__ import annotations

import pytest

from mailerd.outcome import Kind
from mailerd.queue.actions import Actions
from mailerd.queue.keys import Batch
from mailerd.queue.model import Action
from mailerd.queue.payloads import Ticket
from rigs.ledger_bench import Hands, LedgerBench, booking, contacts, job

ENDS = [Kind.WITHHELD, Kind.FAILED, Kind.INVALID, Kind.SUPPRESSED, Kind.EXPIRED]
SMALL = b"mailerd slice shop/b1\nc0"


def in_two_hands(bench: LedgerBench) -> tuple[Hands, Hands, Batch]:
    """One claims from a job that only the other has in its list."""
    first, other = bench.hands(), bench.hands()
    bench.push(job(["c0", "c1"]))
    other.took()
    batch = first.admit(job(["c0", "c1"]))
    assert first.claim(batch, "c0") == ["claimed"]
    return first, other, batch


def cancel(bench: LedgerBench) -> None:
    Actions(bench.client, bench.keys).act(Action.CANCEL, "shop", "b1")
    bench.upkeep.sweep()


@pytest.mark.parametrize("kind", ENDS)
def test_whom_another_has_in_hand_gets_a_small_job_when_the_job_ends(bench: LedgerBench, kind: Kind) -> None:
    """Cancelled, given up, gone or expired: the claim stays, and a small job comes back after a lease."""
    first, other, batch = in_two_hands(bench)

    other.mark(batch, booking("c0", kind), booking("c1", kind))

    assert bench.states()["c0"] == "sending"
    assert bench.put_aside() == [SMALL]
    assert bench.upkeep.promote() == 0
    bench.make_due()
    assert bench.upkeep.promote() == 1
    first.die()
    assert other.claim(batch, "c0") == ["unknown"]
    bench.assert_conserved()


def test_a_cancelled_batch_ends_though_its_last_claimant_is_gone(bench: LedgerBench) -> None:
    """Its host gone for good, nobody is left ``sending``: once its lease has lapsed the small job says so."""
    first, other, batch = in_two_hands(bench)
    cancel(bench)
    other.mark(batch, booking("c0", Kind.WITHHELD), booking("c1", Kind.WITHHELD))
    bench.client.delete(bench.keys.hand(other.incarnation))
    first.die()

    bench.make_due()
    bench.upkeep.promote()
    assert other.took().raw == SMALL
    other.mark(batch, booking("c0", Kind.WITHHELD))

    assert bench.counts() == {"cancelled": 1, "unknown": 1}
    assert bench.put_aside() == []
    bench.assert_conserved()


def test_who_is_settled_or_waits_gets_no_small_job(bench: LedgerBench) -> None:
    """Nor whoever is in the own hand, nor by the word of one whose lease has lapsed: that ends no job."""
    first, other, batch = in_two_hands(bench)

    first.mark(batch, booking("c1", Kind.INVALID))
    other.die()
    other.mark(batch, booking("c0", Kind.WITHHELD))
    first.mark(batch, booking("c0", Kind.SENT))

    assert bench.put_aside() == []


def test_slices_of_a_cancelled_batch_stay_while_anybody_is_in_hand(bench: LedgerBench) -> None:
    """One that a failover has put back may be the only job of those whom its worker claims from it."""
    first, other = bench.hands(), bench.hands()
    batch = first.admit(job(contacts(30)), slice_size=10)
    first.claim(batch, "c15")
    cancel(bench)

    other.took()
    assert b"c0" in (other.ledger.draw(Ticket("shop", "b1")) or b"")
    first.mark(batch, booking("c15", Kind.SENT))
    other.took()

    assert other.ledger.draw(Ticket("shop", "b1")) is None
    assert bench.tickets() == 0
    bench.assert_conserved()
