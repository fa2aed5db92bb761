"""Dead letters and unknown recipients: an operator's word opens exactly those it is about."""

from __future__ import annotations

import pytest

from mailerd.outcome import Kind
from mailerd.queue.claims import Claim
from mailerd.queue.model import Resolution
from mailerd.queue.payloads import Slice, job_id, parse, slice_of
from rigs.ledger_bench import Hands, LedgerBench, booking, contacts, job

BROKEN = "template welcome: no subject.txt"


def bury(worker: Hands, raw: bytes, reason: str = BROKEN) -> str:
    """Push and bury it; the letter's id."""
    dead, before = worker.bench.dead, set(worker.bench.dead.ids())
    worker.bench.client.rpush(worker.bench.keys.queue, raw)
    worker.claims.bury(worker.took(), reason)
    [letter_id] = set(dead.ids()) - before  # two may have died in one millisecond
    return letter_id


def test_letters_are_listed_the_newest_first(bench: LedgerBench) -> None:
    """Each with its bytes, its reason and its time; the same bytes may die twice."""
    worker = bench.hands()
    ids = [bury(worker, raw, reason) for raw, reason in [(b"{", "one"), (b"{", "two"), (b"\xff", "three")]]
    for score, letter_id in enumerate(ids):
        bench.client.zadd(bench.keys.dead, {letter_id: 1000 * score})

    assert len(set(ids)) == 3
    assert bench.dead.ids() == ids[::-1]
    assert [letter.reason for letter in bench.dead.newest(2)] == ["three", "two"]
    letter = bench.dead.get(ids[2])
    assert letter is not None
    assert (letter.raw, letter.died_at) == (b"\xff", 2.0)
    assert bench.dead.get("nobody") is None


def test_a_dropped_letter_is_gone_and_its_recipients_stay(bench: LedgerBench) -> None:
    """Once; it changes nothing else."""
    worker = bench.hands()
    batch = worker.admit(job(["a"]))
    worker.mark(batch, booking("a", Kind.FAILED, BROKEN))
    letter_id = bury(worker, job(["a"]).to_json())

    assert bench.dead.drop(letter_id)
    assert not bench.dead.drop(letter_id)

    assert not bench.dead.retry(letter_id)
    assert bench.states() == {"a": "failed"}
    assert not bench.client.exists(bench.keys.letters, bench.keys.letter_reasons)


def test_retrying_a_job_opens_exactly_those_that_died_with_it(bench: LedgerBench) -> None:
    """Those sent, refused by the server or failed with another job stay as they are."""
    worker, one = bench.hands(), job(contacts(4))
    batch = worker.admit(one)
    worker.claim(batch, "c0", "c1")
    worker.mark(batch, booking("c0", Kind.SENT), booking("c1", Kind.FAILED, "550 no such user"))
    worker.mark(batch, booking("c2", Kind.FAILED, BROKEN), booking("c3", Kind.FAILED, BROKEN))
    worker.admit(job(["x"]))
    worker.mark(batch, booking("x", Kind.FAILED, BROKEN))
    letter_id = bury(worker, one.to_json())

    assert bench.dead.retry(letter_id)
    assert not bench.dead.retry(letter_id)

    states = bench.states()
    assert states == {"c0": "sent", "c1": "failed", "c2": "queued", "c3": "queued", "x": "failed"}
    assert bench.queue() == [one.to_json()]
    bench.assert_conserved()
    assert "finished" not in bench.record()
    assert worker.claim(batch, *contacts(4)) == ["settled", "settled", "claimed", "claimed"]


def test_retrying_a_long_job_cuts_slices_of_those_it_opens(bench: LedgerBench) -> None:
    """They have rows already, and still each of them is in a slice: nobody is open without a job."""
    worker, one = bench.hands(), job(contacts(30))
    batch, jid = worker.open(one).batch, job_id(one.to_json())
    worker.ledger.admit(batch, jid, 0, one.contact_ids, 10, BROKEN)
    assert bench.counts() == {"failed": 30}
    assert bench.queue() == []
    bench.assert_conserved()
    letter_id = bury(worker, one.to_json())

    bench.dead.retry(letter_id)
    claim = worker.took()
    worker.admit(one, slice_size=10)
    worker.claims.ack(claim)

    cut = bench.client.lrange(bench.keys.side("shop/b1"), 0, -1)
    assert cut == [slice_of("shop", "b1", contacts(10, start)).to_bytes() for start in (0, 10, 20)]
    assert bench.tickets() == 1
    assert bench.counts() == {"queued": 30}
    bench.assert_conserved()


def test_a_retry_that_is_refused_again_fails_those_it_had_opened(bench: LedgerBench) -> None:
    """The letter is back with the new reason, and another retry opens them again."""
    worker, one = bench.hands(), job(contacts(30))
    batch, jid = worker.open(one).batch, job_id(one.to_json())
    worker.ledger.admit(batch, jid, 0, one.contact_ids, 10, BROKEN)
    bench.dead.retry(bury(worker, one.to_json()))
    claim = worker.took()

    worker.ledger.admit(batch, jid, 0, one.contact_ids, 10, "still broken")
    worker.claims.bury(claim, "still broken")

    assert bench.counts() == {"failed": 30}
    bench.assert_conserved()
    bench.dead.retry(bench.dead.ids()[0])
    assert bench.counts() == {"queued": 30}
    bench.assert_conserved()


def test_retrying_a_half_admitted_job_leaves_nobody_out(bench: LedgerBench) -> None:
    """Those that the batch did not have yet are admitted when the job comes round again."""
    worker, one = bench.hands(), job(contacts(30))
    batch, jid = worker.open(one).batch, job_id(one.to_json())
    worker.ledger.admit(batch, jid, 0, one.contact_ids[:10], 10)
    worker.mark(batch, *[booking(contact, Kind.FAILED, BROKEN) for contact in contacts(10)])
    letter_id = bury(worker, one.to_json())

    bench.dead.retry(letter_id)
    worker.admit(one, slice_size=10)

    assert bench.counts() == {"queued": 30}
    cut = bench.client.lrange(bench.keys.side("shop/b1"), 0, -1)
    assert sorted(line for raw in cut for line in raw.decode().split("\n")[1:]) == sorted(
        [*contacts(10), *contacts(30)]  # the first ten also in the slice that was cut before the burial
    )
    bench.assert_conserved()


@pytest.mark.parametrize("retry", [False, True])
def test_retrying_a_slice_opens_its_own(bench: LedgerBench, retry: bool) -> None:
    """A slice or a small job of deferred ones works on all its rows, so it takes them along itself."""
    worker = bench.hands()
    batch = worker.admit(job(contacts(4)))
    raw = slice_of("shop", "b1", ["c1", "c2"], retry=retry).to_bytes()
    worker.mark(batch, *[booking(contact, Kind.FAILED, BROKEN) for contact in contacts(4)])
    letter_id = bury(worker, raw)

    bench.dead.retry(letter_id)

    assert bench.states() == {"c0": "failed", "c1": "queued", "c2": "queued", "c3": "failed"}
    assert bench.queue() == [raw]
    assert worker.claim(batch, "c1", "c2", retry=retry) == ["claimed", "claimed"]
    bench.assert_conserved()


@pytest.mark.parametrize("raw", [b"{", b"\xff\x00", b"mailerd ticket shop/b1", b"mailerd slice shop/b1\na"])
def test_retrying_what_opens_nobody_only_puts_it_back(bench: LedgerBench, raw: bytes) -> None:
    """Bytes that are no job, a ticket, a slice of a batch that nobody has: back to the tail, unchanged."""
    worker = bench.hands()
    letter_id = bury(worker, raw)
    bench.push(job(["z"], "b2"))

    assert bench.dead.retry(letter_id)

    assert bench.queue() == [job(["z"], "b2").to_json(), raw]
    assert bench.dead.ids() == []
    assert not bench.record()


def test_a_retry_broken_off_in_between_can_be_given_again(bench: LedgerBench) -> None:
    """The letter goes last: until then the word can be repeated and opens nobody twice."""
    worker, one = bench.hands(), job(["a"])
    batch = worker.admit(one)
    worker.mark(batch, booking("a", Kind.FAILED, BROKEN))
    letter_id = bury(worker, one.to_json())
    letter = bench.dead.get(letter_id)
    assert letter is not None
    bench.dead._reopen(letter)
    bench.assert_conserved()

    assert bench.dead.retry(letter_id)

    assert bench.states() == {"a": "queued"}
    assert bench.queue() == [one.to_json()]
    bench.assert_conserved()


# unknown recipients


def unknown(bench: LedgerBench, count: int = 3, batch: str = "b1") -> Hands:
    worker = bench.hands()
    where = worker.admit(job(contacts(count), batch))
    worker.claim(where, *contacts(count))
    worker.mark(where, *[booking(contact, Kind.UNKNOWN) for contact in contacts(count)])
    return worker


def test_unknown_recipients_are_listed_and_counted(bench: LedgerBench) -> None:
    """Of all batches, of one, of one client."""
    unknown(bench)
    unknown(bench, 100, "b2")
    bench.hands().admit(job(["z"], "b3"))

    assert bench.unknowns.count() == 103
    assert len(list(bench.unknowns.all())) == 103
    assert sorted(one.contact_id for one in bench.unknowns.all("b1")) == contacts(3)
    assert list(bench.unknowns.all("b1", "other")) == []
    assert list(bench.unknowns.all(client_id="other")) == []


def test_a_million_batches_do_not_hold_up_whoever_asks_for_the_unknown_ones(bench: LedgerBench) -> None:
    """To count them no batch is looked at; to list them, no more are than have some."""
    unknown(bench)
    older = {f"shop/{number}": 1 for number in range(1000)}
    tripwire = "shop/never-looked-at"
    bench.client.set(bench.keys.batch(tripwire), "no hash")
    bench.client.zadd(bench.keys.batches, older | {tripwire: 0})

    assert [one.contact_id for one in bench.unknowns.all()] == contacts(3)

    bench.client.zadd(bench.keys.batches, {tripwire: 10**12})
    assert bench.unknowns.count() == 3


@pytest.mark.parametrize(
    ("how", "state"),
    [(Resolution.SENT, "sent"), (Resolution.FAILED, "failed"), (Resolution.RESEND, "queued")],
)
def test_an_operators_word_settles_unknown_ones_once(bench: LedgerBench, how: Resolution, state: str) -> None:
    """Only those named, only those unknown; those sent again get a job of their own, once."""
    unknown(bench)
    named = ["c0", "c1", "nobody", "c0"]

    assert bench.unknowns.resolve("shop", "b1", named, how) == 2
    assert bench.unknowns.resolve("shop", "b1", named, how) == 0

    assert bench.states() == {"c0": state, "c1": state, "c2": "unknown"}
    bench.assert_conserved()
    bench.upkeep.promote()
    waiting = bench.queue()
    assert len(waiting) == (1 if how is Resolution.RESEND else 0)
    if waiting:
        worker = bench.hands()
        claim = worker.took()
        assert claim == Claim(waiting[0], job_id(waiting[0]), worker.incarnation)
        assert {b"c0", b"c1"} <= set(claim.raw.split(b"\n"))
        opened = worker.ledger.open_slice("shop", "b1", claim.jid)
        assert worker.claim(opened.batch, "c0", "c1") == ["claimed", "claimed"]  # type: ignore[union-attr] # open


def test_the_small_job_of_a_resend_can_be_read(bench: LedgerBench) -> None:
    """Whatever an operator names, what is put aside is one of our own slices."""
    unknown(bench)

    bench.unknowns.resolve("shop", "b1", ["c0", "c0", "a\nb", "", "c2"], Resolution.RESEND)

    [raw] = bench.put_aside()
    assert parse(raw, 2**20) == Slice("shop", "b1", ("c0", "c2"))


def test_nothing_is_resolved_in_a_batch_that_nobody_has(bench: LedgerBench) -> None:
    """And no record is made."""
    assert bench.unknowns.resolve("shop", "b1", ["a"], Resolution.SENT) == 0
    assert not bench.record()


def test_a_late_truth_beats_a_resend_that_has_not_begun(bench: LedgerBench) -> None:
    """The worker's late 250 settles a recipient that an operator had opened: it is not sent again."""
    worker = unknown(bench, 1)
    bench.unknowns.resolve("shop", "b1", ["c0"], Resolution.RESEND)
    batch = worker.open(job(contacts(1))).batch

    assert worker.mark(batch, booking("c0", Kind.SENT)) == 1

    assert bench.hands().claim(batch, "c0") == ["settled"]
    bench.assert_conserved()
