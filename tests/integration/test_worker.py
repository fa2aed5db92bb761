"""A worker's story over a real server: handler, delivery, letters, janitor; mail and contacts made up."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mailerd.contacts import Contact
from mailerd.errors import LeaseLost
from mailerd.message import Message
from mailerd.outcome import Kind, Outcome
from mailerd.queue.actions import Actions
from mailerd.queue.keys import Batch
from mailerd.queue.model import Action, Effect
from mailerd.queue.payloads import slice_of
from mailerd.queue.upkeep import Blame
from rigs.ledger_bench import LedgerBench, booking, contacts, job
from rigs.office import CONNECTIONS, Killed, Office, killed_while, person
from rigs.redis_server import RedisServer


@pytest.fixture
def bench(valkey: RedisServer) -> Iterator[LedgerBench]:
    with valkey.client() as client:
        yield LedgerBench(client, valkey.url)


@pytest.fixture
def office(bench: LedgerBench, tmp_path: Path) -> Office:
    return Office(bench, tmp_path, "outbox")


def test_a_job_is_worked_off(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    """Each contact gets one mail, the job is nowhere any more, and its line stands in the log once."""
    bench = office.bench
    bench.push(job(["test1", "test2"], "b1", "test-client"))

    with caplog.at_level(logging.INFO):
        assert office.hire().works() == ""

    assert sorted(office.post.got) == ["test1", "test2"]
    assert bench.counts("b1", "test-client") == {"sent": 2}
    assert bench.leftovers() == {}
    received = [record.message for record in caplog.records if record.message.startswith("New Job")]
    assert received == [
        "New Job Received: {ClientID:test-client ContactIDs:[test1 test2] TemplateID:welcome BatchID:b1}"
    ]


@pytest.mark.covers("mail-20", "mail-22")
def test_everybody_comes_to_the_outcome_that_is_theirs(office: Office) -> None:
    """Unknown and suppressed contacts, failed and deferred mails, a template that raises for one."""
    bench, post = office.bench, office.post
    office.write("welcome", "{% if id == 'raises' %}{{ 1 / 0 }}{% endif %}")
    post.people = {"nobody": Outcome(Kind.INVALID, "no such contact"), "no": person("no", suppressed=True)}
    post.outcomes = {"gone": Outcome(Kind.FAILED, "550 gone"), "busy": Outcome(Kind.DEFERRED, "450 later")}
    bench.push(job(["ok", "nobody", "no", "gone", "busy", "raises"]))

    office.hire().works()

    states = {"ok": "sent", "nobody": "invalid", "no": "suppressed", "gone": "failed", "busy": "deferred"}
    assert bench.states() == {**states, "raises": "failed"}
    assert bench.put_aside() == [b"mailerd retry shop/b1\nbusy"]
    bench.assert_conserved()


def test_a_deferred_one_is_tried_again_until_it_works(office: Office) -> None:
    """In a small job of its own, counting its attempts."""
    bench, post = office.bench, office.post
    post.outcomes["c0"] = Outcome(Kind.DEFERRED, "450 later")
    bench.push(job(contacts(2)))
    man = office.hire()
    man.works()
    for _ in range(3):
        bench.make_due()
        bench.upkeep.promote()
        man.works()
    assert bench.rows()["c0"].split(",")[2] == "4"
    post.outcomes.clear()

    office.work_off()

    assert bench.counts() == {"sent": 2}
    assert bench.leftovers() == {}


@pytest.mark.covers("mail-24")
def test_one_who_is_deferred_too_long_is_given_up(bench: LedgerBench, tmp_path: Path) -> None:
    """mail.max_age runs from the first deferral."""
    office = Office(bench, tmp_path, "outbox", max_age=100)
    office.post.outcomes["c0"] = Outcome(Kind.DEFERRED, "450 later")
    bench.push(job(["c0"]))
    office.hire().works()
    bench.client.hincrby(bench.keys.batch("shop/b1"), "created", -60_000)

    office.work_off()

    [row] = bench.batches.recipients("shop", "b1")
    assert (row.state, row.reason) == ("expired", "given up after 2 attempts: 450 later")


@pytest.mark.covers("queues-37")
def test_a_long_job_is_cut_and_shares_the_workers(office: Office) -> None:
    """A one-recipient job pushed behind it waits for one slice at most, and all get their mail."""
    bench = office.bench
    bench.push(job(contacts(35)), job(["single"], "b2"))
    man = office.hire()

    for _ in range(2):
        man.works()
    assert office.post.got == ["single"]
    office.work_off()

    assert sorted(office.post.got) == sorted([*contacts(35), "single"])
    assert bench.counts() == {"sent": 35}
    assert bench.leftovers() == {}


def test_a_slice_size_lowered_in_between_loses_nobody(office: Office) -> None:
    """A job admitted whole and given back is worked on whole, though it would be cut today."""
    bench = office.bench
    large = office.config.queue.model_copy(update={"slice": 100})
    small, office.config = office.config, office.config.model_copy(update={"queue": large})
    bench.push(job(contacts(35)))
    man = office.hire()
    office.post.before = lambda _: man.stop.raise_()
    man.works()
    office.post.before = lambda _: None
    assert bench.queue() == [job(contacts(35)).to_json()]
    office.config = small

    office.work_off()

    assert bench.counts() == {"sent": 35}
    assert sorted(office.post.got) == sorted(contacts(35))


@pytest.mark.covers("queues-25")
def test_a_stop_gives_the_rest_back(office: Office) -> None:
    """Those in hand are finished, the others untouched, and the next worker goes on with them."""
    bench, man = office.bench, office.hire()
    bench.push(job(contacts(9)))
    office.post.open = lambda _: man.stop.raise_()

    man.works()

    assert len(office.post.got) == CONNECTIONS
    assert bench.counts() == {"sent": 3, "queued": 6}
    assert bench.queue() == [job(contacts(9)).to_json()]
    office.post.open = lambda _: None
    office.work_off()
    assert sorted(office.post.got) == contacts(9)


@pytest.mark.parametrize("why", ["hurry", "flag", "lease"])
@pytest.mark.covers("queues-19")
def test_whom_a_worker_may_not_hand_over_any_more_goes_back_with_the_job(office: Office, why: str) -> None:
    """Hurried, stopped from outside, unsure of its lease: even the last group is not forgotten."""
    bench, man = office.bench, office.hire()
    bench.push(job(["a", "b"]))

    def too_late(_: str) -> None:
        if why == "hurry":
            man.hurry.raise_()
        elif why == "flag":
            man.slot.stop_flag = True
        else:
            man.hands.lease._valid_until = 0.0

    office.post.before = too_late
    man.works()

    assert office.post.got == []
    assert bench.counts() == {"queued": 2}
    assert bench.queue() == [job(["a", "b"]).to_json()]
    office.post.before = lambda _: None
    office.work_off()
    assert sorted(office.post.got) == ["a", "b"]


@pytest.mark.covers("mail-21")
def test_a_blocked_route_burns_nobodys_attempts(office: Office) -> None:
    """Nobody begins once it is known, the job goes back, and the batch says what it waits for."""
    bench = office.bench
    office.post.outcomes["c0"] = Outcome(Kind.REFUSED, "535 refused")
    bench.push(job(contacts(6)))

    assert office.hire().works() == "535 refused"

    assert bench.counts() == {"queued": 6}
    assert bench.batches.find("b1")[0].waiting_for == "535 refused"
    office.post.outcomes.clear()
    office.work_off()
    assert bench.counts() == {"sent": 6}
    assert bench.batches.find("b1")[0].waiting_for is None


@pytest.mark.covers("mail-25")
def test_a_hundred_blocked_tries_are_no_attempt(office: Office) -> None:
    """However often a route refuses everybody, the first deferral after it is the first attempt."""
    bench, man = office.bench, office.hire()
    office.post.outcomes["c0"] = Outcome(Kind.REFUSED, "454 Throttling failure")
    bench.push(job(["c0"]))
    for _ in range(100):
        assert man.works() == "454 Throttling failure"

    office.post.outcomes["c0"] = Outcome(Kind.DEFERRED, "450 later")
    man.works()

    assert bench.rows()["c0"].split(",")[2] == "1"
    [(_, due)] = bench.client.zrange(bench.keys.retry, 0, -1, withscores=True)
    seconds, _ = bench.client.time()
    assert 55 < due / 1000 - seconds <= 61
    assert bench.upkeep.promote() == 0


@pytest.mark.covers("mail-16")
def test_a_server_that_answers_nobody_makes_few_unknown(office: Office) -> None:
    """After three lost answers in a row there is a pause before each mail, until one is answered."""
    bench, man = office.bench, office.hire()
    people = [f"c{number}" for number in range(10)]
    lost = Outcome(Kind.UNKNOWN, "502 Bad Gateway")
    office.post.outcomes.update(dict.fromkeys(people, lost))
    bench.push(job(people))

    blocked = [man.works() for _ in range(4)]

    assert blocked[0] == "no answer to 3 mails in a row; the last one: 502 Bad Gateway"
    assert len(office.post.got) == 3 + 3
    assert sum(man.slot.tally.hand_overs().counts) == 0  # so that the pauses grow
    office.post.outcomes.clear()
    assert man.works() == ""
    assert bench.counts() == {"unknown": 6, "sent": 4}
    assert sorted(office.post.got) == sorted(people)


@pytest.mark.parametrize(("action", "state"), [(Action.PAUSE, "queued"), (Action.CANCEL, "cancelled")])
def test_nobody_stays_in_the_hand_of_a_worker_whose_batch_was_halted(
    office: Office, monkeypatch: pytest.MonkeyPatch, action: Action, state: str
) -> None:
    """A try to claim them worked and its answer was lost; the next one is told of the operator's word."""
    bench, man, lookup = office.bench, office.hire(), office.post.lookup

    def claimed_and_halted(contact_ids: Sequence[str]) -> Mapping[str, Contact | Outcome]:
        man.hands.claim(Batch("shop", "b1", 0), *contact_ids)
        assert Actions(bench.client, bench.keys).act(action, "shop", "b1") is Effect.DONE
        return lookup(contact_ids)

    monkeypatch.setattr(office.post, "lookup", claimed_and_halted)
    bench.push(job(["a", "b"]))

    man.works()

    assert bench.states() == {"a": state, "b": state}
    assert office.post.got == []
    bench.assert_conserved()


@pytest.mark.covers("mail-3")
def test_a_batch_paused_again_and_again_is_sent_once(office: Office) -> None:
    """Each resume goes on where the pause came, and nobody gets a second mail."""
    bench, man = office.bench, office.hire()
    actions = Actions(bench.client, bench.keys)
    bench.push(job(contacts(400)))
    man.works()
    for _ in range(20):
        assert actions.act(Action.PAUSE, "shop", "b1") is Effect.DONE
        if bench.queue():
            man.works()
        assert actions.act(Action.RESUME, "shop", "b1") is Effect.DONE
        bench.upkeep.tend()
        if bench.queue():
            man.works()
        bench.assert_conserved()

    office.work_off()

    assert sorted(office.post.got) == sorted(contacts(400))
    assert bench.counts() == {"sent": 400}
    assert bench.leftovers() == {}


def test_a_contact_database_that_is_away_is_nobodys_fault(office: Office) -> None:
    """As a blocked route: nobody becomes invalid."""
    office.post.fault = "no answer"
    office.bench.push(job(["a"]))

    assert office.hire().works() == "no answer"

    assert office.bench.counts() == {"queued": 1}
    office.post.fault = ""
    office.work_off()
    assert office.bench.counts() == {"sent": 1}


def test_whom_another_worker_has_in_hand_is_left_and_looked_at_later(office: Office) -> None:
    """Busy is no failure: a small job comes back after a lease and finds them settled."""
    bench, other = office.bench, office.hire()
    batch = other.hands.admit(job(["a", "b"]))
    other.hands.claim(batch, "a")
    bench.push(job(["a", "b"]))

    office.hire().works()

    assert office.post.got == ["b"]
    assert bench.put_aside() == [b"mailerd slice shop/b1\na"]
    due = bench.client.zrange(bench.keys.retry, 0, -1, withscores=True)[0][1] / 1000
    seconds, micros = bench.client.time()
    assert 59 < due - (seconds + micros / 1e6) <= 60
    other.hands.mark(batch, booking("a", Kind.SENT))
    office.work_off()
    assert bench.counts() == {"sent": 2}
    assert office.post.got == ["b"]


@pytest.mark.covers("mail-4")
def test_an_expired_batch_is_not_sent(office: Office) -> None:
    """After expires_at everybody open is expired, with a reason."""
    bench = office.bench
    bench.push(job(contacts(30), expires_at=datetime.now(UTC) - timedelta(seconds=5)))

    office.work_off()

    assert office.post.got == []
    assert bench.counts() == {"expired": 30}
    assert "expires_at" in next(bench.batches.recipients("shop", "b1")).reason


def test_the_transport_none_logs_and_discards(bench: LedgerBench, tmp_path: Path) -> None:
    """No contact is looked up; short and long jobs alike."""
    office = Office(bench, tmp_path, "none")
    bench.push(job(contacts(5)), job(contacts(35), "b2"))

    office.work_off()

    assert bench.counts() == {"discarded": 5}
    assert bench.counts("b2") == {"discarded": 35}
    assert bench.leftovers() == {}


# jobs that nobody can be sent


@pytest.mark.parametrize("count", [3, 35])
@pytest.mark.covers("mail-23")
def test_a_missing_template_buries_the_job_and_its_recipients(office: Office, count: int) -> None:
    """Each can be asked why it got nothing; when the template is there, a retry sends everybody theirs."""
    bench, one = office.bench, job(contacts(count), template="missing")
    bench.push(one)

    office.work_off()

    [letter] = bench.dead.newest(10)
    assert letter.raw == one.to_json()
    assert "missing" in letter.reason
    assert bench.counts() == {"failed": count}
    assert bench.leftovers() == {}
    bench.assert_conserved()

    office.write("missing", "Hello")
    assert bench.dead.retry(letter.letter_id)
    office.work_off()
    assert sorted(office.post.got) == sorted(contacts(count))
    assert bench.counts() == {"sent": count}
    assert bench.leftovers() == {}


@pytest.mark.parametrize("count", [3, 35])
def test_an_enqueued_job_that_is_buried_keeps_its_promise(office: Office, count: int) -> None:
    """What was promised is failed, not open for ever."""
    bench = office.bench
    bench.enqueuer().enqueue(job(contacts(count), template="missing"), "r1")

    office.work_off()

    assert bench.counts() == {"failed": count}
    bench.assert_conserved()


def test_a_job_that_disagrees_with_its_batch_is_buried(office: Office) -> None:
    """Another template or other variables: nobody of it is admitted."""
    bench = office.bench
    office.write("other", "Hello")
    bench.push(job(["a"]), job(["b"], template="other"), job(["c"], variables={"x": 1}))

    office.work_off()

    assert bench.states() == {"a": "sent"}
    assert len(bench.dead.ids()) == 2


def test_a_late_job_of_a_deleted_batch_is_buried(office: Office) -> None:
    """It does not mail everybody again."""
    bench = office.bench
    bench.client.set(bench.keys.tombstone("shop/b1"), "- 1")
    bench.push(job(["a"]))

    office.work_off()

    assert office.post.got == []
    assert "new batch_id" in bench.dead.newest(1)[0].reason


MALFORMED = {
    "half": b"{",
    "null": b"null",
    "list": b"[]",
    "types": b'{"client_id": 1, "contact_ids": ["a"], "template_id": "t", "batch_id": "b"}',
    "no contacts": b'{"client_id": "s", "contact_ids": [], "template_id": "t", "batch_id": "b"}',
    "null contacts": b'{"client_id": "s", "contact_ids": null, "template_id": "t", "batch_id": "b"}',
    "no batch": b'{"client_id": "s", "contact_ids": ["a"], "template_id": "t"}',
    "newline": b'{"client_id": "s", "contact_ids": ["a\\nb"], "template_id": "t", "batch_id": "b"}',
    "NaN": b'{"client_id": NaN}',
    "no UTF-8": b'{"client_id": "\xff"}',
    "empty": b"",
    "NUL": b"\x00" * 100,
    "large": b'"' + b"x" * (1024 * 1024) + b'"',
    "forged ticket": b"mailerd ticket shop/b1 ",
    "forged slice": b"mailerd slice shop/b1\n\xff",
}


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED.keys())
@pytest.mark.covers("mail-23", "queues-23")
def test_what_is_no_job_is_kept_with_its_bytes_and_the_next_is_worked_off(
    bench: LedgerBench, tmp_path: Path, raw: bytes
) -> None:
    """Whatever is pushed: a reason, the bytes unchanged, and nothing stops."""
    bench = LedgerBench(bench.client, bench.config.redis.url.get_secret_value(), max_job_mb=1)
    office = Office(bench, tmp_path, "outbox")
    bench.push(raw, job(["a"], "b2"))

    office.work_off()

    [letter] = bench.dead.newest(10)
    assert letter.raw == raw
    assert letter.reason
    assert office.post.got == ["a"]
    assert bench.leftovers() == {}


FORGERIES = {
    "a ticket of an unknown batch": b"mailerd ticket shop/b9",
    "a slice of an unknown batch": b"mailerd slice shop/b9\na",
    "unknown contacts": b"mailerd slice shop/b1\nstranger",
    "known contacts": b"mailerd slice shop/b1\na\nb",
    "an early retry": b"mailerd retry shop/b1\na",
    "nobody": b"mailerd slice shop/b1",
    "a giant": slice_of("shop", "b1", contacts(4_000)).to_bytes(),
    "a ticket too many": b"mailerd ticket shop/b1",
}


@pytest.mark.parametrize("transport", ["outbox", "none"])
@pytest.mark.parametrize("raw", FORGERIES.values(), ids=FORGERIES.keys())
def test_a_forged_ticket_or_slice_harms_nobody(
    bench: LedgerBench, tmp_path: Path, raw: bytes, transport: str
) -> None:
    """It makes no batch and no recipient, and nobody gets a second mail."""
    office = Office(bench, tmp_path, transport)
    bench.push(job(["a", "b"]), raw, raw)

    office.work_off()

    assert sorted(office.post.got) == (["a", "b"] if transport == "outbox" else [])
    assert sorted(bench.states()) == ["a", "b"]
    assert [view.batch_id for view in bench.batches.newest(10)] == ["b1"]
    assert bench.leftovers() == {}
    bench.assert_conserved()


def test_a_forged_slice_makes_no_recipient_even_when_it_is_buried(office: Office) -> None:
    """A slice whose batch nobody can get fails its own recipients and no strangers."""
    bench = office.bench
    office.hire().hands.admit(job(["a"], template="missing"))
    bench.push(b"mailerd slice shop/b1\na\nstranger")

    office.work_off()

    assert bench.states() == {"a": "failed"}
    bench.assert_conserved()


# death


def test_a_worker_killed_before_a_hand_over_leaves_nobody_unknown(office: Office) -> None:
    """Its slot tells that it had not begun: released, and sent by the next."""
    bench, man = office.bench, office.hire()
    bench.push(job(["c3", "c4"]))
    office.post.outcomes["c4"] = Outcome(Kind.DEFERRED, "450 later")
    killed_while(office, man, "before")

    office.settle(man)

    assert bench.states()["c3"] == "queued"
    office.post.outcomes.clear()
    office.work_off()
    assert sorted(office.post.got) == ["c3", "c4"]
    assert bench.counts() == {"sent": 2}
    assert bench.leftovers() == {}


@pytest.mark.covers("mail-1", "queues-36")
def test_a_worker_killed_in_a_hand_over_leaves_one_unknown(office: Office) -> None:
    """Under hold: those settled are settled, the one in the open hand-over is unknown, the rest is sent."""
    bench, man = office.bench, office.hire()
    bench.push(job(contacts(9)))
    killed_while(office, man, "open")
    office.settle(man)
    office.settle(man)
    bench.assert_conserved()

    office.work_off()

    assert bench.states()["c3"] == "unknown"
    assert bench.counts() == {"sent": 8, "unknown": 1}
    assert sorted(office.post.got) == [contact for contact in contacts(9) if contact != "c3"]
    assert bench.leftovers() == {}


@pytest.mark.parametrize("cancelled", ["before", "after", "meanwhile"])
def test_whom_a_dead_host_had_in_hand_when_its_batch_was_cancelled_is_unknown(
    office: Office, cancelled: str
) -> None:
    """Its board is gone and no claim asks for it any more; yet the batch ends, whenever the cancel came."""
    bench, man = office.bench, office.hire()
    actions = Actions(bench.client, bench.keys)
    everybody, look_up = contacts(9), office.post.lookup

    def cancel() -> None:
        assert actions.act(Action.CANCEL, "shop", "b1") is Effect.DONE
        bench.upkeep.tend()

    def cancel_and_look_up(contact_ids: Sequence[str]) -> Mapping[str, Contact | Outcome]:
        cancel()
        return look_up(contact_ids)

    bench.push(job(everybody))
    killed_while(office, man, "open", everybody[-1])
    if cancelled == "before":
        cancel()
    man.hands.die()
    bench.upkeep.reap(man.hands.incarnation, Blame.SEEN_TO_DIE)
    if cancelled == "after":
        cancel()
    if cancelled == "meanwhile":  # the next worker has opened the batch, and claimed nobody yet
        office.post.lookup = cancel_and_look_up  # type: ignore[method-assign] # an operator's moment
    office.work_off()

    assert sorted(office.post.got) == everybody[:8]
    assert bench.counts() == {"sent": 6, "unknown": 3}
    assert "finished" in bench.record()
    assert bench.leftovers() == {}


def test_a_worker_killed_in_a_hand_over_sends_again_under_resend(bench: LedgerBench, tmp_path: Path) -> None:
    """By policy the one in the open hand-over is deferred and gets its mail (again)."""
    office = Office(bench, tmp_path, "outbox", unknown="resend")
    man = office.hire()
    bench.push(job(contacts(9)))
    killed_while(office, man, "open")
    office.settle(man)
    assert bench.states()["c3"] == "deferred"

    office.work_off()

    assert bench.counts() == {"sent": 9}
    assert sorted(office.post.got) == contacts(9)


@pytest.mark.covers("mail-17")
def test_an_outcome_that_was_noted_is_booked(office: Office) -> None:
    """Killed between answer and booking: sent is sent, refused is failed, deferred comes back."""
    bench, man = office.bench, office.hire()
    post = office.post
    post.outcomes = {"c1": Outcome(Kind.FAILED, "550 gone"), "c2": Outcome(Kind.DEFERRED, "450 later")}
    bench.push(job(contacts(3)))
    mark, ledger = man.hands.ledger.mark, man.hands.ledger

    def killed(*_: object) -> int:
        raise Killed

    ledger.mark = killed  # type: ignore[method-assign] # SIGKILL in the moment before the script is sent
    with pytest.raises(Killed):
        man.works()
    ledger.mark = mark  # type: ignore[method-assign] # see above

    office.settle(man)
    assert bench.states() == {"c0": "sent", "c1": "failed", "c2": "deferred"}
    post.outcomes.clear()
    office.work_off()

    assert sorted(post.got) == ["c0", "c2"]
    assert bench.leftovers() == {}


def test_whom_a_lost_lease_kept_from_being_handed_over_is_on_the_ring(office: Office) -> None:
    """Their claims may be in the copy that becomes the next master; that they came to nothing is told it."""
    man, look_up = office.hire(), office.post.lookup

    def die_and_look_up(contact_ids: Sequence[str]) -> Mapping[str, Contact | Outcome]:
        man.hands.die()
        return look_up(contact_ids)

    office.bench.push(job(["c3"]))
    office.post.lookup = die_and_look_up  # type: ignore[method-assign] # the moment before the claim
    with pytest.raises(LeaseLost):
        man.works()

    assert [one.outcomes for one in man.slot.ring.read()] == [(("c3", Kind.WITHHELD),)]


def test_one_taken_for_unknown_by_another_host_comes_back_when_its_board_is_read(office: Office) -> None:
    """The dead host's board tells later that it never began: queued again, with a job of its own."""
    bench, man = office.bench, office.hire()
    bench.push(job(["c3"]))
    killed_while(office, man, "before")
    man.hands.die()
    bench.upkeep.reap(man.hands.incarnation, Blame.SEEN_TO_DIE)
    office.work_off()
    assert bench.states() == {"c3": "unknown"}
    assert bench.leftovers() == {}

    office.settle(man)

    assert bench.states() == {"c3": "queued"}
    office.work_off()
    assert office.post.got == ["c3"]
    assert bench.counts() == {"sent": 1}


@pytest.mark.parametrize("count", [2, 35])
@pytest.mark.covers("queues-22")
def test_a_job_that_kills_three_workers_is_buried(office: Office, count: int) -> None:
    """Poison: three deaths with nobody settled; its recipients fail with the reason, a retry opens them."""
    bench, one = office.bench, job(contacts(count))
    bench.push(one)
    for _ in range(3):
        man = office.hire()
        man.hands.took()
        office.settle(man)

    office.work_off()

    [letter] = bench.dead.newest(10)
    assert letter.raw == one.to_json()
    assert letter.reason.startswith("poison: 3 workers")
    assert bench.counts() == {"failed": count}
    bench.assert_conserved()
    assert office.post.got == []

    bench.dead.retry(letter.letter_id)
    office.work_off()
    assert bench.counts() == {"sent": count}
    assert bench.leftovers() == {}


def test_a_job_that_gets_on_is_no_poison(office: Office) -> None:
    """Killed again and again, each time with somebody handed over: it is never buried."""
    bench = office.bench
    bench.push(job([f"{number:02}" for number in range(10)]))
    for victim in ("00", "03", "06", "09"):
        man = office.hire()
        killed_while(office, man, "open", victim)
        office.settle(man)

    office.work_off()

    assert bench.dead.ids() == []
    assert bench.counts() == {"sent": 6, "unknown": 4}


@pytest.mark.covers("mail-19")
def test_two_workers_on_two_overlapping_jobs_mail_everybody_once(office: Office) -> None:
    """In parallel, in threads: the recipient claim keeps them apart."""
    bench = office.bench
    bench.enqueuer().enqueue(job(contacts(60)), "r1")
    bench.push(job(contacts(60, start=30)), job(contacts(5, start=28)))

    def work() -> None:
        man = office.hire()
        while (claim := man.hands.take()) is not None:
            man.works_off(claim)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    office.work_off()

    assert sorted(office.post.got) == sorted(contacts(90))
    assert bench.counts() == {"sent": 90}
    assert int(bench.record()["recipients"]) == 90
    assert bench.leftovers() == {}


def test_a_batch_is_sent_with_its_template_as_it_was_at_the_first_claim(office: Office) -> None:
    """Changed or deleted in the middle, on any worker: the rest gets what the first ones got."""
    bench, bodies = office.bench, []
    deliver = office.post.deliver

    def look(message: Message, begin: Callable[[], bool]) -> Outcome:
        bodies.append(b"Hello" in message.content)
        return deliver(message, begin)

    office.post.deliver = look  # type: ignore[method-assign] # the made-up server's own eyes
    bench.push(job(contacts(35)))
    man = office.hire()
    man.works()
    man.works()
    office.write("welcome", "Something else")

    office.work_off()

    assert bodies == [True] * 35


def test_a_batch_of_the_same_name_after_a_flush_gets_its_own_letter(office: Office) -> None:
    """A worker that outlives a flush of Redis takes neither template nor variables from what it remembers."""
    bench = office.bench
    office.write("welcome", "{{ old }}")
    bench.push(job(["a"], variables={"old": 1}))
    man = office.hire()
    man.works()
    assert bench.counts() == {"sent": 1}

    bench.client.flushall()
    office.write("welcome", "{{ new }}")
    after = office.hire()
    after.handler._letters = man.handler._letters
    bench.push(job(["a"], variables={"new": "second"}))
    after.works()

    assert bench.counts() == {"sent": 1}
    assert b"second" in office.post.mails[-1].content


def test_a_drain_in_the_middle_of_a_cut_goes_on_at_the_cursor(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job goes back, slices and ticket stay, and the next cutter adds the rest."""
    monkeypatch.setattr("mailerd.work.handler.ROWS_IN_A_SCRIPT", 20)
    bench, man = office.bench, office.hire()
    bench.push(job(contacts(70)))
    admit = man.hands.ledger.admit

    def stop_after(*arguments: Any) -> tuple[int, int, bool]:
        man.stop.raise_()
        return admit(*arguments)

    man.hands.ledger.admit = stop_after  # type: ignore[method-assign] # a SIGTERM in the moment of the script
    man.works()
    assert bench.counts() == {"queued": 20}
    assert bench.queue() == [job(contacts(70)).to_json(), b"mailerd ticket shop/b1"]

    office.work_off()

    assert sorted(office.post.got) == sorted(contacts(70))
    assert bench.leftovers() == {}
