"""
Large batches and more hosts: what a recipient costs where there are few and where there are many.

Foreign jobs of 36-character ids, transport ``none``, two workers a daemon: CPU of the whole tree and of
Redis, commands and bytes of Redis a recipient, in one batch of one job, and of ten (the size of the first
says how many hashes the rows are spread over); then the same backlog of short jobs on one, two and four
daemons. ``depth`` and ``capacity`` have modules of their own.
"""

from __future__ import annotations

import json
import uuid
from pathlib import Path

from bench.capacity import capacity
from bench.cpu import spent
from bench.depth import depth
from bench.queue_costs import valkey
from bench.queue_ours import Ours
from bench.report import Aim, Asked, Comparison, Figures, Report
from rigs.project import job
from rigs.redis_server import RedisServer
from rigs.waiting import wait_until

SIZES = (10_000, 100_000, 1_000_000)
DAEMONS = (1, 2, 4)
DEEP = 1_000_000  # jobs
TOTALS = "{email_queue}:totals"


class Batch:
    """One batch of so many recipients through a daemon, in one job or in several."""

    def __init__(self, redis: RedisServer, folder: Path, size: int, jobs: int = 1) -> None:
        self.name = f"{size:,} recipients" + (f", {jobs} jobs" if jobs > 1 else "")
        self._redis, self._folder, self._size, self._in_a_job = redis, folder, size, size // jobs

    def round(self) -> Figures:
        """CPU, commands and bytes a recipient."""
        ours = Ours(self._redis, self._folder, queue={"max_job_mb": 64})  # a million such ids are 40 MB
        jobs = [
            json.dumps(job("b1", [str(uuid.uuid4()) for _ in range(self._in_a_job)]))
            for _ in range(0, self._size, self._in_a_job)
        ]
        with self._redis.client() as client:
            try:
                trees = [ours.start(), self._redis.pid]
                before = spent(trees), _commands(client), client.info("memory")["used_memory"]
                client.lpush("email_queue", *jobs)
                wait_until(lambda: int(client.hget(TOTALS, "discarded") or 0) == self._size, 600)
                after = spent(trees), _commands(client), client.info("memory")["used_memory"]
                used = [(end - begin) / self._size for begin, end in zip(before, after, strict=True)]
                return {"cpu_us": 1e6 * used[0], "redis_commands": used[1], "redis_bytes": used[2]}
            finally:
                ours.stop()


def _commands(client: object) -> int:
    """Those that clients sent; what scripts call within is part of theirs."""
    stats = client.info("commandstats")  # type: ignore[attr-defined] # redis-py's
    scripts = sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("evalsha", "eval"))
    plain = ("blmove", "lindex", "brpop")
    return scripts + sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in plain)


class Fleet:
    """A backlog of short jobs on several daemons that share one Redis."""

    def __init__(self, redis: RedisServer, folder: Path, daemons: int, jobs: int) -> None:
        self.name = f"{daemons} daemon(s)"
        self._redis, self._folder, self._daemons, self._jobs = redis, folder, daemons, jobs

    def round(self) -> Figures:
        """CPU a job, of all workers and of Redis."""
        fleet = [Ours(self._redis, self._folder / f"host{number}") for number in range(self._daemons)]
        try:
            trees = [ours.start(expected=2 * (number + 1)) for number, ours in enumerate(fleet)]
            before = spent(trees), spent([self._redis.pid])
            fleet[0].push(self._jobs)
            wait_until(lambda: fleet[0].settled() == self._jobs, 300)
            workers, server = spent(trees) - before[0], spent([self._redis.pid]) - before[1]
            return {
                "workers_us": 1e6 * workers / self._jobs,
                "redis_us": 1e6 * server / self._jobs,
                "jobs": self._jobs,
            }
        finally:
            for ours in fleet:
                ours.stop()


def measure(asked: Asked, folder: Path) -> Report:
    """All parts that are asked for."""
    report = Report("scale", settings={"id_length": 36, "workers": 2})
    sizes = SIZES[:2] if asked.quick else SIZES
    with valkey(folder / "redis") as redis:
        if asked.wants_part("size"):
            batches = [Batch(redis, folder / str(size), size) for size in sizes]
            several = Batch(redis, folder / "several", sizes[1], 10)
            compared = Comparison("one batch").play([*batches, several], asked.rounds)
            report.comparisons.append(compared)
            small, large = batches[0].name, batches[-1].name
            ratio = compared.ratio("cpu_us", large, small)
            report.aims.append(Aim("11", f"CPU a recipient, {large} to {small}", ratio, 1.1, most=True))
            bytes_each = compared.median(large, "redis_bytes")
            report.aims.append(Aim("9", "bytes of Redis a recipient", bytes_each, 36 + 16, most=True))
            commands = compared.median(large, "redis_commands")
            report.aims.append(Aim("9", "commands of Redis a recipient", commands, 0.35, most=True))
        if asked.wants_part("daemons"):
            jobs = 5_000 if asked.quick else 40_000
            fleets = [Fleet(redis, folder / f"fleet{count}", count, jobs) for count in DAEMONS]
            report.comparisons.append(Comparison("daemons on one Redis").play(fleets, asked.rounds))
        if asked.wants_part("depth"):
            depth(asked, folder / "depth", DEEP // (20 if asked.quick else 1), report)
        if asked.wants_part("capacity"):
            capacity(asked, redis, folder / "capacity", report)
    return report
