"""
How big mailerd is and how quickly it starts; prints the figures that the README quotes.

    python tests/bench/size_and_start.py [--contacts 1000000] [--runs 5]

Needs what the tests need (``pip install -e '.[test]'``). Exits with 1 when a limit is passed.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from rigs.daemon import Daemon, Sections  # found by the line above
from rigs.project import Project, job, push
from rigs.redis_server import RedisServer, shipped_valkey
from rigs.sink import Sink
from rigs.waiting import wait_until

MB = 1 << 20


class Figures:
    """Prints each figure with its limit, and remembers whether one was passed."""

    def __init__(self) -> None:
        self.good = True

    def show(self, what: str, value: float, unit: str, limit: float | None = None) -> None:
        """One line."""
        fine = limit is None or value <= limit
        self.good = self.good and fine
        against = "" if limit is None else f"  (limit {limit:g} {unit}{'' if fine else ', PASSED'})"
        print(f"{what:<64}{value:9.2f} {unit}{against}", flush=True)


def time_to_ready(folder: Path, sections: Sections) -> tuple[float, Daemon]:
    """Seconds from exec until READY=1, as systemd would see it, and the running daemon."""
    notify = folder / "notify"
    folder.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(notify))
        listener.settimeout(20)
        daemon = Daemon(folder, sections, {"NOTIFY_SOCKET": str(notify)})
        begun = time.monotonic()
        daemon.start(ready=False)
        while b"READY=1" not in listener.recv(4096).split(b"\n"):
            pass
        return time.monotonic() - begun, daemon


def measure_start(figures: Figures, folder: Path, name: str, sections: Sections, runs: int) -> None:
    """Exec to READY, and what the idle processes weigh."""
    times: list[float] = []
    for run in range(runs):
        seconds, daemon = time_to_ready(folder / f"{name}{run}", sections)
        times.append(seconds)
        if run == runs - 1:
            wait_until(lambda daemon=daemon: len(daemon.workers()) == 2, 10)
            show_sizes(figures, name, daemon)
        daemon.term()
        daemon.close()
    figures.show(f"{name}: exec to READY, median of {runs}", statistics.median(times), "s", 1.0)
    figures.show(f"{name}: exec to READY, slowest", max(times), "s")


def show_sizes(figures: Figures, name: str, daemon: Daemon) -> None:
    """USS of the idle daemon's processes."""
    figures.show(f"{name}: main, USS", uss(psutil.Process(daemon.pid)), "MB")
    figures.show(f"{name}: supervisor, USS", uss(daemon.supervisor()), "MB")
    figures.show(f"{name}: idle worker, USS", max(map(uss, daemon.workers())), "MB", 10)


def uss(process: psutil.Process) -> float:
    """The memory that would be free if this process ended, in MB."""
    return float(process.memory_full_info().uss) / MB


class Watch:
    """Samples every process of a daemon in the background, and keeps what each came to."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.peaks: dict[str, float] = {}
        self.workers: set[int] = set()
        self.samples: list[float] = []

    def __enter__(self) -> Watch:  # noqa: PYI034 # nobody derives from it
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(0.05):
            with contextlib.suppress(psutil.Error, AssertionError):
                self._sample()

    def _sample(self) -> None:
        workers = self._daemon.workers()
        self.workers |= {worker.pid for worker in workers}
        sizes = [uss(worker) for worker in workers]
        self.samples.append(sum(sizes))
        self._peak("worker", max(sizes))
        self._peak("main", uss(psutil.Process(self._daemon.pid)))
        self._peak("supervisor", uss(self._daemon.supervisor()))

    def _peak(self, role: str, size: float) -> None:
        self.peaks[role] = max(size, self.peaks.get(role, 0.0))


def measure_big_job(figures: Figures, folder: Path, redis: RedisServer, contacts: int) -> None:
    """A foreign job of so many contacts through the whole daemon, jobs logged and discarded."""
    daemon = Daemon(folder, {"redis": {"url": redis.url}}).start()
    main = uss(psutil.Process(daemon.pid))
    ids = [f"contact-{number:06}"[:14] for number in range(contacts)]
    begun = time.monotonic()
    with Watch(daemon) as watch:
        push(redis, job("million", ids))
        wait_until(lambda: daemon.get("/batches/million").status == 200, 60)
        wait_until(lambda: daemon.batch("million")["counts"].get("discarded"), 120)
        cut = time.monotonic() - begun
        daemon.wait_for_batch("million", 3600)
    cutters = watch.workers
    recycled = seconds_until(lambda: cutters - {worker.pid for worker in daemon.workers()}, 30)
    tail = watch.samples[len(watch.samples) // 2 :]
    figures.show(f"{contacts:,} contacts: first recipient settled after", cut, "s")
    figures.show(f"{contacts:,} contacts: all settled after", time.monotonic() - begun, "s")
    figures.show("  peak USS of the worker that cuts", watch.peaks["worker"], "MB", 250)
    figures.show("  growth of main", watch.peaks["main"] - main, "MB", 10)
    figures.show("  growth of all workers over the second half", max(tail) - min(tail), "MB", 20)
    figures.show("  the worker that cut was recycled after (the end)", recycled, "s", 30)
    figures.show("  idle worker afterwards, USS", max(map(uss, daemon.workers())), "MB", 10)
    daemon.term()
    daemon.close()


def seconds_until(condition: Callable[[], object], longest: float) -> float:
    """How long it takes until this holds; more than ``longest`` when it does not."""
    begun = time.monotonic()
    with contextlib.suppress(AssertionError):
        wait_until(condition, longest)
    return time.monotonic() - begun


def main() -> int:
    """Measure everything; 1 when a limit was passed."""
    arguments = argparse.ArgumentParser(description="How big mailerd is and how quickly it starts.")
    arguments.add_argument("--contacts", type=int, default=1_000_000)
    arguments.add_argument("--runs", type=int, default=5)
    asked = arguments.parse_args()
    program = shipped_valkey()
    assert program is not None, "no Valkey or Redis server here"
    figures = Figures()
    with tempfile.TemporaryDirectory() as name, Sink(Path(name) / "sink") as sink:
        folder = Path(name)
        redis = RedisServer(program, folder / "redis").start()
        project = Project(folder / "project")
        project.contacts(10)
        measure_start(figures, folder, "default", {"redis": {"url": redis.url}}, asked.runs)
        measure_start(figures, folder, "smtp", project.sections(redis, sink), asked.runs)
        measure_big_job(figures, folder / "big", redis, asked.contacts)
        redis.close()
    return 0 if figures.good else 1


if __name__ == "__main__":
    sys.exit(main())
