"""
How long a job waits: for an idle worker, and for another one when its worker is killed.

A pick-up ends when a peer's job begins; ours, later, when the ledger has its recipients settled. Peers are
not killed here: those that bring such a job back at all need time-outs to pass, of 20 s and more.
"""

from __future__ import annotations

import socket
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

from bench.cpu import spent
from bench.queue_ours import Ours
from bench.queue_peers import Peer
from bench.report import OURS, Figures
from rigs.daemon import Daemon
from rigs.project import Project, job, push
from rigs.redis_server import RedisServer

PICK_UPS, IDLE, EVERY = 100, 5.0, 0.03


def _pick_ups(push_one: Callable[[], None], begun: Callable[[], int], count: int) -> list[float]:
    """Milliseconds from each push to the moment when it is seen; the next one comes when all is idle."""
    waits, pause = [], threading.Event()
    before = begun()
    for number in range(count):
        pause.wait(EVERY)
        pushed = time.perf_counter()
        push_one()
        while begun() <= before + number:
            assert time.perf_counter() - pushed < 10, "not picked up"
        waits.append(1e3 * (time.perf_counter() - pushed))
    return waits


def _figures(waits: list[float], idle: float, workers: int) -> Figures:
    ordered = sorted(waits)
    return {
        "p50_ms": statistics.median(ordered),
        "p99_ms": ordered[int(0.99 * (len(ordered) - 1))],
        "idle_percent": 100 * idle / IDLE / workers,
    }


class OurPickUp:
    """Idle workers, one job at a time."""

    name = OURS

    def __init__(self, redis: RedisServer, folder: Path, count: int) -> None:
        self._redis, self._folder, self._count = redis, folder, count

    def round(self) -> Figures:
        """So many pick-ups, and the CPU of an idle worker before them."""
        ours = Ours(self._redis, self._folder)
        try:
            ours.start()
            workers = [worker.pid for worker in ours.daemon.workers()]
            _pick_ups(lambda: ours.push(1), ours.settled, 5)
            idle = idle_cpu(workers)
            return _figures(_pick_ups(lambda: ours.push(1), ours.settled, self._count), idle, len(workers))
        finally:
            ours.stop()


class PeerPickUp:
    """The same with a peer's workers; a producer that stays pushes."""

    def __init__(self, peer: Peer, count: int) -> None:
        self.name = peer.name
        self._peer, self._count = peer, count

    def round(self) -> Figures:
        """So many pick-ups, and the CPU of its tree before them, by worker."""
        try:
            pid = self._peer.start()
            with self._peer.producer() as push_one:
                _pick_ups(push_one, self._peer.begun, 5)
                idle = idle_cpu([pid])
                return _figures(_pick_ups(push_one, self._peer.begun, self._count), idle, 2)
        finally:
            self._peer.stop()


def idle_cpu(pids: list[int]) -> float:
    """CPU seconds of some trees in a while in which nothing happens."""
    before = spent(pids)
    threading.Event().wait(IDLE)
    return spent(pids) - before


def killed(redis: RedisServer, folder: Path, times: int) -> list[float]:
    """Seconds from the SIGKILL of a worker in mid-mail until another one begins with the same job."""
    project = Project(folder / "project")
    (contact,) = project.contacts(1)
    seconds = []
    for number in range(times):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            silent.settimeout(20)
            daemon = _started(redis, folder / f"kill{number}", project, silent.getsockname()[1])
            try:
                push(redis, job(f"killed{number}", [contact]))
                first, (_, port) = silent.accept()
                daemon.worker_at(port).kill()
                begun = time.monotonic()
                again, _ = silent.accept()
                seconds.append(time.monotonic() - begun)
                first.close()
                again.close()
            finally:
                daemon.close()
                with redis.client() as client:
                    client.flushall()
    return seconds


def _started(redis: RedisServer, folder: Path, project: Project, port: int) -> Daemon:
    sections = {
        "redis": {"url": redis.url},
        "contacts": {"url": f"sqlite:///{project.database}"},
        "templates": {"path": str(project.folder / "templates")},
        "mail": {"transport": "smtp", "from": "News <news@sender.test>"},
        "smtp": {"host": "127.0.0.1", "port": port, "tls": "none"},
        "workers": {"processes": 2, "connections": 1},
    }
    return Daemon(folder, sections).start()
