"""
A queue of a million jobs: what it takes to fill, and whether everything is as quick then as with a thousand.

Called by ``scale_costs``. The jobs come over ``POST /queue/bulk``, each of two contacts with 36-character ids
and a batch of its own: the most that a queued job can leave in Redis. Then whatever an operator or a program
asks is asked while nobody works on the queue, and two workers take some of them; a short queue and the long
one in turn, each on a Redis of its own.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import redis

from bench.cpu import drain, per_unit, spent
from bench.http_calls import door
from bench.poster import Client, request
from bench.queue_costs import valkey
from bench.queue_ours import Ours
from bench.report import Aim, Asked, Comparison, Figures, Report
from rigs.daemon import Daemon
from rigs.redis_server import RedisServer

IN_A_REQUEST = 1000
LAST = 10_000  # jobs whose cost is taken
FEW = 20_000  # jobs of the short queue
TAKEN = 4_000  # jobs that are worked off in a round
TIMES = 15  # each question is asked
IDLE = 3.0
QUEUE = "email_queue"
CALLS = {
    "metrics_ms": "/metrics",
    "ready_ms": "/readyz",
    "batches_ms": "/batches",
    "attention_ms": "/batches?state=needs_attention",
}
COMMANDS = {"status_ms": ("status", "--json"), "doctor_ms": ("doctor", "--json")}


class Depth:
    """A queue of so many jobs."""

    def __init__(self, redis: RedisServer, folder: Path, jobs: int) -> None:
        self.name = f"{jobs:,} jobs"
        self._redis, self._folder, self._jobs = redis, folder, jobs
        self._rounds = 0
        with self._door() as daemon:
            self._filled = self._fill(daemon)

    def round(self) -> Figures:
        """Ask all questions, work some of it off."""
        self._rounds += 1
        with self._door() as daemon:
            figures = self._asked(daemon)
        return self._filled | figures | self._worked_off()

    def _door(self) -> AbstractContextManager[Daemon]:
        return door(
            self._folder / "door", self._redis, {"queue": {"name": QUEUE, "max_length": 2 * self._jobs}}
        )

    def _fill(self, daemon: Daemon) -> Figures:
        with self._redis.client() as client:
            before = client.info("memory")["used_memory"]
            poster = Client(daemon.port, request("bulk", IN_A_REQUEST))
            self._post(poster, client, self._jobs - LAST)
            begun, trees = time.monotonic(), [daemon.pid, self._redis.pid]
            used, length = spent(trees), int(client.llen(QUEUE))
            self._post(poster, client, self._jobs)
            poster.socket.close()
            last = int(client.llen(QUEUE)) - length
            return {
                "push_us": 1e6 * (spent(trees) - used) / last,
                "push_per_second": last / (time.monotonic() - begun),
                "bytes_a_job": (client.info("memory")["used_memory"] - before) / (length + last),
            }

    def _post(self, poster: Client, client: redis.Redis, until: int) -> None:
        """Queue jobs until there are so many; what a busy machine refuses (503) comes again later."""
        while int(client.llen(QUEUE)) < until:  # type: ignore[arg-type] # redis-py: "sync or async"
            poster.ask()
            while not (status := poster.status()):
                pass
            assert status in (202, 503), status
            if status == 503:
                threading.Event().wait(1)

    def _asked(self, daemon: Daemon) -> Figures:
        """The middle milliseconds of each question; a command's include its start."""
        one = Client(daemon.port, request("job", 1))

        def post() -> None:
            one.ask()
            while not one.status():
                pass

        figures = {"post_ms": median_ms(post)}
        one.socket.close()
        with self._redis.client() as client:
            figures["llen_ms"] = median_ms(lambda: client.llen(QUEUE))
        for name, path in CALLS.items():
            figures[name] = median_ms(lambda path=path: daemon.get(path))  # type: ignore[misc] # bound at once
        for name, words in COMMANDS.items():
            command = [sys.executable, "-m", "mailerd", *words, "--config", daemon.folder / "config.toml"]
            figures[name] = median_ms(lambda command=command: run(command, daemon), 3)  # type: ignore[misc]
        used = spent([daemon.pid, self._redis.pid])
        threading.Event().wait(IDLE)
        return figures | {"idle_percent": 100 * (spent([daemon.pid, self._redis.pid]) - used) / IDLE}

    def _worked_off(self) -> Figures:
        """CPU of two workers and of Redis a job."""
        ours = Ours(self._redis, self._folder / f"workers{self._rounds}")
        before = ours.settled()
        try:
            trees = {"workers": [ours.start()], "redis": [self._redis.pid]}
            cost = per_unit(*drain(trees, lambda: ours.settled() - before, TAKEN, 300))
            return {"job_us": cost["cpu_us"], "job_redis_us": cost["redis_us"]}
        finally:
            ours.daemon.term()
            ours.daemon.close()


def run(command: list[str | Path], daemon: Daemon) -> None:
    """A command of mailerd's; its answer may be no."""
    subprocess.run(command, env=daemon.environ, stdout=subprocess.DEVNULL, check=False)


def median_ms(ask: Callable[[], object], times: int = TIMES) -> float:
    """The middle one of so many answers, in ms."""
    took = []
    for _ in range(times):
        begun = time.perf_counter()
        ask()
        took.append(1e3 * (time.perf_counter() - begun))
    return statistics.median(took)


def depth(asked: Asked, folder: Path, jobs: int, report: Report) -> None:
    """Compare a short queue with one of so many jobs."""
    with valkey(folder / "few.redis") as one, valkey(folder / "many.redis") as other:
        few, many = Depth(one, folder / "few", FEW), Depth(other, folder / "many", jobs)
        compared = Comparison("jobs queued").play([few, many], min(asked.rounds, FEW // TAKEN - 1))
    report.comparisons.append(compared)
    for figure, what in {"job_us": "CPU of a job", "push_us": "CPU of queueing one"}.items():
        value = compared.ratio(figure, many.name, few.name)
        report.aims.append(Aim("11", f"{what} with {jobs:,} queued, to {FEW:,}", value, 1.25, most=True))
    few_ms, many_ms = (
        sum(compared.median(each.name, name) for name in ("llen_ms", "post_ms", *CALLS))
        for each in (few, many)
    )
    what = f"LLEN and HTTP's answers with {jobs:,} queued, to {FEW:,}"
    report.aims.append(Aim("11", what, many_ms / few_ms, 1.5, most=True))
