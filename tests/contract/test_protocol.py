"""What queues elsewhere broke on, against real servers: kinds of server, faults, sizes and slow lines."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis

from mailerd import EmailQueue
from mailerd.board import Board
from mailerd.clock import Stop, SystemClock
from mailerd.errors import RedisUnavailable
from mailerd.outcome import Kind
from mailerd.queue.actions import Actions
from mailerd.queue.batches import queue_status
from mailerd.queue.claims import Claim, Taker
from mailerd.queue.connection import connect
from mailerd.queue.keys import Batch, Keys
from mailerd.queue.lease import Lease, register
from mailerd.queue.model import Action, Admission
from mailerd.queue.payloads import Slice, Ticket, job_id
from mailerd.queue.upkeep import Blame
from mailerd.work.keeper import Keeper
from rigs.ledger_bench import Hands, LedgerBench, booking, contacts, job
from rigs.ports import free_port
from rigs.proxy import Proxy
from rigs.redis_server import RedisServer
from rigs.waiting import holds_for, wait_until

Servers = Callable[..., RedisServer]
ONE = job(["a"])


def taker(bench: LedgerBench) -> Taker:
    return Taker(bench.config, bench.keys, bench.client, bench.patience(Stop()))


def taken(take: Taker, worker: Hands) -> Claim:
    claim = take.take(worker.lease)
    assert claim is not None, "the queue is empty"
    return claim


def whole_protocol(bench: LedgerBench) -> None:
    """Each script and each chore once: enqueue, take, admit, cut, draw, claim, mark, let go, reap, sweep."""
    worker, take = bench.hands(), taker(bench)
    actions = Actions(bench.client, bench.keys)
    bench.enqueuer().enqueue(job(contacts(3), "b0"), "request")
    bench.push(job(contacts(100)), job(["x"], "b2"), b"{")

    claim = taken(take, worker)
    batch = worker.admit(job(contacts(3), "b0"))
    worker.ledger.pin(batch, "digest", b"packed", "hold", "example.com")
    assert worker.claim(batch, "c0", "c1", "c2") == ["claimed"] * 3
    worker.mark(batch, booking("c0", Kind.SENT), booking("c1", Kind.DEFERRED), booking("c2", Kind.FAILED))
    worker.claims.ack(claim, Slice("shop", "b0", ("c1",)), 0.0)

    claim = taken(take, worker)
    cut = worker.admit(job(contacts(100)), slice_size=10)
    worker.claims.ack(claim)

    worker.claims.give_back(taken(take, worker))
    claim = taken(take, worker)
    worker.admit(job(["x"], "b2"))
    assert actions.act(Action.PAUSE, "shop", "b2") == "done"
    worker.claims.park(claim, "shop/b2")
    assert actions.act(Action.RESUME, "shop", "b2") == "done"
    bench.upkeep.tend()
    worker.claims.ack(taken(take, worker))
    worker.claims.bury(taken(take, worker), "no job")
    the_end_of_a_worker(bench, worker, take, cut)


def the_end_of_a_worker(bench: LedgerBench, worker: Hands, take: Taker, cut: Batch) -> None:
    """It dies with a slice in hand; its heir and an operator end what is left."""
    actions = Actions(bench.client, bench.keys)
    assert taken(take, worker).raw == Ticket("shop", "b1").to_bytes()
    assert worker.ledger.draw(Ticket("shop", "b1")) is not None
    worker.claim(cut, "c0")
    worker.die()
    assert bench.upkeep.reap_lapsed() == 1
    bench.upkeep.visit_graves()

    heir = bench.hands()
    assert heir.claim(cut, "c0", "c1") == ["unknown", "claimed"]
    assert heir.lease.renew(bench.client, bench.keys)
    assert actions.act(Action.CANCEL, "shop", "b1") == "done"
    bench.upkeep.sweep()
    bench.upkeep.promote()
    bench.upkeep.forget_old_batches()
    assert queue_status(bench.client, bench.keys).dead == 1
    for batch_id in ("b0", "b1", "b2"):
        bench.assert_conserved(batch_id)


# other kinds of server


@pytest.mark.parametrize("program", ["valkey_program", "debian_redis_program"])
@pytest.mark.covers("queues-27")
def test_the_whole_protocol_on_a_node_of_a_cluster(
    redis_servers: Servers, request: pytest.FixtureRequest, program: str
) -> None:
    """The node has the queue's slot alone: whatever touches another, declared or not, would be refused."""
    settings = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    settings += ("--cluster-require-full-coverage", "no")
    server = redis_servers(request.getfixturevalue(program), settings=settings).start()
    with server.client() as client:
        bench = LedgerBench(client, server.url)
        client.execute_command(
            "CLUSTER ADDSLOTS", client.execute_command("CLUSTER KEYSLOT", bench.keys.queue)
        )
        wait_until(lambda: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok", 15)
        with pytest.raises(redis.exceptions.ClusterDownError, match="slot not served"):
            client.get("elsewhere")
        whole_protocol(bench)


@pytest.mark.covers("queues-28")
def test_the_whole_protocol_without_the_right_to_search(redis_servers: Servers) -> None:
    """Nothing walks through the keys of the server, of which a million are others': no KEYS and no SCAN."""
    server = redis_servers(settings=("--enable-debug-command", "local")).start()
    rights = ["+@all", "-keys", "-scan", "-randomkey", "-flushall", "-flushdb"]
    with server.client() as admin:
        admin.execute_command("DEBUG POPULATE", 1_000_000)
        admin.execute_command("ACL SETUSER", "limited", "on", ">secret", "~*", "&*", *rights)
        admin.config_set("slowlog-log-slower-than", 250_000)
        admin.slowlog_reset()
        with server.client(username="limited", password="secret") as client:
            whole_protocol(LedgerBench(client, server.url.replace("://", "://limited:secret@")))
        assert admin.slowlog_get() == []


# faults of the server


@pytest.mark.slow
@pytest.mark.covers("queues-5")
def test_a_take_from_a_silent_server_ends_by_itself(
    redis_servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that stays open and says nothing is given up soon after the block is over."""
    monkeypatch.setattr("mailerd.queue.claims.BLOCK", 1)
    server = redis_servers().start()
    with server.client() as client:
        bench = LedgerBench(client, server.url)
        worker, take = bench.hands(), taker(bench)
        bench.push(ONE)
        worker.claims.ack(taken(take, worker))
        faults: list[RedisUnavailable] = []

        def taking() -> None:
            with pytest.raises(RedisUnavailable) as caught:
                take.take(worker.lease)
            faults.append(caught.value)

        thread = threading.Thread(target=taking, daemon=True)
        thread.start()
        wait_until(lambda: client.info("clients")["blocked_clients"], 3)
        server.freeze()
        wait_until(lambda: faults, 9, "the take still waits")
        server.thaw()
        bench.push(ONE)
        assert taken(take, worker).raw == ONE.to_json()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


@pytest.mark.covers("queues-6")
def test_a_demoted_master_is_left_for_its_successor(redis_servers: Servers, stack: ExitStack) -> None:
    """Behind one address another server is master now: after a READONLY work goes on there."""
    at_once = ("--repl-diskless-sync-delay", "0")
    old, new = redis_servers(settings=at_once).start(), redis_servers().start()
    on_old, on_new = stack.enter_context(old.client()), stack.enter_context(new.client())
    proxy = stack.enter_context(Proxy(old.port))
    settings = LedgerBench(on_old, f"redis://127.0.0.1:{proxy.port}/0").config.redis
    client = stack.enter_context(connect(settings))
    bench = LedgerBench(client, f"redis://127.0.0.1:{proxy.port}/0")
    worker, take = bench.hands(), taker(bench)
    stack.callback(take._blocking.close)
    bench.push(job(["first"]), ONE)
    worker.claims.ack(taken(take, worker))
    on_new.replicaof("127.0.0.1", old.port)
    wait_until(lambda: on_new.exists(bench.keys.lease(worker.incarnation)), 10)

    on_new.replicaof("NO", "ONE")
    on_old.replicaof("127.0.0.1", new.port)
    proxy._target = new.port

    assert repeated(lambda: worker.lease.renew(client, bench.keys))
    claim = repeated(lambda: take.take(worker.lease))
    assert claim is not None
    assert claim.raw == ONE.to_json()
    worker.claims.ack(claim)


def repeated(operation: Callable[[], object]) -> object:
    """As Patience does, for a few seconds."""

    def attempt() -> object:
        try:
            return operation()
        except RedisUnavailable:
            return None

    return wait_until(attempt, 5)


@pytest.mark.covers("queues-9")
def test_saves_that_fail_are_waited_for(redis_servers: Servers) -> None:
    """MISCONF is a fault that passes: nothing is taken meanwhile, and afterwards the job is there."""
    server = redis_servers(settings=("--save", "3600 1")).start()
    with server.client() as client:
        bench = LedgerBench(client, server.url)
        worker, take = bench.hands(), taker(bench)
        bench.push(ONE)
        in_the_way = server.folder / "dump.rdb" / "x"
        in_the_way.mkdir(parents=True)
        save(client, "err")

        for refused in (lambda: take.take(worker.lease), lambda: worker.lease.renew(client, bench.keys)):
            with pytest.raises(RedisUnavailable, match="MISCONF"):
                refused()

        shutil.rmtree(in_the_way.parent)
        save(client, "ok")
        assert taken(take, worker).raw == ONE.to_json()


def save(client: redis.Redis, outcome: str) -> None:
    client.bgsave()
    wait_until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == outcome, 10)


@pytest.mark.covers("queues-12")
def test_a_push_whose_answer_is_lost_is_not_repeated(valkey: RedisServer) -> None:
    """The producer hears of the fault and decides; the client library never pushes a second time."""
    with valkey.client() as client, Proxy(valkey.port) as proxy:
        producer = EmailQueue.connect(f"127.0.0.1:{proxy.port}")
        proxy.swallow(b":1\r\n")

        with pytest.raises(RedisUnavailable):
            producer.enqueue(ONE)

        assert proxy.swallowed == 1
        assert client.llen("email_queue") == 1


# what is lost alone, and what is there twice


@pytest.mark.parametrize("lost", ["lease", "workers", "jobs", "graves"])
@pytest.mark.covers("queues-16")
def test_no_key_beside_the_hand_keeps_a_job_from_coming_back(real_bench: LedgerBench, lost: str) -> None:
    """Whichever of them is lost while the job is in hand: when its worker is dead, the job is back."""
    bench, keys = real_bench, real_bench.keys
    bench.push(ONE)
    worker = bench.hands()
    worker.took()
    names = {"lease": keys.lease(worker.incarnation), "workers": keys.workers, "jobs": keys.jobs}
    bench.client.delete(names.get(lost, keys.graves))
    worker.lease.renew(bench.client, keys)
    worker.die()

    assert bench.upkeep.reap_lapsed() == 1
    assert bench.queue() == [ONE.to_json()]


@pytest.mark.covers("queues-17")
def test_a_job_that_was_done_and_never_acked_mails_nobody_again(real_bench: LedgerBench) -> None:
    """It comes back as often as its ack fails, and finds everybody settled."""
    bench = real_bench
    bench.push(job(["a", "b"]))
    for round_ in range(5):
        worker = bench.hands()
        worker.took()
        batch = worker.admit(job(["a", "b"]))
        assert worker.claim(batch, "a", "b") == ["settled" if round_ else "claimed"] * 2
        worker.mark(batch, booking("a", Kind.SENT), booking("b", Kind.SENT))
        worker.die()
        bench.upkeep.reap(worker.incarnation, Blame.NONE)
    assert bench.counts() == {"sent": 2}


@pytest.mark.covers("queues-31")
def test_no_way_back_to_the_queue_changes_a_byte(real_bench: LedgerBench) -> None:
    """Large numbers, empty lists and objects, escapes and spaces survive give-back, death and burial."""
    bench = real_bench
    raw = b'{"n": 9007199254740993, "e": [], "o": {}, "f": 1.0, "u": "\\u00e9\xc3\xa9\\/", "ids": ["a"]} '
    bench.push(raw)
    worker = bench.hands()
    worker.claims.give_back(worker.took())
    worker.took()
    worker.die()
    bench.upkeep.reap(worker.incarnation, Blame.SEEN_TO_DIE)
    heir = bench.hands()
    heir.claims.bury(heir.took(), "no job")
    [letter] = bench.dead.newest(10)

    assert letter.raw == raw


@pytest.mark.covers("queues-32")
def test_identical_rests_are_put_aside_one_by_one(bench: LedgerBench) -> None:
    """Three equal payloads that come back at the same time come back as three."""
    bench.push(ONE, ONE, ONE)
    worker = bench.hands()
    for _ in range(3):
        worker.claims.ack(worker.took(), Slice("shop", "b1", ("a",)), 0.0)

    bench.make_due()

    assert bench.upkeep.promote() == 3
    assert bench.queue() == [b"mailerd slice shop/b1\na"] * 3


@pytest.mark.covers("queues-34")
def test_a_batch_whose_worker_died_is_known_and_goes_on(real_bench: LedgerBench) -> None:
    """No lock is left behind: the same request is a replay, and the next worker takes the batch on."""
    bench = real_bench
    assert bench.enqueuer().enqueue(ONE, "first").admission is Admission.QUEUED
    dead = bench.hands()
    dead.took()
    dead.admit(ONE)
    dead.die()

    assert bench.enqueuer().enqueue(ONE, "second").admission is Admission.REPLAYED
    bench.upkeep.reap_lapsed()
    heir = bench.hands()
    heir.took()
    assert heir.claim(heir.open(ONE).batch, "a") == ["claimed"]


class Skewed(SystemClock):
    """A host whose clocks are ten minutes ahead."""

    def now(self) -> float:
        return super().now() + 600

    def monotonic(self) -> float:
        return super().monotonic() + 600


@pytest.mark.covers("queues-43")
def test_a_clock_ahead_brings_nothing_forward(real_bench: LedgerBench) -> None:
    """Retries and recoveries go by the server's time: a host ten minutes ahead reaps and promotes nothing."""
    bench = real_bench
    worker = bench.hands()
    bench.push(ONE)
    worker.took()
    batch = worker.admit(ONE)
    worker.claim(batch, "a")
    bench.clock = Skewed()
    ahead = bench.hands()

    ahead.lease.renew(bench.client, bench.keys)
    assert bench.upkeep.reap_lapsed() == 0
    assert ahead.claim(batch, "a") == ["busy"]
    worker.mark(batch, booking("a", Kind.DEFERRED, delay=300.0))
    assert bench.upkeep.promote() == 0
    assert 59_000 < bench.client.pttl(bench.keys.lease(ahead.incarnation)) <= 60_000


@pytest.mark.covers("queues-37", "mail-26")
def test_one_client_among_a_hundred_long_batches_of_another(real_bench: LedgerBench) -> None:
    """Slices go round in turn: whoever comes last waits for one slice of each long batch, not for all."""
    bench, worker = real_bench, real_bench.hands()
    for number in range(100):
        bench.push(job(contacts(50), f"long{number}"))
    for number in range(100):
        claim = worker.took()
        worker.admit(job(contacts(50), f"long{number}"), slice_size=10)
        worker.claims.ack(claim)
    bench.push(job(["a"], "short", "other"))

    turns = 0
    while (claim := worker.took()).raw.startswith(b"mailerd ticket"):
        ticket = claim.raw.decode().rpartition("/")[2]
        drawn = worker.ledger.draw(Ticket("shop", ticket))
        assert drawn is not None
        worker.claims.ack(Claim(drawn, job_id(drawn), worker.incarnation))
        turns += 1

    assert turns == 100


# leases of the living


def kept(stack: ExitStack, folder: Path, url: str, seconds: float, number: int) -> Lease:
    """A lease that a keeper's thread keeps, as in a worker, until the stack is left."""
    config = LedgerBench(redis.Redis(), url, lease=seconds).config
    keys, clock, stops = Keys(config.queue.name), SystemClock(), (Stop(), Stop())
    client = stack.enter_context(connect(config.redis, timeout=seconds / 5))
    slot = Board.create(folder / str(number), 1, 1).slots[0]
    bench = LedgerBench(client, url)
    keeper = Keeper(client, keys, taker(bench), slot, stops, clock, lambda: None)
    lease = register(client, keys, seconds, clock)
    keeper.start(lease)
    stack.callback(keeper.close)
    return lease


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "delay", "lease", "seconds"), [(1, 0.0, 3.0, 9.0), (200, 0.5, 5.0, 7.0)])
@pytest.mark.covers("queues-18", "queues-21")
def test_the_living_are_never_reaped(
    valkey: RedisServer,
    tmp_path: Path,
    stack: ExitStack,
    workers: int,
    delay: float,
    lease: float,
    seconds: float,
) -> None:
    """A job may take many times its lease, and Redis may be slow: whoever renews keeps what it has."""
    client = stack.enter_context(valkey.client())
    proxy = stack.enter_context(Proxy(valkey.port))
    url = f"redis://127.0.0.1:{proxy.port}/0"
    leases = [kept(stack, tmp_path, url, lease, number) for number in range(workers)]
    reaper = LedgerBench(client, valkey.url)
    stack.callback(setattr, proxy, "delay", 0.0)

    proxy.delay = delay
    holds_for(lambda: reaper.upkeep.reap_lapsed() == 0, seconds, "a false recovery")

    assert all(one.lives() for one in leases)


def test_a_lease_that_has_lapsed_is_told_once(
    valkey: RedisServer, tmp_path: Path, stack: ExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    """However long its worker waits for something else before it hears of it."""
    client = stack.enter_context(valkey.client())
    lease = kept(stack, tmp_path, valkey.url, 1.0, 0)

    def renewals() -> int:
        stats: Any = client.info("commandstats")
        return int(stats["cmdstat_evalsha"]["calls"])

    client.delete(LedgerBench(client).keys.lease(lease.incarnation))
    before = renewals()
    wait_until(lambda: renewals() >= before + 3)

    assert [record.event for record in caplog.records] == ["lease.lapsed"]


# sizes


@pytest.mark.slow
@pytest.mark.covers("queues-24")
def test_ten_thousand_orphans_come_back_though_a_reaper_stops_half_way(real_bench: LedgerBench) -> None:
    """No lock is left behind and no round has a limit: the next reaper brings back all that is left."""
    bench, keys = real_bench, real_bench.keys
    many = bench.client.pipeline(transaction=False)
    for number in range(10_000):
        many.hset(keys.workers, f"d{number}", "{}").lpush(keys.hand(f"d{number}"), f"job {number}")
    many.execute()
    for number in range(100):
        bench.upkeep.reap(f"d{number}", Blame.SEEN_TO_DIE)

    begun = time.monotonic()
    assert bench.upkeep.reap_lapsed() == 9_900

    assert time.monotonic() - begun < 60
    assert len(set(bench.queue())) == 10_000


@pytest.mark.slow
@pytest.mark.covers("queues-29")
def test_twenty_thousand_of_everything(real_bench: LedgerBench) -> None:
    """Rows, slices, retries and parked jobs: no script takes more on its stack than Lua has room for."""
    bench, many = real_bench, job(contacts(20_000))
    worker = bench.hands()
    batch = worker.open(many).batch
    cursor = 0
    while cursor < 20_000:
        part = many.distinct()[cursor : cursor + 500]
        cursor, _, _ = worker.ledger.admit(batch, "jid", cursor, part, 1)
    worker.mark(batch, *[booking(contact, Kind.FAILED) for contact in contacts(20_000)])
    actions = Actions(bench.client, bench.keys)
    assert actions.act(Action.RETRY, "shop", "b1") == "done"
    bench.upkeep.sweep()
    assert bench.counts() == {"queued": 20_000}
    assert bench.client.llen(bench.keys.side("shop/b1")) > 20_000
    aside = bench.client.pipeline(transaction=False)
    for number in range(20_000):
        aside.hset(bench.keys.later, str(number), "job").zadd(bench.keys.retry, {str(number): 0})
        aside.rpush(bench.keys.parked("shop/b1"), "parked")
    aside.execute()
    assert bench.upkeep.promote() == 20_000
    assert actions.act(Action.CANCEL, "shop", "b1") == "done"
    bench.upkeep.sweep()
    assert bench.counts() == {"cancelled": 20_000}
    assert bench.upkeep.length() == 40_001
    drawn = {worker.took().raw for _ in range(20_001)}
    assert drawn == {b"parked", Ticket("shop", "b1").to_bytes()}
    assert worker.ledger.draw(Ticket("shop", "b1")) is None
    assert not bench.client.exists(bench.keys.side("shop/b1"))


@pytest.mark.covers("queues-30")
def test_an_ack_does_not_look_through_the_queue(real_bench: LedgerBench) -> None:
    """It searches the worker's own hand: a hundred thousand waiting jobs cost nothing."""
    bench, worker = real_bench, real_bench.hands()
    fill = "for n = 1, 100000 do redis.call('LPUSH', KEYS[1], 'waiting ' .. n) end"
    bench.client.eval(fill, 1, bench.keys.queue)
    took = []
    for _ in range(50):
        claim = worker.took()
        bench.client.config_resetstat()
        worker.claims.ack(claim)
        took.append(bench.client.info("commandstats")["cmdstat_lrem"]["usec"])

    # Searching a list of that length takes milliseconds.
    assert min(took) < 200


@pytest.mark.slow
@pytest.mark.covers("queues-44")
def test_the_status_of_a_million_jobs_is_told_at_once(real_bench: LedgerBench) -> None:
    """Lengths are asked for, lists are not read."""
    bench = real_bench
    fill = "for n = 1, 1000000 do redis.call('LPUSH', KEYS[1], 'waiting') end"
    bench.client.eval(fill, 1, bench.keys.queue)
    bench.client.config_resetstat()
    took = []
    for _ in range(5):
        begun = time.monotonic()
        assert queue_status(bench.client, bench.keys).length == 1_000_000
        took.append(time.monotonic() - begun)

    assert min(took) < 0.1
    called = bench.client.info("commandstats")
    assert not [name for name in called if name.removeprefix("cmdstat_") in ("lrange", "keys", "scan")]
