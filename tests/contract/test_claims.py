"""Claims: a job is in exactly one list at every moment, whoever dies and whatever answer is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
import redis
from redis._parsers.base import BaseParser

from mailerd.clock import Stop
from mailerd.errors import LeaseLost, RedisRefused, RedisUnavailable
from mailerd.outcome import Kind
from mailerd.queue.claims import Claim, Claims, Taker
from mailerd.queue.connection import translated
from mailerd.queue.payloads import Slice, Ticket, job_id
from mailerd.queue.scripts import run
from mailerd.queue.upkeep import Blame
from rigs.ledger_bench import Hands, LedgerBench, booking, contacts, job
from rigs.proxy import Proxy
from rigs.redis_server import RedisServer
from rigs.waiting import wait_until

ONE = job(["a"])
FETCHES = ["blmove", "brpop"]


def claim_in_hand(bench: LedgerBench) -> tuple[Hands, Claim]:
    bench.push(ONE)
    worker = bench.hands()
    return worker, worker.took()


# the four ways to let go


def test_an_acked_job_is_nowhere(bench: LedgerBench) -> None:
    """The job is done: no list, no note of it is left."""
    worker, claim = claim_in_hand(bench)
    worker.admit(ONE)

    worker.claims.ack(claim)

    assert bench.leftovers() == {}


def test_acking_again_changes_nothing(bench: LedgerBench) -> None:
    """A repeat after a lost answer acks no other push of the same bytes and puts the rest aside once."""
    worker, claim = claim_in_hand(bench)
    keys = bench.keys
    names = [keys.lease(worker.incarnation), keys.hand(worker.incarnation), keys.jobs, keys.retry, keys.later]
    arguments = [60_000, claim.raw, claim.jid, "rest-id", b"mailerd slice shop/b1\na", 1000]
    assert run(bench.client, "finish", names, arguments) == b"ok"
    bench.push(ONE)

    assert run(bench.client, "finish", names, arguments) == b"gone"

    assert bench.queue() == [ONE.to_json()]
    assert bench.client.zcard(keys.retry) == 1


def test_the_rest_of_a_job_comes_back_when_due(bench: LedgerBench) -> None:
    """Those who are in another's hand become a small job that waits for its time."""
    worker, claim = claim_in_hand(bench)

    worker.claims.ack(claim, Slice("shop", "b1", ("a", "b")), 3600.0)

    assert bench.upkeep.promote() == 0
    bench.make_due()
    assert bench.upkeep.promote() == 1
    assert bench.queue() == [b"mailerd slice shop/b1\na\nb"]


def test_a_job_given_back_is_the_next_one(bench: LedgerBench) -> None:
    """It goes to the head, its bytes unchanged, once."""
    worker, claim = claim_in_hand(bench)
    bench.push(job(["b"], "b2"))

    worker.claims.give_back(claim)
    worker.claims.give_back(claim)

    assert bench.queue() == [ONE.to_json(), job(["b"], "b2").to_json()]
    assert bench.hand(worker) == []


def test_a_batch_says_what_it_waits_for(bench: LedgerBench) -> None:
    """The reason of a blocked route is shown until the batch has ended."""
    worker, claim = claim_in_hand(bench)
    batch = worker.admit(ONE)

    worker.claims.give_back(claim, batch.tag, "contacts: no answer")
    assert bench.batches.find("b1")[0].waiting_for == "contacts: no answer"

    worker.claim(batch, "a")
    worker.mark(batch, booking("a", Kind.SENT))
    assert bench.batches.find("b1")[0].waiting_for is None


def test_a_batch_that_is_not_registered_waits_for_nothing(bench: LedgerBench) -> None:
    """Giving a job back makes no record."""
    worker, claim = claim_in_hand(bench)

    worker.claims.give_back(claim, "shop/b1", "contacts: no answer")

    assert not bench.record()


def test_a_buried_job_keeps_its_bytes_and_its_reason(bench: LedgerBench) -> None:
    """Whatever the bytes are; once, however often it is repeated."""
    raw = b'\xff\x00{"client_id":\r\n'
    bench.push(raw)
    worker = bench.hands()
    claim = worker.took()

    worker.claims.bury(claim, "no job")
    worker.claims.bury(claim, "no job")

    [letter] = bench.dead.newest(10)
    assert (letter.raw, letter.reason) == (raw, "no job")
    assert bench.leftovers() == {}


@pytest.mark.parametrize("end", ["ack", "give_back", "bury"])
def test_a_lapsed_claim_is_somebody_elses(bench: LedgerBench, end: str) -> None:
    """Without its lease a worker lets go of nothing, and is told."""
    worker, claim = claim_in_hand(bench)
    worker.die()
    ends: dict[str, Callable[[Claims], None]] = {
        "ack": lambda claims: claims.ack(claim),
        "give_back": lambda claims: claims.give_back(claim),
        "bury": lambda claims: claims.bury(claim, "no job"),
    }

    with pytest.raises(LeaseLost):
        ends[end](worker.claims)

    assert bench.hand(worker) == [ONE.to_json()]
    assert bench.queue() == []
    assert bench.dead.newest(10) == []


@pytest.mark.covers("queues-32")
def test_identical_jobs_are_let_go_of_one_by_one(bench: LedgerBench) -> None:
    """Three pushes of the same bytes are three jobs."""
    bench.push(ONE, ONE, ONE)
    worker = bench.hands()

    worker.claims.ack(worker.took())
    worker.claims.bury(worker.took(), "no job")

    assert bench.queue() == [ONE.to_json()]


# take: blocking, which only a real server does


@pytest.fixture(params=FETCHES)
def fetching(request: pytest.FixtureRequest, valkey: RedisServer) -> Iterator[LedgerBench]:
    """A queue on the real server, once for each way to fetch."""
    client = valkey.client()
    yield LedgerBench(client, valkey.url, fetch=request.param)
    client.close()


def taker(bench: LedgerBench, url: str = "") -> Taker:
    config = bench.config.with_redis_url(url) if url else bench.config
    return Taker(config, bench.keys, bench.client, bench.patience(Stop()))


def test_jobs_are_taken_in_the_order_of_their_pushes(fetching: LedgerBench) -> None:
    """One at a time, into the worker's own hand."""
    bench, worker = fetching, fetching.hands()
    one, two = job(["a"]), job(["b"])
    bench.push(one, two)
    take = taker(bench)

    for pushed in (one, two):
        claim = take.take(worker.lease)
        assert claim == Claim(pushed.to_json(), job_id(pushed.to_json()), worker.incarnation)
        assert bench.hand(worker) == [pushed.to_json()]
        worker.claims.ack(claim)
    assert bench.leftovers() == {}


@pytest.mark.covers("queues-39")
def test_a_job_pushed_while_a_worker_waits_is_taken_at_once(fetching: LedgerBench) -> None:
    """An idle worker is asleep in the server, not between two polls."""
    bench, worker = fetching, fetching.hands()
    take, taken = taker(bench), []
    thread = threading.Thread(target=lambda: taken.append(take.take(worker.lease)))
    thread.start()
    wait_until(lambda: blocked(bench), 3)

    bench.push(ONE)
    thread.join(2)

    assert not thread.is_alive()
    assert taken[0].raw == ONE.to_json()


def test_a_waiting_take_ends_at_once_when_unblocked(fetching: LedgerBench) -> None:
    """A stop does not wait for the block to end, and the taker is as good as before."""
    bench, worker = fetching, fetching.hands()
    take, taken = taker(bench), []
    thread = threading.Thread(target=lambda: taken.append(take.take(worker.lease)))
    thread.start()
    wait_until(lambda: blocked(bench), 3)

    take.unblock()
    thread.join(1)

    assert not thread.is_alive()
    assert taken == [None]
    bench.push(ONE)
    assert take.take(worker.lease) is not None


@pytest.mark.covers("queues-7")
def test_a_take_unblocked_by_an_error_can_be_repeated(real_bench: LedgerBench) -> None:
    """What a server says to blocked clients when its role changes is a fault that passes."""
    bench, worker = real_bench, real_bench.hands()
    take = taker(bench)
    faults: list[Exception] = []

    def taking() -> None:
        try:
            take.take(worker.lease)
        except RedisUnavailable as fault:
            faults.append(fault)

    thread = threading.Thread(target=taking)
    thread.start()
    wait_until(lambda: blocked(bench), 3)
    bench.client.client_unblock(take._client_id, error=True)
    thread.join(2)

    assert [str(fault)[:9] for fault in faults] == ["UNBLOCKED"]
    bench.push(ONE)
    assert take.take(worker.lease) is not None


def blocked(bench: LedgerBench) -> bool:
    return int(bench.client.info("clients")["blocked_clients"]) > 0


@pytest.mark.covers("queues-13")
def test_a_job_whose_answer_was_lost_is_found_by_the_next_take(
    real_bench: LedgerBench, valkey: RedisServer
) -> None:
    """BLMOVE was carried out and its reply swallowed: the job is in hand and is the next one taken."""
    bench, worker = real_bench, real_bench.hands()
    two = job(["b"])
    with Proxy(valkey.port) as proxy:
        take = taker(bench, f"redis://127.0.0.1:{proxy.port}/0")
        proxy.swallow(b"contact_ids")
        bench.push(ONE, two)

        with pytest.raises(RedisUnavailable):
            take.take(worker.lease)
        assert proxy.swallowed == 1
        assert bench.hand(worker) == [ONE.to_json()]

        for pushed in (ONE, two):
            claim = take.take(worker.lease)
            assert claim is not None
            assert claim.raw == pushed.to_json()
            worker.claims.ack(claim)
    assert bench.leftovers() == {}


def test_a_job_that_came_by_a_lost_answer_late_is_taken_too(real_bench: LedgerBench) -> None:
    """Two jobs in hand, one from a late BLMOVE: both are worked on, the older first."""
    bench, worker = real_bench, real_bench.hands()
    one, two, three = job(["a"]), job(["b"]), job(["c"])
    bench.push(one, two, three)
    take = taker(bench)
    claim = take.take(worker.lease)
    assert claim is not None
    bench.client.lmove(bench.keys.queue, bench.keys.hand(worker.incarnation), "RIGHT", "LEFT")

    taken = []
    while claim is not None and len(taken) < 3:
        taken.append(claim.raw)
        worker.claims.ack(claim)
        claim = take.take(worker.lease) if len(taken) < 3 else None

    assert taken == [one.to_json(), two.to_json(), three.to_json()]
    assert bench.leftovers() == {}


def test_a_slice_left_in_hand_by_a_lost_draw_is_taken_next(real_bench: LedgerBench) -> None:
    """The ticket became a slice and nobody heard of it: the next look finds the slice."""
    bench, worker = real_bench, real_bench.hands()
    worker.admit(job(contacts(20)), slice_size=10)
    take = taker(bench)
    assert take.take(worker.lease) is not None
    drawn = worker.ledger.draw(Ticket("shop", "b1"))

    claim = take.take(worker.lease)

    assert claim is not None
    assert claim.raw == drawn


def test_brpop_is_literal_and_records_what_it_popped(valkey: RedisServer) -> None:
    """The job goes from the queue by BRPOP and into the hand by a script that may be repeated."""
    with valkey.client() as client, valkey.client() as watcher:
        bench = LedgerBench(client, valkey.url, fetch="brpop")
        worker = bench.hands()
        bench.push(ONE)
        with watcher.monitor() as commands:
            taker(bench).take(worker.lease)
            client.ping()
            seen = []
            for command in commands.listen():
                seen.append(command["command"].split()[0].upper())
                if seen[-1] == "PING":
                    break
        assert "BRPOP" in seen
        assert "BLMOVE" not in seen

        record = [bench.keys.lease(worker.incarnation), bench.keys.hand(worker.incarnation)]
        run(client, "record", record, [60_000, ONE.to_json()])
        assert bench.hand(worker) == [ONE.to_json()]


def test_a_popped_job_is_recorded_even_without_a_lease(real_bench: LedgerBench) -> None:
    """The hand of a dead incarnation is looked at too, so the job is there and not lost."""
    bench, worker = real_bench, real_bench.hands()
    worker.die()
    hand = bench.keys.hand(worker.incarnation)

    run(bench.client, "record", [bench.keys.lease(worker.incarnation), hand], [60_000, ONE.to_json()])
    bench.upkeep.reap(worker.incarnation, Blame.NONE)

    assert bench.queue() == [ONE.to_json()]


def test_a_silent_server_is_left_within_the_block_and_five_seconds(redis_server: RedisServer) -> None:
    """Hanging up ends a take at once under a server that does not answer."""
    with redis_server.client() as client:
        bench = LedgerBench(client, redis_server.url)
        worker, take = bench.hands(), taker(bench)
        faults: list[Exception] = []

        def taking() -> None:
            try:
                take.take(worker.lease)
            except RedisUnavailable as fault:
                faults.append(fault)

        thread = threading.Thread(target=taking)
        thread.start()
        wait_until(lambda: blocked(bench), 3)
        redis_server.freeze()
        take.hang_up()
        thread.join(2)
        redis_server.thaw()

        assert len(faults) == 1


@pytest.mark.covers("supervisor-27", "queues-39")
def test_a_take_that_waited_in_vain_is_no_fault(
    fetching: LedgerBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our own time-out is longer than the server's block: None after that block, on the same connection."""
    monkeypatch.setattr("mailerd.queue.claims.BLOCK", 1)
    bench, worker = fetching, fetching.hands()
    take = taker(bench)

    assert take.take(worker.lease) is None
    before, begun = take._client_id, bench.clock.monotonic()
    assert take.take(worker.lease) is None

    assert bench.clock.monotonic() - begun > 0.9
    assert take._client_id == before


@pytest.mark.slow
@pytest.mark.covers("supervisor-25")
def test_a_take_over_a_dead_link_ends_by_itself(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no answer comes, it is given up five seconds after the block; the next one connects anew."""
    monkeypatch.setattr("mailerd.queue.claims.BLOCK", 1)
    with redis_server.client() as client:
        bench = LedgerBench(client, redis_server.url)
        worker, take = bench.hands(), taker(bench)
        redis_server.freeze()
        begun = bench.clock.monotonic()
        with pytest.raises(RedisUnavailable):
            take.take(worker.lease)
        seconds = bench.clock.monotonic() - begun
        redis_server.thaw()

        assert seconds < 8
        bench.push(ONE)
        assert take.take(worker.lease) is not None


# a full Redis


def fill(bench: LedgerBench) -> None:
    """From now on everything that needs memory is refused."""
    bench.client.config_set("maxmemory-policy", "noeviction")
    bench.client.config_set("maxmemory", "1")
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        bench.client.set("x", "x")


@pytest.fixture(params=FETCHES)
def full(request: pytest.FixtureRequest, redis_server: RedisServer) -> Iterator[LedgerBench]:
    """A queue on a server of the test's own, that ``fill`` makes full."""
    with redis_server.client() as client:
        yield LedgerBench(client, redis_server.url, fetch=request.param)


@pytest.mark.covers("queues-10")
def test_a_full_redis_can_be_drained(full: LedgerBench) -> None:
    """From the take to the last outcome, and whatever an accident needs, nothing is refused."""
    bench = full
    for one in (job(contacts(12)), job(["x", "y", "z"], "b2"), job(["p"], "b3")):
        bench.push(one)
    dead = bench.hands()
    dead.took()
    fill(bench)
    dead.die()

    assert bench.upkeep.reap(dead.incarnation, Blame.SEEN_TO_DIE) == 1
    worker, take = bench.hands(), taker(bench)
    assert worker.lease.renew(bench.client, bench.keys)
    claim = take.take(worker.lease)
    assert claim is not None
    batch = worker.admit(job(contacts(12)), slice_size=10)
    worker.ledger.pin(batch, "digest", b"packed", "hold")
    worker.claims.ack(claim)

    claim = take.take(worker.lease)
    assert claim is not None
    second = worker.admit(job(["x", "y", "z"], "b2"))
    assert worker.claim(second, "x", "y", "z") == ["claimed"] * 3
    worker.mark(second, booking("x", Kind.SENT), booking("y", Kind.DEFERRED), booking("z", Kind.FAILED))
    worker.claims.ack(claim, Slice("shop", "b2", ("y",)))

    claim = take.take(worker.lease)
    assert claim is not None
    worker.claims.give_back(claim)
    claim = take.take(worker.lease)
    assert claim is not None
    worker.claims.bury(claim, "no job")

    claim = take.take(worker.lease)
    assert claim is not None
    assert worker.ledger.draw(Ticket("shop", "b1")) is not None
    assert bench.upkeep.promote() == 2
    for tag in ("b1", "b2"):
        bench.assert_conserved(tag)


def test_old_batches_are_forgotten_also_when_redis_is_full(full: LedgerBench) -> None:
    """What makes room again needs none."""
    bench = full
    worker = bench.hands()
    batch = worker.admit(job(contacts(100)))
    worker.ledger.pin(batch, "digest", b"packed", "hold")
    worker.mark(batch, *[booking(contact, Kind.INVALID) for contact in contacts(100)])
    bench.client.hset(bench.keys.batch("shop/b1"), "finished", 1)
    bench.client.zadd(bench.keys.ended, {"shop/b1": 1})
    fill(bench)

    assert bench.upkeep.forget_old_batches() == 1

    assert not bench.client.keys(bench.keys.batch("*"))


def test_a_full_redis_with_an_empty_queue_is_a_fault_that_passes(redis_server: RedisServer) -> None:
    """Where BLMOVE does not block, a take must not spin: the caller is to pause and try again."""
    with redis_server.client() as client:
        bench = LedgerBench(client, redis_server.url)
        worker, take = bench.hands(), taker(bench)
        fill(bench)

        with pytest.raises(RedisUnavailable, match="OOM"):
            take.take(worker.lease)


def test_enqueueing_into_a_full_redis_is_a_fault_that_passes(full: LedgerBench) -> None:
    """The door answers 503, and nothing of the batch is there."""
    bench = full
    fill(bench)

    with pytest.raises(RedisUnavailable, match="nearly full"):
        bench.enqueuer().enqueue(ONE, "request")

    assert not bench.record()


# errors by their names


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        ("OOM command not allowed when used memory > 'maxmemory'.", RedisUnavailable),
        ("LOADING Redis is loading the dataset in memory", RedisUnavailable),
        ("MASTERDOWN Link with MASTER is down", RedisUnavailable),
        ("CLUSTERDOWN The cluster is down", RedisUnavailable),
        ("TRYAGAIN Multiple keys request during rehashing of slot", RedisUnavailable),
        ("READONLY You can't write against a read only replica.", RedisUnavailable),
        ("MISCONF Redis is configured to save RDB snapshots", RedisUnavailable),
        ("UNBLOCKED client unblocked via CLIENT UNBLOCK", RedisUnavailable),
        ("NOREPLICAS Not enough good replicas to write.", RedisUnavailable),
        ("BUSY Redis is busy running a script.", RedisUnavailable),
        ("NOAUTH Authentication required.", RedisRefused),
        ("WRONGPASS invalid username-password pair", RedisRefused),
        ("NOPERM this user has no permissions", RedisRefused),
    ],
)
def test_a_reply_of_redis_is_known_by_its_code(reply: str, fault: type[Exception]) -> None:
    """Whatever class redis-py makes of it, and with the code in the words."""
    with pytest.raises(fault, match=reply.split(maxsplit=1)[0]), translated():
        raise BaseParser.parse_error(reply)
