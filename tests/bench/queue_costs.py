"""
The queue beside its peers: what a job that does nothing costs, and how quickly a backlog of them drains.

Two worker processes each; the peers at the settings that lose the least, as far as they have such. Ours are
jobs of two contacts, a hundred jobs a batch, transport ``none`` at log level warning, with lease, fence and
one ledger row a recipient. CPU is that of the workers' whole tree and of Redis.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.charts import Bar, bars
from bench.cpu import drain, per_unit
from bench.queue_loops import Loops
from bench.queue_ours import Ours
from bench.queue_peers import KINDS, Peer
from bench.queue_waits import PICK_UPS, OurPickUp, PeerPickUp, killed
from bench.report import OURS, Aim, Asked, Comparison, Figures, Report
from rigs.redis_server import RedisServer, shipped_valkey

BACKLOG = 40_000
QUICK = 20  # times fewer jobs
PEERS = {kind.name: kind.requirements for kind in KINDS}
# How many times as much as ours each of them costs a job, and how many times as quickly ours are worked off.
CHEAPER = {"dramatiq": 10, "huey": 10, "celery": 50, "rq": 130}
QUICKER = {"dramatiq": 8, "huey": 8, "celery": 60}


class OurDrain:
    """A backlog through a daemon."""

    name = OURS

    def __init__(self, redis: RedisServer, folder: Path, jobs: int) -> None:
        self._redis, self._folder, self._jobs = redis, folder, jobs

    def round(self) -> Figures:
        """One backlog."""
        ours = Ours(self._redis, self._folder)
        try:
            ours.push(self._jobs)
            pid = ours.start()
            return _watched(pid, self._redis, ours.settled, self._jobs)
        finally:
            ours.stop()


class PeerDrain:
    """A backlog through a peer's workers."""

    def __init__(self, peer: Peer, redis: RedisServer, jobs: int) -> None:
        self.name = peer.name
        self._peer, self._redis, self._jobs = peer, redis, jobs

    def round(self) -> Figures:
        """One backlog."""
        try:
            self._peer.push(self._jobs)
            return _watched(self._peer.start(), self._redis, self._peer.begun, self._jobs)
        except TimeoutError as fault:
            raise AssertionError(f"{self.name}: {fault}: {self._peer.tail()}") from fault
        finally:
            self._peer.stop()


def _watched(pid: int, redis: RedisServer, done: Callable[[], int], jobs: int) -> Figures:
    trees = {"workers": [pid], "redis": [redis.pid]}
    return per_unit(*drain(trees, done, jobs))


@contextmanager
def valkey(folder: Path) -> Iterator[RedisServer]:
    """A server of this benchmark's own."""
    program = shipped_valkey()
    assert program is not None, "no Valkey or Redis server here"
    server = RedisServer(program, folder).start()
    try:
        yield server
    finally:
        server.close()


def measure(asked: Asked, folder: Path) -> Report:
    """All parts that are asked for."""
    report = Report("queue", settings={"workers": 2, "recipients": 2, "jobs_a_batch": 100})
    with valkey(folder / "redis") as redis:
        if asked.wants_part("drain"):
            _drain(asked, folder, redis, report)
        if asked.wants_part("one"):
            _one_at_a_time(asked, redis, report)
        if asked.wants_part("pick-up"):
            _pick_up(asked, folder, redis, report)
        if asked.wants_part("kill"):
            seconds = killed(redis, folder, 1 if asked.quick else 10)
            report.facts["kill -9 of a worker until its job runs again, median (s)"] = statistics.median(
                seconds
            )
            what = "kill -9 of a worker until its job runs again, the longest (s)"
            report.aims.append(Aim("12", what, max(seconds), 0.5, most=True))
    return report


class Loop:
    """A loop of one worker in this process."""

    def __init__(self, name: str, play: Callable[[], Figures]) -> None:
        self.name = name
        self.round = play


def _one_at_a_time(asked: Asked, redis: RedisServer, report: Report) -> None:
    loops = Loops(redis, 1000 if asked.quick else 5000)
    contestants = [
        Loop(OURS, lambda: loops.ours(1)),
        Loop("mailerd, 32 in hand", lambda: loops.ours(32)),
        Loop("plain", loops.plain),
    ]
    compared = Comparison("one worker's loop").play(contestants, asked.rounds)
    redis.client().flushall()  # else whoever is pushed next may be known already
    report.comparisons.append(compared)
    value = compared.ratio("per_second", OURS, "plain")
    report.aims.append(Aim("3", "one job at a time, times the rate of LMOVE + LREM", value, 3))


def _pick_up(asked: Asked, folder: Path, redis: RedisServer, report: Report) -> None:
    count = 20 if asked.quick else PICK_UPS
    contestants: list[OurPickUp | PeerPickUp] = [OurPickUp(redis, folder / "waits", count)]
    contestants += [
        PeerPickUp(Peer(kind, asked, redis, folder), count) for kind in KINDS if asked.wants_peer(kind.name)
    ]
    compared = Comparison("idle pick-up").play(contestants, asked.rounds)
    report.comparisons.append(compared)
    safe = [name for name in compared.rounds if name not in (OURS, "huey")]
    if safe:
        best = min(safe, key=lambda name: compared.median(name, "p50_ms"))
        value = compared.ratio("p50_ms", OURS, best)
        report.aims.append(Aim("4", f"pick-up p50, of that of {best}, the best", value, 0.5, most=True))
    if "huey" in compared.rounds:
        report.aims.append(
            Aim("4", "pick-up p99, of Huey's", compared.ratio("p99_ms", OURS, "huey"), 1, most=True)
        )
    idle = compared.median(OURS, "idle_percent")
    report.aims.append(Aim("4", "CPU of an idle worker (%)", idle, 0.1, most=True))


def _drain(asked: Asked, folder: Path, redis: RedisServer, report: Report) -> None:
    less = QUICK if asked.quick else 1
    contestants: list[OurDrain | PeerDrain] = [OurDrain(redis, folder / "ours", BACKLOG // less)]
    for kind in KINDS:
        if asked.wants_peer(kind.name):
            peer = Peer(kind, asked, redis, folder)
            contestants.append(PeerDrain(peer, redis, max(kind.backlog // less, 200)))
    compared = Comparison("backlog of no-op jobs").play(contestants, asked.rounds)
    report.comparisons.append(compared)
    for name, times in CHEAPER.items():
        if name in compared.rounds:
            value = compared.ratio("cpu_us", name, OURS)
            report.aims.append(Aim("1", f"CPU per job, times as much in {name}", value, times))
    for name, times in QUICKER.items():
        if name in compared.rounds:
            value = compared.ratio("per_second", OURS, name)
            report.aims.append(Aim("2", f"jobs a second, times as many as {name}", value, times))
    report.charts["queue-cpu"] = _chart(compared)


def _chart(compared: Comparison) -> str:
    medians = compared.medians()
    order = sorted(medians, key=lambda who: medians[who]["cpu_us"])
    return bars(
        "CPU for a job that does nothing",
        "microseconds of workers and Redis a job, two worker processes; less is better",
        [Bar(who, medians[who]["cpu_us"], who == OURS) for who in order],
        logarithmic=True,
    )
