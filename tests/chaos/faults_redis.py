"""Faults of Redis and of the way to it; each works on the real server, directly, or on a host's proxy."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psutil
import redis

from chaos import boards
from chaos.leftovers import KEYS, open_recipients
from chaos.schedule import Fault
from chaos.stage import End, Kill, Stage, nothing
from rigs.waiting import wait_until


@contextlib.contextmanager
def _server(stage: Stage) -> Iterator[Any]:
    with contextlib.closing(stage.fleet.redis.client(socket_timeout=3)) as client:
        yield client


def _clients(client: Any) -> list[dict[str, str]]:
    own = str(client.client_id())
    return [one for one in client.client_list() if one["id"] != own and one["cmd"] != "client|list"]


def client_kill(stage: Stage, fault: Fault) -> End:
    """CLIENT KILL: every second connection."""
    with _server(stage) as client:
        for one in _clients(client)[fault.choice % 2 :: 2]:
            with contextlib.suppress(redis.ResponseError):
                client.client_kill_filter(_id=one["id"])
    return nothing


def client_unblock(stage: Stage, fault: Fault) -> End:
    """CLIENT UNBLOCK ... ERROR: everybody who waits in a BLMOVE."""
    with _server(stage) as client:
        for one in _clients(client):
            client.client_unblock(int(one["id"]), error=True)
    return nothing


def script_flush(stage: Stage, fault: Fault) -> End:
    """SCRIPT FLUSH, again and again."""
    over = threading.Event()

    def flush() -> None:
        with _server(stage) as client:
            while not over.wait(0.005):
                with contextlib.suppress(redis.RedisError):
                    client.script_flush()

    thread = threading.Thread(target=flush, daemon=True)
    thread.start()

    def end() -> None:
        over.set()
        thread.join()

    return end


def _configured(name: str, value: str, back: str) -> Callable[[Stage, Fault], End]:
    def begin(stage: Stage, fault: Fault) -> End:
        with _server(stage) as client:
            client.config_set(name, value)

        def end() -> None:
            with _server(stage) as client:
                client.config_set(name, back)

        return end

    return begin


def save_fails(stage: Stage, fault: Fault) -> End:
    """MISCONF: snapshots are wanted and cannot be written."""
    folder = stage.fleet.redis.folder
    blocker = folder / "dump.rdb"
    with contextlib.suppress(FileNotFoundError):
        blocker.unlink()
    blocker.mkdir()  # a file can be renamed over no folder
    (blocker / "full").touch()
    with _server(stage) as client:
        client.config_set("save", "3600 1")
        with contextlib.suppress(redis.ResponseError):
            client.bgsave()

    def end() -> None:
        (blocker / "full").unlink()
        blocker.rmdir()
        with _server(stage) as client:
            client.config_set("save", "")

    return end


def read_only(stage: Stage, fault: Fault) -> End:
    """REPLICAOF on the live node: it refuses every write."""
    with _server(stage) as client:
        client.replicaof("127.0.0.1", 1)

    def end() -> None:
        with _server(stage) as client:
            client.replicaof("NO", "ONE")

    return end


def frozen(stage: Stage, fault: Fault) -> End:
    """A server that answers nobody, its connections open."""
    stage.fleet.redis.freeze()
    return stage.fleet.redis.thaw


def killed(stage: Stage, fault: Fault) -> End:
    """Kill -9 of Redis, which keeps an append-only file; started again a moment later."""
    stage.fleet.redis.kill()

    def end() -> None:
        stage.fleet.redis.start()

    return end


def drop_reply(stage: Stage, fault: Fault) -> End:
    """The reply to some command is lost, and its connection with it: once for each host."""
    markers = stage.fleet.setup.markers
    for number, host in enumerate(stage.fleet.hosts):
        host.proxy.swallow(markers[(fault.choice >> (4 * number)) % len(markers)])
    return nothing


def cut(stage: Stage, fault: Fault) -> End:
    """Every connection of one host is cut."""
    stage.fleet.hosts[fault.host].proxy.cut()
    return nothing


def delay(stage: Stage, fault: Fault) -> End:
    """Every reply to one host takes a while."""
    proxy = stage.fleet.hosts[fault.host].proxy
    proxy.delay = 0.05 + fault.choice % 200 / 1000

    def end() -> None:
        proxy.delay = stage.fleet.setup.reply_delay

    return end


def black_hole(stage: Stage, fault: Fault) -> End:
    """One host's packets vanish, and no connection ends."""
    proxy = stage.fleet.hosts[fault.host].proxy
    proxy.black_hole()
    return proxy.heal


def parked_take(stage: Stage, fault: Fault) -> End:
    """
    Workers die while they wait for a job, and Redis never learns of it: the next job is theirs.

    It comes once they have been buried.
    """
    host, producers = stage.fleet.hosts[fault.host], stage.producers
    workers = host.daemon.workers()
    ports = frozenset(port for worker in workers for port in host.daemon.ports(worker))
    producers.held = True
    try:
        with _server(stage) as client, contextlib.suppress(AssertionError):
            wait_until(lambda: not client.llen(KEYS.queue) and not open_recipients(client), 5)
            said = client.hgetall(KEYS.workers).items()
            before = {name for name, says in said if _pid(says) in _pids(workers)}
            host.proxy.strand(ports)
            boards.stand_still(workers)
            # Where the queue was not idle this kills workers in mid hand-over.
            open_ones = boards.unanswered(host, _pids(workers))
            stage.kills.append(Kill(host.name, time.monotonic(), open_ones))
            for worker in workers:
                with contextlib.suppress(psutil.Error):
                    worker.kill()
            wait_until(lambda: not before & set(client.hkeys(KEYS.workers)), 5)
    finally:
        producers.held = False
    return host.proxy.heal


def _pid(says: bytes) -> int:
    return int(json.loads(says)["pid"])


def _pids(workers: Sequence[psutil.Process]) -> set[int]:
    return {worker.pid for worker in workers}


FAULTS = {
    "client-kill": client_kill,
    "client-unblock": client_unblock,
    "script-flush": script_flush,
    "memory-full": _configured("maxmemory", "1mb", "0"),
    "save-fails": save_fails,
    "read-only": read_only,
    "redis-frozen": frozen,
    "redis-killed": killed,
    "drop-reply": drop_reply,
    "cut": cut,
    "delay": delay,
    "black-hole": black_hole,
    "parked-take": parked_take,
}
