"""
The queues that one would pick instead: how each is installed, pushed to, run and seen to begin a job.

Called by ``queue_costs`` and ``queue_waits``.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.environments import python_with
from bench.report import Asked
from rigs.redis_server import RedisServer

PROGRAMS = Path(__file__).parent / "peers"
LINE = 24  # bytes that a peer's job writes when it begins
REDIS = ("redis==8.1.0", "hiredis==3.5.0")


@dataclass(frozen=True)
class Kind:
    """One peer: what is installed, and the command of its workers, two processes."""

    name: str
    requirements: tuple[str, ...]
    command: tuple[str, ...]
    backlog: int  # jobs that take it some seconds


CELERY = "-A with_celery worker -c 2 -O fair --without-gossip --without-mingle --without-heartbeat -l WARNING"
KINDS = (
    Kind("celery", ("celery==5.7.0", "packaging==24.2", *REDIS), ("celery", *CELERY.split()), 4000),
    Kind("dramatiq", ("dramatiq==2.2.1", *REDIS), ("dramatiq", "with_dramatiq", "-p", "2", "-t", "8"), 12000),
    Kind(
        "huey",
        ("huey==3.5.4", *REDIS),
        ("huey_consumer", "with_huey.huey", "-k", "process", "-w", "2", "-n"),
        12000,
    ),
    Kind(
        "rq",
        ("rq==3.0.0", *REDIS),
        ("rq", "worker-pool", "-n", "2", "-w", "rq.SimpleWorker", "-q", "bench"),
        1500,
    ),
    Kind(
        "saq",
        ("saq==0.26.4", "typing_extensions==4.16.0", "redis==7.4.1", "hiredis==3.5.0"),
        ("saq", "with_saq.settings", "--workers", "2"),
        5000,
    ),
)


class Peer:
    """One peer on a Redis of its own database; ``start`` and ``stop`` its workers."""

    def __init__(self, kind: Kind, asked: Asked, redis: RedisServer, folder: Path) -> None:
        self.kind = kind
        self.name = kind.name
        self.starts = folder / f"{kind.name}.starts"
        self._python = python_with(kind.requirements, kind.name, asked.peers_dir)
        self._log = folder / f"{kind.name}.log"
        self._redis = redis
        self._workers: subprocess.Popen[bytes] | None = None
        self._environ = os.environ | {
            "BENCH_REDIS": redis.url,
            "BENCH_STARTS": str(self.starts),
            "PYTHONPATH": str(PROGRAMS),
            "REDIS_URL": redis.url,
            "RQ_REDIS_URL": redis.url,
        }

    def push(self, count: int, template: str = "plain") -> None:
        """Enqueue so many jobs by the peer's own library."""
        words = f"import with_{self.name} as peer; peer.push({count}, {template!r})"
        subprocess.run([self._python, "-c", words], env=self._environ, check=True)

    @contextmanager
    def producer(self) -> Iterator[Callable[[], None]]:
        """What pushes one job each time that it is called: a process that has imported all that it needs."""
        words = f"import sys, with_{self.name} as peer\nfor _ in sys.stdin: peer.push(1, 'plain')"
        process = subprocess.Popen(
            [self._python, "-c", words], env=self._environ, stdin=subprocess.PIPE, text=True, bufsize=1
        )
        assert process.stdin is not None
        stdin = process.stdin
        try:
            yield lambda: print(file=stdin, flush=True)
        finally:
            stdin.close()
            process.wait()

    def start(self) -> int:
        """Start the workers; the process at the top of them."""
        program, *arguments = self.kind.command
        with self._log.open("ab") as log:
            self._workers = subprocess.Popen(
                [self._python.parent / program, *arguments],
                env=self._environ,
                cwd=PROGRAMS,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self._workers.pid

    def stop(self) -> None:
        """Kill all of them, and forget what they left in Redis and in the file of starts."""
        if self._workers is not None:
            os.killpg(self._workers.pid, signal.SIGKILL)
            self._workers.wait()
            self._workers = None
        with self._redis.client() as client:
            client.flushall()
        self.starts.unlink(missing_ok=True)

    def tail(self) -> str:
        """The end of what its workers said."""
        return self._log.read_text(errors="replace")[-2000:]

    def begun(self) -> int:
        """How many jobs have begun."""
        return self.starts.stat().st_size // LINE if self.starts.exists() else 0

    def times(self) -> list[float]:
        """When each began (seconds since 1970)."""
        return [float(line.split()[0]) for line in self.starts.read_text().splitlines()]
