"""The ledger's scripts: each answer, each repeat, and the sums that must hold after each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mailerd.errors import LeaseLost
from mailerd.outcome import Kind
from mailerd.queue.answers import Claimed, Halt, OpenBatch, Opening
from mailerd.queue.claims import Claim
from mailerd.queue.keys import Batch
from mailerd.queue.ledger import known_batch
from mailerd.queue.payloads import Slice, Ticket, job_id, parse
from mailerd.queue.upkeep import Blame
from rigs.ledger_bench import Hands, LedgerBench, booking, contacts, job

MEGABYTE = 2**20


def admitted(bench: LedgerBench, count: int = 3) -> tuple[Hands, Batch]:
    """A worker with a batch whose contacts are admitted and queued."""
    worker = bench.hands()
    return worker, worker.admit(job(contacts(count)))


# open


def test_a_foreign_job_registers_its_batch_once(bench: LedgerBench) -> None:
    """The first job fixes template, variables and buckets; opening it again is the same."""
    worker, first = bench.hands(), job(contacts(70), variables={"b": 1, "a": 2})

    opened = worker.open(first)
    again = worker.open(first)

    assert opened == again
    assert opened == OpenBatch(Batch("shop", "b1", 1), "welcome", '{"a":2,"b":1}', "", 0, agrees=True)
    assert [view.batch_id for view in bench.batches.newest(10)] == ["b1"]
    assert bench.record()["recipients"] == "0"


def test_a_job_that_disagrees_is_told_so(bench: LedgerBench) -> None:
    """Another template or other variables do not agree; other contacts do."""
    worker = bench.hands()
    worker.open(job(["a"], variables={"x": 1}))

    assert worker.open(job(["b"], variables={"x": 1})).agrees
    assert not worker.open(job(["a"], variables={"x": 2})).agrees
    assert not worker.open(job(["a"], template="other", variables={"x": 1})).agrees


def test_a_slice_of_an_unknown_batch_registers_nothing(bench: LedgerBench) -> None:
    """A forged or ancient slice finds no batch and makes none."""
    worker = bench.hands()

    assert worker.ledger.open_slice("shop", "b1", "jid") is Opening.GONE
    assert not bench.record()
    assert bench.batches.newest(10) == []


def test_a_batch_behind_a_tombstone_stays_ended(bench: LedgerBench) -> None:
    """A late foreign job of a deleted batch does not bring it back."""
    bench.client.set(bench.keys.tombstone("shop/b1"), "- 3")
    late = job(["a"])

    assert bench.hands().ledger.open_job(late, "jid", 1) is Opening.ENDED
    assert not bench.record()


def test_open_tells_how_many_died_with_the_job(real_bench: LedgerBench) -> None:
    """The count of deaths is the one of this job's bytes. Reaping hashes in Lua, which fakeredis cannot."""
    bench = real_bench
    bench.push(job(["a"]))
    for _ in range(2):
        worker = bench.hands()
        worker.took()
        worker.die()
        bench.upkeep.reap(worker.incarnation, Blame.SEEN_TO_DIE)

    worker = bench.hands()
    assert worker.open(job(["a"])).deaths == 2
    assert worker.open(job(["b"])).deaths == 0


# admit


def test_admitting_makes_rows_and_counts_the_new_ones(bench: LedgerBench) -> None:
    """Each contact gets one row, whichever job brings it."""
    worker, batch = admitted(bench)
    assert bench.counts() == {"queued": 3}

    worker.admit(job(contacts(3, start=1)))

    assert bench.states() == dict.fromkeys(contacts(4), "queued")
    assert batch.buckets == 0
    bench.assert_conserved()


def test_admitting_again_changes_nothing(bench: LedgerBench) -> None:
    """A repeat after a lost answer, or a redelivery, moves neither cursor nor counters."""
    worker, one = bench.hands(), job(contacts(3))
    batch, jid = worker.open(one).batch, job_id(one.to_json())
    assert worker.ledger.admit(batch, jid, 0, one.contact_ids, 0)[:2] == (3, 3)
    before = bench.record()

    assert worker.ledger.admit(batch, jid, 0, one.contact_ids, 0)[:2] == (3, 0)

    assert bench.record() == before
    assert bench.client.hget(bench.keys.jobs, f"{jid}:cursor") == b"3"


def test_a_moved_cursor_is_answered_with_its_place(bench: LedgerBench) -> None:
    """A cutter that somebody overtook learns where to go on, and nothing is cut twice."""
    worker, one = bench.hands(), job(contacts(30))
    batch, jid = worker.open(one).batch, job_id(one.to_json())
    worker.ledger.admit(batch, jid, 0, one.contact_ids[:20], 10)

    assert worker.ledger.admit(batch, jid, 0, one.contact_ids[:10], 10) == (20, 0, True)
    assert worker.ledger.admit(batch, jid, 10, one.contact_ids[10:20], 10) == (20, 0, False)

    assert bench.client.llen(bench.keys.side("shop/b1")) == 2


def test_cutting_pushes_slices_of_the_new_ones_and_one_ticket(bench: LedgerBench) -> None:
    """A long job becomes slices that hold only what it added, and one ticket however often it is cut."""
    worker = bench.hands()
    worker.admit(job(contacts(5)))

    worker.admit(job(contacts(28)), slice_size=10)
    worker.admit(job(contacts(40)), slice_size=10)

    side = bench.client.lrange(bench.keys.side("shop/b1"), 0, -1)
    slices = [parse(raw, MEGABYTE) for raw in side]
    assert [len(part.contact_ids) for part in slices if isinstance(part, Slice)] == [10, 10, 3, 10, 2]
    cut = [contact for part in slices if isinstance(part, Slice) for contact in part.contact_ids]
    assert cut == contacts(35, start=5)
    assert bench.queue() == [b"mailerd ticket shop/b1"]
    bench.assert_conserved()


def test_a_job_that_adds_nobody_leaves_no_ticket(bench: LedgerBench) -> None:
    """Cutting a job whose contacts are all known pushes neither slices nor a ticket."""
    worker = bench.hands()
    worker.admit(job(contacts(20)))

    worker.admit(job(reversed(contacts(20))), slice_size=10)

    assert bench.queue() == []
    assert not bench.client.exists(bench.keys.side("shop/b1"))


def test_each_pushed_job_has_one_first_delivery(real_bench: LedgerBench) -> None:
    """A job that comes back after its admission is no first one; the same bytes pushed twice are two."""
    bench, one = real_bench, job(contacts(3))
    jid = job_id(one.to_json())
    bench.push(one, one)
    worker, other = bench.hands(), bench.hands()
    batch = worker.open(one).batch
    worker.claims.give_back(worker.took())  # before it was admitted

    claim = worker.took()
    assert worker.ledger.admit(batch, jid, 0, one.contact_ids, 0) == (3, 3, True)
    other.took()
    assert other.ledger.admit(batch, jid, 0, one.contact_ids, 0) == (3, 0, True)

    worker.claims.give_back(claim)
    worker.took()
    assert worker.ledger.admit(batch, jid, 0, one.contact_ids, 0) == (3, 0, False)
    other.die()
    assert bench.upkeep.reap(other.incarnation, Blame.SEEN_TO_DIE) == 1
    other = bench.hands()
    other.took()
    assert other.ledger.admit(batch, jid, 0, one.contact_ids, 0) == (3, 0, False)


def test_a_promise_is_kept_once(bench: LedgerBench) -> None:
    """The recipients of an enqueued batch are counted before they are admitted, and never twice."""
    one = job(contacts(5))
    bench.enqueuer().enqueue(one, "request")
    bench.assert_conserved()
    assert bench.counts() == {"queued": 5}
    worker = bench.hands()

    for _ in range(2):
        worker.admit(one)
        bench.assert_conserved()
        assert bench.counts() == {"queued": 5}


def test_a_promise_overlapped_by_a_foreign_job_comes_out_right(bench: LedgerBench) -> None:
    """Contacts that a foreign job admitted first are counted twice only until the promise is kept."""
    one = job(contacts(5))
    bench.enqueuer().enqueue(one, "request")
    worker = bench.hands()

    worker.admit(job(contacts(5, start=3)))
    bench.assert_conserved()
    assert int(bench.record()["recipients"]) == 10

    worker.admit(one)
    bench.assert_conserved()
    assert int(bench.record()["recipients"]) == 8


def test_a_batch_whose_promise_is_open_is_not_ended(bench: LedgerBench) -> None:
    """A foreign job that is all sent does not end a batch whose enqueued job still waits."""
    bench.enqueuer().enqueue(job(["a"]), "request")
    worker = bench.hands()
    batch = worker.admit(job(["b"]))
    worker.claim(batch, "b")

    worker.mark(batch, booking("b", Kind.SENT))

    assert "finished" not in bench.record()
    bench.assert_conserved()


# claim


@pytest.mark.covers("mail-19")
def test_a_claim_is_answered_for_each_recipient(bench: LedgerBench) -> None:
    """Free: claimed. Again, after a lost answer: claimed. Another's: busy. No row: missing."""
    worker, batch = admitted(bench)
    other = bench.hands()

    assert worker.claim(batch, "c0", "c1") == ["claimed", "claimed"]
    assert worker.claim(batch, "c0", "c1") == ["claimed", "claimed"]
    assert other.claim(batch, "c0", "c2", "nobody") == ["busy", "claimed", "missing"]

    assert bench.counts() == {"sending": 3}
    bench.assert_conserved()


@pytest.mark.covers("mail-3")
def test_a_settled_recipient_is_not_claimed(bench: LedgerBench) -> None:
    """No final state is ever opened by a claim, in no policy."""
    kinds = [Kind.SENT, Kind.FAILED, Kind.INVALID, Kind.SUPPRESSED, Kind.EXPIRED, Kind.DISCARDED]
    worker, batch = admitted(bench, len(kinds))
    worker.claim(batch, *contacts(len(kinds)))
    worker.mark(batch, *[booking(f"c{number}", kind) for number, kind in enumerate(kinds)])

    assert worker.claim(batch, *contacts(6), retry=True, resend=True) == ["settled"] * 6

    assert bench.counts() == {
        "sent": 1,
        "failed": 1,
        "invalid": 1,
        "suppressed": 1,
        "expired": 1,
        "discarded": 1,
    }
    bench.assert_conserved()


@pytest.mark.covers("mail-17", "queues-36")
def test_what_a_dead_incarnation_had_in_hand_is_unknown_under_hold(bench: LedgerBench) -> None:
    """Nobody knows whether it was handed over: under hold it is unknown, and stays so."""
    dead, batch = admitted(bench)
    dead.claim(batch, "c0", "c1")
    dead.die()
    worker = bench.hands()

    for _ in range(2):
        assert worker.claim(batch, *contacts(3)) == ["unknown", "unknown", "claimed"]
        assert bench.counts() == {"unknown": 2, "sending": 1}
        bench.assert_conserved()


def test_what_a_dead_incarnation_had_in_hand_is_sent_again_under_resend(bench: LedgerBench) -> None:
    """Under resend it is claimed by the next, and so is one that is unknown already."""
    dead, batch = admitted(bench, 2)
    dead.claim(batch, "c0", "c1")
    dead.die()
    worker = bench.hands()
    assert worker.claim(batch, "c0") == ["unknown"]

    assert worker.claim(batch, "c0", "c1", resend=True) == ["claimed", "claimed"]

    assert bench.counts() == {"sending": 2}
    bench.assert_conserved()


def test_a_deferred_recipient_is_left_to_its_own_small_job(bench: LedgerBench) -> None:
    """Other jobs leave it; its own job claims it and hears of its attempts."""
    worker, batch = admitted(bench, 1)
    worker.claim(batch, "c0")
    worker.mark(batch, booking("c0", Kind.DEFERRED))

    assert worker.claim(batch, "c0") == ["deferred"]
    [answer] = worker.ledger.claim(batch, ["c0"], retry=True, resend=False) or []

    assert (answer.claimed, answer.attempts) == (Claimed.CLAIMED, 1)
    bench.assert_conserved()


def test_the_age_counts_from_the_first_deferral(bench: LedgerBench) -> None:
    """Further deferrals and releases keep the time of the first and the number of attempts."""
    worker, batch = admitted(bench, 1)
    bench.client.hset(bench.keys.batch("shop/b1"), ":c0", "d10,1,4,10")
    bench.client.hincrby(bench.keys.batch("shop/b1"), "created", -100_000)
    for counters in (bench.keys.batch("shop/b1"), bench.keys.totals):
        bench.client.hincrby(counters, "queued", -1)
        bench.client.hincrby(counters, "deferred", 1)

    for attempts, kind in [(4, Kind.WITHHELD), (4, Kind.DEFERRED), (5, Kind.BLOCKED), (5, Kind.DEFERRED)]:
        [answer] = worker.ledger.claim(batch, ["c0"], retry=True, resend=False) or []
        assert answer.attempts == attempts
        assert 90 <= answer.age <= 91
        worker.mark(batch, booking("c0", kind))
        bench.assert_conserved()


def test_an_expired_batch_claims_nobody(bench: LedgerBench) -> None:
    """After expires_at nobody is claimed; what is booked for the open ones is up to the caller."""
    worker = bench.hands()
    batch = worker.admit(job(["a"], expires_at=datetime.now(UTC) - timedelta(seconds=1)))

    assert worker.claim(batch, "a") is Halt.EXPIRED

    worker.mark(batch, booking("a", Kind.EXPIRED))
    assert bench.counts() == {"expired": 1}
    bench.assert_conserved()


def test_a_batch_that_expires_later_is_claimed(bench: LedgerBench) -> None:
    """Before expires_at it makes no difference."""
    worker = bench.hands()
    batch = worker.admit(job(["a"], expires_at=datetime.now(UTC) + timedelta(hours=1)))

    assert worker.claim(batch, "a") == ["claimed"]


# mark


FINAL = [Kind.SENT, Kind.FAILED, Kind.INVALID, Kind.SUPPRESSED, Kind.EXPIRED, Kind.DISCARDED]


@pytest.mark.parametrize("kind", FINAL)
@pytest.mark.covers("queues-33")
def test_a_final_outcome_is_booked_once(bench: LedgerBench, kind: Kind) -> None:
    """A repeat changes nothing, nor does any later outcome; the last one ends the batch."""
    worker, batch = admitted(bench, 1)
    worker.claim(batch, "c0")

    assert worker.mark(batch, booking("c0", kind)) == 1
    before = bench.record()
    assert "finished" in before

    for later in Kind:
        assert worker.mark(batch, booking("c0", later)) == 0
    assert bench.record() == before
    assert bench.put_aside() == []
    bench.assert_conserved()


def test_a_reason_is_kept_for_whoever_asks(bench: LedgerBench) -> None:
    """The recipient's reason is the one that was booked, cut to its longest length."""
    worker, batch = admitted(bench, 2)
    worker.claim(batch, "c0", "c1")

    worker.mark(batch, booking("c0", Kind.FAILED, "550 gone"), booking("c1", Kind.DEFERRED, "x" * 300))

    reasons = {row.contact_id: row.reason for row in bench.batches.recipients("shop", "b1")}
    assert reasons == {"c0": "550 gone", "c1": "x" * 200}


def test_too_many_reasons_share_one(bench: LedgerBench) -> None:
    """A server that words each refusal differently does not grow the batch's record without end."""
    worker, batch = admitted(bench, 520)
    for number in range(520):
        worker.mark(batch, booking(f"c{number}", Kind.FAILED, f"reason {number}"))

    reasons = [field for field in bench.record() if field.startswith("why:")]
    assert len(reasons) == 501
    assert sum(row.reason.startswith("other") for row in bench.batches.recipients("shop", "b1")) == 20
    bench.assert_conserved()


def test_deferred_ones_become_one_small_job_for_each_delay(bench: LedgerBench) -> None:
    """They come back together when due, once, however often the booking is repeated."""
    worker, batch = admitted(bench, 4)
    worker.claim(batch, *contacts(4))
    bookings = [booking(f"c{number}", Kind.DEFERRED, delay=3600.0 * (number % 2)) for number in range(3)]

    assert worker.mark(batch, *bookings, booking("c3", Kind.SENT)) == 4
    assert worker.mark(batch, *bookings, booking("c3", Kind.SENT)) == 0

    assert bench.put_aside() == [b"mailerd retry shop/b1\nc0\nc2", b"mailerd retry shop/b1\nc1"]
    assert bench.upkeep.promote() == 1
    assert bench.queue() == [b"mailerd retry shop/b1\nc0\nc2"]
    bench.assert_conserved()


@pytest.mark.parametrize("kind", [Kind.WITHHELD, Kind.BLOCKED])
def test_a_claim_that_led_to_nothing_is_released(bench: LedgerBench, kind: Kind) -> None:
    """It is queued as before, its job is still in hand, so it gets no job of its own."""
    worker, batch = admitted(bench, 1)
    worker.claim(batch, "c0")

    assert worker.mark(batch, booking("c0", kind)) == 1
    assert worker.mark(batch, booking("c0", kind)) == 0

    assert bench.states() == {"c0": "queued"}
    assert bench.put_aside() == []
    bench.assert_conserved()


def test_what_was_sent_is_booked_whoever_asks(bench: LedgerBench) -> None:
    """A zombie's late 250 settles what others took for unknown, claimed again or released."""
    zombie, batch = admitted(bench, 4)
    zombie.claim(batch, *contacts(4))
    zombie.die()
    worker = bench.hands()
    worker.claim(batch, "c0")
    worker.claim(batch, "c1", resend=True)
    zombie.mark(batch, booking("c2", Kind.WITHHELD))

    for contact in contacts(4):
        assert zombie.mark(batch, booking(contact, Kind.SENT)) == 1
        bench.assert_conserved()

    assert bench.counts() == {"sent": 4}


def test_a_zombie_books_nothing_that_is_not_its_own(bench: LedgerBench) -> None:
    """Without its lease an incarnation settles only what it had claimed and nobody claimed since."""
    zombie, batch = admitted(bench, 2)
    zombie.claim(batch, "c0")
    zombie.die()
    bench.hands().claim(batch, "c0", resend=True)

    for kind in set(Kind) - {Kind.SENT}:
        assert zombie.mark(batch, booking("c0", kind), booking("c1", kind)) == 0

    assert bench.states() == {"c0": "sending", "c1": "queued"}
    bench.assert_conserved()


def test_nobody_settles_what_a_living_worker_has_in_hand(bench: LedgerBench) -> None:
    """A job that finds a contact gone meanwhile leaves it to the worker that is handing it over."""
    worker, batch = admitted(bench, 1)
    worker.claim(batch, "c0")

    assert bench.hands().mark(batch, booking("c0", Kind.INVALID)) == 0

    assert bench.states() == {"c0": "sending"}


@pytest.mark.parametrize("kind", [Kind.INVALID, Kind.SUPPRESSED, Kind.FAILED, Kind.EXPIRED, Kind.DISCARDED])
@pytest.mark.covers("mail-17")
def test_nobody_is_left_in_a_dead_workers_hand(bench: LedgerBench, kind: Kind) -> None:
    """Whom a dead host had in hand and who cannot be written to now is unknown, not in hand for ever."""
    dead, batch = admitted(bench, 1)
    dead.claim(batch, "c0")
    dead.die()
    worker = bench.hands()

    worker.mark(batch, booking("c0", kind))
    worker.mark(batch, booking("c0", kind))

    assert bench.counts() == {"unknown": 1}
    bench.assert_conserved()
    assert dead.mark(batch, booking("c0", Kind.WITHHELD)) == 1
    assert bench.put_aside() == [b"mailerd slice shop/b1\nc0"]


def test_unknown_that_turns_out_never_begun_is_queued_with_a_job_of_its_own(bench: LedgerBench) -> None:
    """Its job has gone on without it, so the script that releases it gives it one, once."""
    dead, batch = admitted(bench, 3)
    dead.claim(batch, *contacts(3))
    dead.die()
    bench.hands().claim(batch, *contacts(3))
    found = [booking("c0", Kind.WITHHELD), booking("c1", Kind.UNKNOWN), booking("c2", Kind.SENT)]

    assert dead.mark(batch, *found) == 2
    assert dead.mark(batch, *found) == 0

    assert bench.states() == {"c0": "queued", "c1": "unknown", "c2": "sent"}
    bench.upkeep.promote()
    assert bench.queue() == [b"mailerd slice shop/b1\nc0"]
    bench.assert_conserved()


@pytest.mark.parametrize("kind", [Kind.WITHHELD, Kind.FAILED, Kind.INVALID, Kind.UNKNOWN])
def test_who_is_unknown_since_no_answer_came_stays_so(bench: LedgerBench, kind: Kind) -> None:
    """
    Handed over without an answer, and met again in another job of the batch: whatever that job comes to.

    Its worker may die with them on its board, lose its lease, or find the batch cancelled.
    """
    worker, batch = admitted(bench, 1)
    worker.claim(batch, "c0")
    worker.mark(batch, booking("c0", Kind.UNKNOWN))
    assert worker.claim(batch, "c0") == ["unknown"]

    assert worker.mark(batch, booking("c0", kind)) == 0
    worker.die()
    assert worker.mark(batch, booking("c0", kind)) == 0

    assert bench.counts() == {"unknown": 1}
    assert bench.put_aside() == []
    assert worker.mark(batch, booking("c0", Kind.SENT)) == 1
    bench.assert_conserved()


def test_a_dead_workers_remains_are_booked_in_its_name(bench: LedgerBench) -> None:
    """Claimed: released without a job of its own. Handed over: unknown. With an outcome: booked."""
    dead, batch = admitted(bench, 5)
    dead.claim(batch, *contacts(4))
    dead.die()
    found = [
        booking("c0", Kind.WITHHELD),
        booking("c1", Kind.UNKNOWN),
        booking("c2", Kind.FAILED),
        booking("c3", Kind.DEFERRED),
        booking("c4", Kind.WITHHELD),  # noted on the board, and dead before it was claimed
    ]

    assert dead.mark(batch, *found) == 4
    assert dead.mark(batch, *found) == 0

    assert list(bench.states().values()) == ["queued", "unknown", "failed", "deferred", "queued"]
    assert bench.put_aside() == [b"mailerd retry shop/b1\nc3"]
    bench.assert_conserved()


def test_who_was_never_handed_over_is_not_unknown(bench: LedgerBench) -> None:
    """Only what was claimed can become unknown."""
    worker, batch = admitted(bench, 1)

    assert worker.mark(batch, booking("c0", Kind.UNKNOWN)) == 0
    assert bench.states() == {"c0": "queued"}


def test_settling_somebody_starts_the_count_of_deaths_over(real_bench: LedgerBench) -> None:
    """A job that gets on is no poison. Reaping hashes in Lua, which fakeredis cannot."""
    bench, one = real_bench, job(contacts(2))
    jid = job_id(one.to_json())
    bench.push(one)
    dead = bench.hands()
    dead.took()
    dead.die()
    bench.upkeep.reap(dead.incarnation, Blame.SEEN_TO_DIE)
    worker = bench.hands()
    batch = worker.admit(one)
    assert worker.open(one).deaths == 1

    worker.claim(batch, "c0")
    worker.mark(batch, booking("c0", Kind.SENT), jid=jid)

    assert worker.open(one).deaths == 0


def test_a_row_of_an_unknown_contact_is_not_made(bench: LedgerBench) -> None:
    """Booking for a contact that the batch does not have changes nothing."""
    worker, batch = admitted(bench, 1)
    before = bench.record()

    for kind in Kind:
        assert worker.mark(batch, booking("nobody", kind)) == 0

    assert bench.record() == before
    assert bench.put_aside() == []


# the lease stands before everything


def test_without_its_lease_an_incarnation_does_nothing_new(bench: LedgerBench) -> None:
    """Every script but mark says that the lease is lost, and leaves everything as it was."""
    one = job(contacts(20))
    worker = bench.hands()
    batch = worker.admit(one, slice_size=10)
    worker.took()
    worker.die()
    before = {key: bench.client.dump(key) for key in bench.client.scan_iter()}

    for call in (
        lambda: worker.open(one),
        lambda: worker.ledger.open_slice("shop", "b1", "jid"),
        lambda: worker.ledger.admit(batch, "jid", 0, ["x"], 0),
        lambda: worker.ledger.claim(batch, ["c0"], retry=False, resend=False),
        lambda: worker.ledger.draw(Ticket("shop", "b1")),
        lambda: worker.ledger.pin(batch, "digest", b"packed", "hold"),
    ):
        with pytest.raises(LeaseLost):
            call()

    assert {key: bench.client.dump(key) for key in bench.client.scan_iter()} == before


# draw


def test_a_ticket_draws_slice_after_slice_from_the_tail(bench: LedgerBench) -> None:
    """Each draw leaves a slice in hand and the ticket behind the other jobs; the last leaves no ticket."""
    worker = bench.hands()
    worker.admit(job(contacts(25)), slice_size=10)
    bench.push(job(["other"], "b2"))
    ticket = Ticket("shop", "b1")

    drawn = []
    for tickets, waiting in [(1, "other"), (1, "other"), (0, "other")]:
        claim = worker.took()
        assert claim.raw == ticket.to_bytes()
        raw = worker.ledger.draw(ticket)
        assert raw is not None
        assert bench.hand(worker) == [raw]
        assert bench.tickets() == tickets
        assert waiting.encode() in bench.queue()[0]
        drawn.append(raw.count(b"\n"))
        worker.claims.ack(Claim(raw, job_id(raw), worker.incarnation))
        bench.push(bench.client.rpop(bench.keys.queue))  # the other job's turn is over

    assert drawn == [10, 10, 5]
    assert "ticket" not in bench.record()
    assert not bench.client.exists(bench.keys.side("shop/b1"))


def test_a_draw_whose_answer_was_lost_leaves_its_slice_in_hand(bench: LedgerBench) -> None:
    """The repeat draws nothing more; the slice is found by the next look into the hand."""
    worker = bench.hands()
    worker.admit(job(contacts(25)), slice_size=10)
    worker.took()
    first = worker.ledger.draw(Ticket("shop", "b1"))

    assert worker.ledger.draw(Ticket("shop", "b1")) is None

    assert bench.hand(worker) == [first]
    assert bench.client.llen(bench.keys.side("shop/b1")) == 2
    assert bench.tickets() == 1


def test_a_ticket_without_slices_goes_out(bench: LedgerBench) -> None:
    """Forged or late: the draw takes it off the hand and makes nothing."""
    worker = bench.hands()
    bench.push(b"mailerd ticket shop/b1")
    worker.took()

    assert worker.ledger.draw(Ticket("shop", "b1")) is None

    assert bench.leftovers() == {}
    assert not bench.record()


def test_slices_cut_after_the_ticket_went_out_bring_a_new_one(bench: LedgerBench) -> None:
    """The record knows whether a ticket goes round: none is missing, none is doubled."""
    worker = bench.hands()
    worker.admit(job(contacts(20)), slice_size=10)
    for _ in range(2):
        worker.took()
        worker.ledger.draw(Ticket("shop", "b1"))
    assert bench.tickets() == 0

    worker.admit(job(contacts(40)), slice_size=10)
    assert bench.tickets() == 1
    worker.admit(job(contacts(60)), slice_size=10)
    assert bench.tickets() == 1


# pin


def test_a_batch_is_pinned_to_its_first_template(bench: LedgerBench) -> None:
    """A later pin gets the first one's template; the bytes are kept once and counted by batch."""
    worker = bench.hands()
    one, two = worker.admit(job(["a"])), worker.admit(job(["a"], "b2"))

    assert worker.ledger.pin(one, "d1", b"\x00packed", "resend") == ("d1", b"\x00packed", "resend")
    assert worker.ledger.pin(one, "d2", b"other", "hold") == ("d1", b"\x00packed", "resend")
    assert worker.ledger.pin(two, "d1", b"\x00packed", "") == ("d1", b"\x00packed", "")

    assert worker.open(job(["a"])).pinned == "d1"
    assert worker.ledger.pinned_template("d1") == b"\x00packed"
    assert worker.ledger.pinned_template("d2") is None
    assert bench.client.hgetall(bench.keys.template_users) == {b"d1": b"2"}
    assert known_batch(bench.client, bench.keys, "shop", "b1") == (one, "resend")
    assert known_batch(bench.client, bench.keys, "shop", "b3") is None
    bench.assert_conserved()


@pytest.mark.covers("queues-8")
def test_scripts_survive_a_script_flush(bench: LedgerBench) -> None:
    """A server that forgot its scripts is sent them again."""
    worker = bench.hands()
    for one in (["a"], ["a", "b"]):
        bench.client.script_flush()
        batch = worker.admit(job(one))
        bench.client.script_flush()
        assert worker.claim(batch, "a") == ["claimed"]


def test_buckets_keep_apart_what_belongs_apart(bench: LedgerBench) -> None:
    """Rows of a large batch are found again by every script, whatever their ids look like."""
    worker = bench.hands()
    ids = [*contacts(300), "ü" * 256, "created", "queued", "why:x", " ", ":c1", "a/b"]
    batch = worker.admit(job(ids))
    assert batch.buckets == 4
    bench.assert_conserved()

    for start in range(0, len(ids), 50):
        group = ids[start : start + 50]
        assert worker.claim(batch, *group) == ["claimed"] * len(group)
        worker.mark(batch, *[booking(contact, Kind.SENT) for contact in group])
        bench.assert_conserved()
    assert bench.states() == dict.fromkeys(ids, "sent")


def test_ids_that_look_like_fields_meet_none(bench: LedgerBench) -> None:
    """A small batch keeps its rows beside its record: no contact id can touch a field of it."""
    worker = bench.hands()
    ids = ["created", "queued", "recipients", "why:x", "ticket", ":a", "promised", "buckets"]
    batch = worker.admit(job(ids))

    worker.claim(batch, *ids)
    worker.mark(batch, *[booking(contact, Kind.SENT) for contact in ids])

    assert bench.states() == dict.fromkeys(ids, "sent")
    bench.assert_conserved()
