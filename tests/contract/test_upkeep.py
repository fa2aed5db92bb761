"""Upkeep: what is due comes back, the dead are found, and what is old goes."""

from __future__ import annotations

import pytest

from mailerd.errors import RedisUnavailable
from mailerd.outcome import Kind
from mailerd.queue.answers import Opening
from mailerd.queue.claims import Claim, Claims
from mailerd.queue.lease import leave
from mailerd.queue.model import Admission
from mailerd.queue.payloads import Ticket, slice_of
from mailerd.queue.upkeep import Blame
from rigs.ledger_bench import Hands, LedgerBench, booking, contacts, job
from rigs.redis_server import RedisServer

ONE = job(["a"])


def ended(bench: LedgerBench, batch: str = "b1", days_ago: float = 31, count: int = 1) -> Hands:
    """A batch that ended so long ago."""
    worker = bench.hands()
    one = job(contacts(count), batch)
    bench.enqueuer().enqueue(one, "request")
    where = worker.admit(one)
    worker.ledger.pin(where, "digest", b"packed", "hold")
    worker.mark(where, *[booking(contact, Kind.INVALID) for contact in contacts(count)])
    then = int(bench.record(batch)["finished"]) - int(days_ago * 86_400_000)
    bench.client.hset(bench.keys.batch(f"shop/{batch}"), "finished", then)
    bench.client.zadd(bench.keys.ended, {f"shop/{batch}": then})
    return worker


# promote


@pytest.mark.covers("mail-25")
def test_only_what_is_due_comes_back(bench: LedgerBench) -> None:
    """In the order of its time, at the tail, any number at once."""
    bench.push(ONE)
    for number in range(120):
        bench.client.hset(bench.keys.later, f"id{number:03}", f"small {number:03}")
        bench.client.zadd(bench.keys.retry, {f"id{number:03}": number})
    bench.client.hset(bench.keys.later, "far", "far")
    bench.client.zadd(bench.keys.retry, {"far": 2**45})

    assert bench.upkeep.promote() == 120

    assert bench.queue() == [ONE.to_json(), *[f"small {number:03}".encode() for number in range(120)]]
    assert bench.put_aside() == [b"far"]
    assert bench.upkeep.promote() == 0


@pytest.mark.covers("mail-32")
def test_chores_over_a_stalled_queue_add_nothing(real_bench: LedgerBench) -> None:
    """However often they are done while nobody works, each job, slice and deferred one is there once."""
    bench = real_bench
    worker = bench.hands()
    batch = worker.admit(job(contacts(30), "long"), slice_size=10)
    bench.push(ONE, job(["b"], "b2"))
    worker.claim(batch, "c1", "c2")
    worker.mark(batch, booking("c1", Kind.DEFERRED), booking("c2", Kind.DEFERRED, delay=3600.0))
    bench.upkeep.tend()
    before = (bench.queue(), bench.put_aside(), bench.rows("long"))
    assert len(before[0]) == 4

    for _ in range(50):
        bench.upkeep.tend()
        bench.upkeep.reap_lapsed()
        bench.upkeep.visit_graves()
        bench.upkeep.forget_old_batches()

    assert (bench.queue(), bench.put_aside(), bench.rows("long")) == before
    bench.assert_conserved("long")


# reap: its script hashes payloads in Lua, which fakeredis cannot; so these run on the real server only


@pytest.mark.covers("mail-18", "queues-1")
def test_a_dead_workers_job_goes_back_to_the_head(real_bench: LedgerBench) -> None:
    """Its bytes unchanged, before all others; reaping again finds nothing."""
    bench = real_bench
    bench.push(ONE, job(["b"], "b2"))
    dead = bench.hands()
    dead.took()
    dead.die()

    assert bench.upkeep.reap(dead.incarnation, Blame.SEEN_TO_DIE) == 1
    assert bench.upkeep.reap(dead.incarnation, Blame.SEEN_TO_DIE) == 0

    assert bench.queue() == [ONE.to_json(), job(["b"], "b2").to_json()]
    assert not bench.client.hexists(bench.keys.workers, dead.incarnation)


@pytest.mark.covers("queues-15")
def test_the_living_are_left_alone(real_bench: LedgerBench) -> None:
    """The lease is looked at inside the script: a worker that renewed in time keeps its job."""
    bench = real_bench
    bench.push(ONE)
    worker = bench.hands()
    worker.took()

    assert bench.upkeep.reap(worker.incarnation, Blame.SEEN_TO_DIE) == -1
    assert bench.upkeep.reap_lapsed() == 0

    assert bench.hand(worker) == [ONE.to_json()]


@pytest.mark.covers("mail-18", "queues-20")
def test_whoever_has_no_lease_is_found(real_bench: LedgerBench) -> None:
    """A dead host's workers are reaped by any other; those alive are not."""
    bench = real_bench
    bench.push(ONE, job(["b"]))
    dead, alive = bench.hands(), bench.hands()
    dead.took()
    alive.took()
    dead.die()

    assert bench.upkeep.reap_lapsed() == 1

    assert bench.queue() == [ONE.to_json()]
    assert list(bench.client.hgetall(bench.keys.workers)) == [alive.incarnation.encode()]


@pytest.mark.covers("queues-14")
def test_a_late_answer_into_a_dead_hand_is_found(real_bench: LedgerBench) -> None:
    """A BLMOVE that was parked in the server delivers to somebody dead or gone: the graves are visited."""
    bench = real_bench
    dead, gone = bench.hands(), bench.hands()
    dead.die()
    bench.upkeep.reap(dead.incarnation, Blame.SEEN_TO_DIE)
    leave(bench.client, bench.keys, gone.lease)
    for worker in (dead, gone):
        bench.client.lpush(bench.keys.hand(worker.incarnation), ONE.to_json())

    bench.upkeep.visit_graves()

    assert bench.queue() == [ONE.to_json()] * 2
    assert bench.leftovers() == {"queue": [ONE.to_json()] * 2}


def test_a_grave_is_closed_after_a_week(real_bench: LedgerBench) -> None:
    """Then no answer can be parked anywhere any more."""
    bench = real_bench
    dead = bench.hands()
    dead.die()
    bench.upkeep.reap(dead.incarnation, Blame.SEEN_TO_DIE)
    bench.client.zincrby(bench.keys.graves, -7 * 86_400_000 - 1, dead.incarnation)

    bench.upkeep.visit_graves()

    assert bench.client.zcard(bench.keys.graves) == 0


def test_deaths_are_counted_until_somebody_gets_on(real_bench: LedgerBench) -> None:
    """Each death counts; a lost lease, a death with progress and a give-back let the count start over."""
    bench = real_bench
    bench.push(ONE)

    def deaths() -> int:
        return bench.hands().open(ONE).deaths

    def dies(blame: Blame) -> None:
        worker = bench.hands()
        worker.took()
        worker.die()
        bench.upkeep.reap(worker.incarnation, blame)

    for expected in (1, 2, 3):
        dies(Blame.SEEN_TO_DIE)
        assert deaths() == expected
    dies(Blame.NONE)
    assert deaths() == 0
    dies(Blame.SEEN_TO_DIE)
    worker = bench.hands()
    worker.claims.give_back(worker.took())
    assert deaths() == 0


def test_hands_that_never_saw_a_job_are_no_reason_to_bury_it(real_bench: LedgerBench) -> None:
    """A job that the parked takes of a vanished host pass on comes back uncounted; who opened it counts."""
    bench = real_bench
    bench.push(ONE)
    for _ in range(bench.config.queue.max_deaths + 3):
        worker = bench.hands()
        worker.took()
        worker.die()
        assert bench.upkeep.reap_lapsed() == 1

    reader = bench.hands()
    reader.took()
    assert reader.open(ONE).deaths == 0
    reader.die()
    assert bench.upkeep.reap_lapsed() == 1
    assert bench.hands().open(ONE).deaths == 1


@pytest.mark.covers("queues-22")
def test_a_job_that_kills_its_readers_is_buried(real_bench: LedgerBench) -> None:
    """Where no worker lives to bury it, reaping does, its bytes unchanged, and counts no more."""
    bench = real_bench
    bench.push(b"\xff bomb")
    for _ in range(bench.config.queue.max_deaths + 3):
        worker = bench.hands()
        worker.took()
        worker.die()
        bench.upkeep.reap(worker.incarnation, Blame.SEEN_TO_DIE)

    [letter] = bench.dead.newest(10)
    assert letter.raw == b"\xff bomb"
    assert "killed every worker" in letter.reason
    assert bench.leftovers() == {}


def kills_everybody(bench: LedgerBench) -> None:
    """What is next on the queue kills everybody who takes it, before it can be buried."""
    buried = bench.dead.ids()
    while bench.dead.ids() == buried:
        worker = bench.hands()
        worker.took()
        worker.die()
        bench.upkeep.reap(worker.incarnation, Blame.SEEN_TO_DIE)


def assert_buried_and_opened_again(bench: LedgerBench, victims: list[str]) -> None:
    """Exactly these failed with the dead letter's reason, and exactly these its retry opens."""
    [letter] = bench.dead.newest(10)
    failed = [row for row in bench.batches.recipients("shop", "b1") if row.state == "failed"]
    assert sorted(row.contact_id for row in failed) == sorted(victims)
    assert {row.reason for row in failed} == {letter.reason}
    bench.assert_conserved()
    assert bench.dead.retry(letter.letter_id)
    assert bench.counts().get("queued") == len(victims)
    assert bench.queue()[-1] == letter.raw


@pytest.mark.parametrize("count", [3, 1200])
def test_who_was_promised_by_a_job_that_nobody_lived_to_read_is_failed(
    real_bench: LedgerBench, count: int
) -> None:
    """Accepted over HTTP and never admitted: failed with the reason; no batch is open for ever."""
    bench = real_bench
    bench.enqueuer().enqueue(job(contacts(count)), "request")

    kills_everybody(bench)

    assert bench.counts() == {"failed": count}
    assert "finished" in bench.record()
    assert bench.leftovers() == {}
    assert_buried_and_opened_again(bench, contacts(count))


def test_who_was_admitted_by_a_job_that_kills_its_readers_is_failed(real_bench: LedgerBench) -> None:
    """Those still open, also deferred ones; who is sent stays sent, and a dead hand's are unknown."""
    bench, one = real_bench, job(contacts(5))
    bench.enqueuer().enqueue(one, "request")
    first = bench.hands()
    first.took()
    batch = first.admit(one)
    first.claim(batch, "c0", "c1", "c2")
    first.mark(batch, booking("c0", Kind.SENT), booking("c1", Kind.DEFERRED))
    first.die()
    bench.upkeep.reap(first.incarnation, Blame.SEEN_TO_DIE)

    kills_everybody(bench)

    assert bench.states() == {
        "c0": "sent",
        "c1": "failed",
        "c2": "unknown",
        "c3": "failed",
        "c4": "failed",
    }
    assert_buried_and_opened_again(bench, ["c1", "c3", "c4"])


def test_a_slice_that_kills_its_readers_takes_its_own_recipients_along(real_bench: LedgerBench) -> None:
    """The other slices of its batch go round as before."""
    bench = real_bench
    cutter = bench.hands()
    cutter.admit(job(contacts(30)), slice_size=10)
    bench.push(slice_of("shop", "b1", contacts(10)).to_bytes())
    drawer = bench.hands()
    drawer.took()
    assert drawer.ledger.draw(Ticket("shop", "b1")) is not None
    drawer.die()
    bench.upkeep.reap(drawer.incarnation, Blame.SEEN_TO_DIE)

    kills_everybody(bench)

    assert bench.counts() == {"failed": 10, "queued": 20}
    assert bench.tickets() == 1
    assert len(bench.dead.ids()) == 1


def test_a_full_redis_buries_as_well(redis_server: RedisServer) -> None:
    """Each step begins with what makes room, or needs none."""
    with redis_server.client() as client:
        bench = LedgerBench(client, redis_server.url)
        bench.enqueuer().enqueue(job(contacts(600)), "request")
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "1")

        kills_everybody(bench)

        assert bench.counts() == {"failed": 600}


def test_a_job_larger_than_main_reads_is_buried_unread(valkey: RedisServer) -> None:
    """What killed every worker by its size must not kill main as well."""
    with valkey.client() as client:
        bench = LedgerBench(client, valkey.url)
        raw = job([f"{number:0255}" for number in range(40_000)]).to_json()
        assert len(raw) > bench.config.api.max_body_mb * 2**20
        bench.push(raw)

        kills_everybody(bench)

        assert [letter.raw for letter in bench.dead.newest(10)] == [raw]
        assert bench.record() == {}
        assert bench.leftovers() == {}


def test_equal_jobs_that_kill_their_readers_are_buried_one_by_one(real_bench: LedgerBench) -> None:
    """Each is a letter of its own."""
    bench = real_bench
    bench.push(b"bomb", b"bomb")

    kills_everybody(bench)
    kills_everybody(bench)

    assert [letter.raw for letter in bench.dead.newest(10)] == [b"bomb", b"bomb"]
    assert bench.leftovers() == {}


def test_a_burial_that_its_own_death_interrupts_is_done_by_the_next(real_bench: LedgerBench) -> None:
    """The job lies in the hand of whoever buries it, and comes back from there like any other."""
    bench = real_bench
    bench.enqueuer().enqueue(job(contacts(3)), "request")
    claims: list[Claim] = []
    bury = Claims.bury

    def interrupted(self: Claims, claim: Claim, reason: str) -> None:
        claims.append(claim)
        if len(claims) == 1:
            raise RedisUnavailable(reason)
        bury(self, claim, reason)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Claims, "bury", interrupted)
        with pytest.raises(RedisUnavailable):
            kills_everybody(bench)
        bench.upkeep.end_lease(claims[0].incarnation)
        bench.upkeep.reap_lapsed()

    assert bench.counts() == {"failed": 3}
    assert_buried_and_opened_again(bench, contacts(3))


def test_a_ticket_is_no_poison(real_bench: LedgerBench) -> None:
    """However many die with it in hand: it stands for all slices of its batch."""
    bench = real_bench
    bench.hands().admit(job(contacts(20)), slice_size=10)
    for _ in range(20):
        worker = bench.hands()
        worker.took()
        worker.die()
        assert bench.upkeep.reap(worker.incarnation, Blame.SEEN_TO_DIE) == 1

    assert bench.tickets() == 1
    assert not [field for field in bench.client.hkeys(bench.keys.jobs) if b"deaths" in field]


# leases


@pytest.mark.covers("queues-41")
def test_every_incarnation_has_a_number_of_its_own(bench: LedgerBench) -> None:
    """Rising, and beyond all earlier ones even when Redis has forgotten the last."""
    first, second = bench.hands(), bench.hands()
    bench.client.delete(bench.keys.incarnation)
    third = bench.hands()

    assert int(first.incarnation) < int(second.incarnation)
    assert int(third.incarnation) > int(second.incarnation)
    bench.client.set(bench.keys.incarnation, 2**50)
    assert [int(bench.hands().incarnation) for _ in range(2)] == [2**50 + 1, 2**50 + 2]


def test_a_lease_is_renewed_while_it_lives_and_never_revived(bench: LedgerBench) -> None:
    """Its deadline on this host ends no later than the server's."""
    worker = bench.hands()
    bench.client.pexpire(bench.keys.lease(worker.incarnation), 5000)
    assert worker.lease.renew(bench.client, bench.keys)
    assert 59_000 < bench.client.pttl(bench.keys.lease(worker.incarnation)) <= 60_000
    assert worker.lease.lives()

    worker.die()

    assert not worker.lease.renew(bench.client, bench.keys)
    assert not worker.lease.lives()
    assert not bench.client.exists(bench.keys.lease(worker.incarnation))


def test_a_worker_that_leaves_is_not_taken_for_dead(bench: LedgerBench) -> None:
    """Its hand empty it is gone at once; with a job in hand it stays to be reaped."""
    bench.push(ONE)
    leaving, holding = bench.hands(), bench.hands()
    holding.took()

    leave(bench.client, bench.keys, leaving.lease)
    leave(bench.client, bench.keys, holding.lease)

    assert bench.client.hkeys(bench.keys.workers) == [holding.incarnation.encode()]
    assert not bench.client.exists(bench.keys.lease(holding.incarnation))


# forget


def test_a_batch_is_deleted_after_its_retention(bench: LedgerBench) -> None:
    """Record, rows, template and index go; a tombstone answers replays and keeps late foreign jobs away."""
    worker = ended(bench, count=100)
    bench.client.delete(bench.keys.queue, bench.keys.jobs)

    assert bench.upkeep.forget_old_batches() == 1

    left = {key.decode() for key in bench.client.scan_iter()}
    keys = bench.keys
    assert left == {
        keys.tombstone("shop/b1"),
        keys.incarnation,
        keys.workers,
        keys.lease(worker.incarnation),
    }
    assert bench.batches.newest(10) == bench.batches.find("b1") == []
    again = job(contacts(100))
    assert bench.enqueuer().enqueue(again, "r2").admission is Admission.REPLAYED
    assert worker.ledger.open_job(again, "jid", 100) is Opening.ENDED
    assert worker.ledger.open_slice("shop", "b1", "jid") is Opening.ENDED
    days = bench.client.pttl(keys.tombstone("shop/b1")) / 86_400_000
    assert 369 < days <= 370


def test_a_younger_or_open_batch_is_kept(bench: LedgerBench) -> None:
    """Only the end counts, however old the batch is; one that was opened again is open."""
    ended(bench, "young", days_ago=29)
    worker = ended(bench, "open", days_ago=31)
    worker.admit(job(["late"], "open"))
    bench.client.zadd(bench.keys.ended, {"shop/open": 1})  # as seen by another janitor just before

    assert bench.upkeep.forget_old_batches() == 0

    assert bench.record("young")
    assert bench.record("open")


def test_a_template_is_kept_as_long_as_a_batch_is_pinned_to_it(bench: LedgerBench) -> None:
    """The last of its batches takes it along."""
    worker = ended(bench, "b1")
    ended(bench, "b2", days_ago=1)

    bench.upkeep.forget_old_batches()
    assert worker.ledger.pinned_template("digest") == b"packed"

    bench.client.hset(bench.keys.batch("shop/b2"), "finished", 1)
    bench.client.zadd(bench.keys.ended, {"shop/b2": 1})
    bench.upkeep.forget_old_batches()
    assert worker.ledger.pinned_template("digest") is None
    assert not bench.client.exists(bench.keys.template_users)


def test_another_clients_batch_of_the_same_id_stays_known(bench: LedgerBench) -> None:
    """Only the forgotten one leaves the index."""
    ended(bench)
    bench.enqueuer().enqueue(job(["z"], client="other"), "r2")

    bench.upkeep.forget_old_batches()

    assert [view.client_id for view in bench.batches.find("b1")] == ["other"]


def test_debris_that_a_dead_janitor_left_is_cleared(bench: LedgerBench) -> None:
    """The rows of a forgotten batch go, also when the one who forgot it died before."""
    worker = bench.hands()
    worker.admit(job(contacts(200)))
    rows = len(bench.client.keys(bench.keys.bucket(worker.open(job(contacts(200))).batch, 0)[:-1] + "*"))
    assert rows == 3
    bench.client.delete(bench.keys.batch("shop/b1"))
    bench.client.rpush(bench.keys.debris, "shop/b1 3")

    bench.upkeep.forget_old_batches()

    assert not bench.client.keys("*rows*")
    assert not bench.client.exists(bench.keys.debris)


def test_many_old_batches_go_in_several_rounds(bench: LedgerBench) -> None:
    """Each round is bounded, so that nobody waits for it."""
    for number in range(60):
        ended(bench, f"b{number}")

    assert [bench.upkeep.forget_old_batches() for _ in range(3)] == [50, 10, 0]


def test_the_length_of_the_queue_is_told(bench: LedgerBench) -> None:
    """For the status line."""
    bench.push(ONE, ONE)
    assert bench.upkeep.length() == 2


@pytest.mark.parametrize("days", [(30, 400), (30, 30), (30, 0)])
def test_a_tombstone_stands_from_the_end_of_the_retention_to_the_end_of_the_replays(
    bench: LedgerBench, days: tuple[int, int]
) -> None:
    """With no time between them there is none, and the batch can be registered anew."""
    other = LedgerBench(bench.client, retention_days=days[0], replay_days=days[1])
    ended(other)

    assert other.upkeep.forget_old_batches() == 1

    lifetime = bench.client.pttl(bench.keys.tombstone("shop/b1"))
    assert lifetime <= max(1, (days[1] - days[0]) * 86_400_000)
