"""Whoever may have the mail from an earlier hand-over never ends as one who got none: that is unknown."""

from __future__ import annotations

import pytest

from mailerd.board import Answered
from mailerd.outcome import Kind, RetryPolicy
from mailerd.queue.actions import Actions
from mailerd.queue.answers import Booking
from mailerd.queue.eras import replay
from mailerd.queue.keys import Batch
from mailerd.queue.model import Action, Resolution
from mailerd.work.janitor import NO_ANSWER
from rigs.ledger_bench import REASON, Hands, LedgerBench, booking, job

NO_MAIL = [Kind.FAILED, Kind.INVALID, Kind.SUPPRESSED, Kind.EXPIRED, Kind.DISCARDED]
RELEASED = [Kind.WITHHELD, Kind.BLOCKED, Kind.DEFERRED]
NOW = 4e9  # after everything that the server has noted


def lost(contact: str) -> Booking:
    """A lost answer as ``mail.unknown = "resend"`` has it booked."""
    booked, delay = RetryPolicy((60,), 86_400, resend=True).after(NO_ANSWER, 0, 0.0, chance=0.0)
    return Booking(contact, booked, delay)


def cancel(bench: LedgerBench) -> None:
    Actions(bench.client, bench.keys).act(Action.CANCEL, "shop", "b1")
    bench.upkeep.sweep()


def resent(bench: LedgerBench, *who: str) -> tuple[Hands, Batch]:
    """These have had an answer lost, and are in hand again under resend."""
    worker = bench.hands()
    batch = worker.admit(job(who))
    worker.claim(batch, *who, resend=True)
    worker.mark(batch, *map(lost, who))
    assert worker.claim(batch, *who, retry=True, resend=True) == ["claimed"] * len(who)
    return worker, batch


def taken_over(bench: LedgerBench) -> tuple[Hands, Hands, Batch]:
    """A dead incarnation and the one that has ``a`` from it under resend."""
    dead = bench.hands()
    batch = dead.admit(job(["a"]))
    dead.claim(batch, "a", resend=True)
    dead.die()
    worker = bench.hands()
    assert worker.claim(batch, "a", resend=True) == ["claimed"]
    return dead, worker, batch


def test_whose_answer_was_lost_is_unknown_when_the_batch_is_cancelled(bench: LedgerBench) -> None:
    """It was to be sent again; then nobody may say that it got nothing."""
    worker = bench.hands()
    batch = worker.admit(job(["a", "b"]))
    worker.claim(batch, "a", "b", resend=True)
    worker.mark(batch, lost("a"), booking("b", Kind.DEFERRED))
    assert bench.counts() == {"deferred": 2}

    cancel(bench)

    assert bench.states() == {"a": "unknown", "b": "cancelled"}
    bench.assert_conserved()


def test_whose_answer_is_lost_after_the_cancel_is_unknown(bench: LedgerBench) -> None:
    """It was in hand when the word came."""
    worker = bench.hands()
    batch = worker.admit(job(["a"]))
    worker.claim(batch, "a", resend=True)
    cancel(bench)

    worker.mark(batch, lost("a"))

    assert bench.states() == {"a": "unknown"}
    assert bench.put_aside() == []
    bench.assert_conserved()


@pytest.mark.parametrize("kind", NO_MAIL)
def test_a_later_no_does_not_take_the_earlier_hand_over_back(bench: LedgerBench, kind: Kind) -> None:
    """Refused, gone or too late at the second time: the first may have arrived all the same."""
    worker, batch = resent(bench, "a")

    worker.mark(batch, booking("a", kind))

    assert bench.states() == {"a": "unknown"}
    assert worker.mark(batch, booking("a", Kind.SENT)) == 1
    bench.assert_conserved()


@pytest.mark.parametrize("kind", RELEASED)
def test_the_doubt_outlives_whatever_puts_the_recipient_off(bench: LedgerBench, kind: Kind) -> None:
    """Released, blocked, deferred, claimed once more: it is not forgotten, and a 250 ends it."""
    worker, batch = resent(bench, "a", "b")
    for _ in range(2):
        worker.mark(batch, booking("a", kind), booking("b", kind))
        worker.claim(batch, "a", "b", retry=True, resend=True)
    worker.mark(batch, booking("b", Kind.SENT))
    worker.mark(batch, booking("a", kind))

    cancel(bench)

    assert bench.states() == {"a": "unknown", "b": "sent"}
    bench.assert_conserved()


def test_whom_a_dead_one_had_in_hand_is_in_doubt_until_its_board_tells(bench: LedgerBench) -> None:
    """Taken over and released, then cancelled: unknown, until the board says never begun."""
    dead, worker, batch = taken_over(bench)
    worker.mark(batch, booking("a", Kind.WITHHELD))
    cancel(bench)
    assert bench.states() == {"a": "unknown"}

    dead.mark(batch, booking("a", Kind.WITHHELD))

    assert bench.states() == {"a": "cancelled"}
    bench.assert_conserved()


@pytest.mark.parametrize(
    ("kind", "ends"),
    [(Kind.WITHHELD, "failed"), (Kind.DEFERRED, "failed"), (Kind.UNKNOWN, "unknown"), (Kind.SENT, "sent")],
)
def test_a_board_s_word_counts_also_while_another_has_the_recipient(
    bench: LedgerBench, kind: Kind, ends: str
) -> None:
    """Never begun or refused ends the doubt, a lost answer makes it certain."""
    dead, worker, batch = taken_over(bench)

    dead.mark(batch, lost("a") if kind is Kind.UNKNOWN else booking("a", kind))
    worker.mark(batch, booking("a", Kind.FAILED))

    assert bench.states() == {"a": ends}
    bench.assert_conserved()


def test_a_word_of_one_does_not_end_the_doubt_of_two(bench: LedgerBench) -> None:
    """Two died with the recipient in hand: that one had not begun says nothing of the other."""
    dead, other, batch = taken_over(bench)
    other.die()
    worker = bench.hands()
    worker.claim(batch, "a", resend=True)

    dead.mark(batch, booking("a", Kind.WITHHELD))
    worker.mark(batch, booking("a", Kind.FAILED))

    assert bench.states() == {"a": "unknown"}
    bench.assert_conserved()


def test_whom_an_operator_sends_again_may_have_the_first_mail(bench: LedgerBench) -> None:
    """Resolved as resend, then cancelled before it was sent: unknown as before."""
    worker = bench.hands()
    batch = worker.admit(job(["a", "b"]))
    worker.claim(batch, "a", "b")
    worker.mark(batch, booking("a", Kind.UNKNOWN), booking("b", Kind.SENT))
    assert bench.unknowns.resolve("shop", "b1", ["a"], Resolution.RESEND) == 1

    cancel(bench)

    assert bench.states() == {"a": "unknown", "b": "sent"}
    bench.assert_conserved()


def told(bench: LedgerBench, hands: Hands, kind: Kind) -> int:
    return replay(bench.client, bench.keys, [Answered(NOW, hands.incarnation, "shop", "b1", (("a", kind),))])


@pytest.mark.parametrize(("kind", "ends"), [(Kind.WITHHELD, "cancelled"), (Kind.UNKNOWN, "unknown")])
def test_a_ring_tells_of_a_doubt(bench: LedgerBench, kind: Kind, ends: str) -> None:
    """After a failover, too, a dead one's word counts for whom another has taken over."""
    dead, worker, batch = taken_over(bench)
    worker.mark(batch, booking("a", Kind.WITHHELD))

    told(bench, dead, kind)

    assert bench.states() == {"a": "queued"}
    cancel(bench)
    assert bench.states() == {"a": ends}
    bench.assert_conserved()


def test_a_ring_that_tells_of_a_known_doubt_changes_nothing(bench: LedgerBench) -> None:
    """Whoever is due again for a lost answer is not unknown because that answer is told of once more."""
    worker = bench.hands()
    batch = worker.admit(job(["a"]))
    worker.claim(batch, "a", resend=True)
    worker.mark(batch, lost("a"))

    assert told(bench, worker, Kind.UNKNOWN) == 0

    assert bench.states() == {"a": "deferred"}
    bench.assert_conserved()


def test_a_ring_s_release_does_not_forget_a_doubt(bench: LedgerBench) -> None:
    """A claim that came to nothing leaves what was before it."""
    worker, _ = resent(bench, "a")
    cancel(bench)

    assert told(bench, worker, Kind.WITHHELD) == 1

    assert bench.states() == {"a": "unknown"}
    bench.assert_conserved()


def test_the_doubt_costs_a_byte(bench: LedgerBench) -> None:
    """A row says it with one character."""
    worker = bench.hands()
    batch = worker.admit(job(["a", "b"]))
    worker.claim(batch, "a", "b", resend=True)
    worker.mark(batch, lost("a"), Booking("b", booking("b", Kind.DEFERRED, REASON).outcome, 60))

    rows = bench.rows()
    assert len(rows["a"]) == len(rows["b"]) + 1
