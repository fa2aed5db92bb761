"""
What taking a job in over HTTP costs: mailerd's door beside a server that does next to nothing.

``run.py http`` calls it. Each server is asked by ``poster.py``, a process of its own, on connections that
stay open; CPU is that of the server's whole tree, without Redis. mailerd checks the job, keeps its ledger and
knows a replay; ``granian`` serves the same call as most people write it (one LPUSH, no check), its bulk call
only splits the lines; ``waitress`` answers a constant. The part ``busy`` asks mailerd alone, while workers
send and while they do not.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from bench.charts import Bar, bars
from bench.cpu import spent
from bench.environments import python_with
from bench.mail_cpu import ITEMS, Shop, smtp_sink
from bench.queue_costs import valkey
from bench.report import OURS, Aim, Asked, Comparison, Figures, Report
from rigs.daemon import Daemon, Sections
from rigs.ports import free_port, listening
from rigs.project import job, push
from rigs.redis_server import RedisServer
from rigs.waiting import wait_until

HERE = Path(__file__).parent
HELLO = ("waitress==3.0.2",)
PUSH = ("granian==2.8.7", "falcon==4.4.0", "redis==8.1.0", "hiredis==3.5.0")
PEERS = {"waitress": HELLO, "granian": PUSH}
GRANIAN = "--interface wsgi --workers 1 --blocking-threads 4 --no-access-log --log-level warning"
LINES = 1000  # of a bulk request
SECONDS = 2.0
WARM_UP = 1.1  # the poster's seconds and a tenth more; answers of that tenth are not counted
CONTACTS = 12_000  # more than the workers can send to while a round lasts


@dataclass(frozen=True)
class Server:
    """One that is asked; ``kind`` is what of, see ``poster.py``."""

    name: str
    pid: int
    port: int
    kind: str
    clients: int = 1
    seconds: float = SECONDS

    def round(self) -> Figures:
        """Ask it for so long."""
        lines = LINES if self.kind == "bulk" else 1
        before = spent([self.pid])
        told = post(self.port, self.clients, self.seconds, self.kind, lines)
        asked = told["answers"] * WARM_UP
        return {
            "per_second": lines * told["answers"] / told["seconds"],
            "cpu_us": 1e6 * (spent([self.pid]) - before) / asked / lines,
            "p50_ms": told["p50"],
            "p99_ms": told["p99"],
        }


def post(port: int, clients: int, seconds: float, kind: str, lines: int) -> dict[str, Any]:
    """What the poster found; every answer was a good one."""
    command = [sys.executable, str(HERE / "poster.py"), str(port), str(clients), str(seconds), kind]
    done = subprocess.run([*command, str(lines)], stdout=subprocess.PIPE, check=True)
    told: dict[str, Any] = json.loads(done.stdout)
    assert set(told["statuses"]) <= {"200", "202"}, told
    return told


@contextmanager
def program(command: Sequence[str | Path], **environ: str) -> Iterator[int]:
    """A server that runs from the bench's folder of peers; its process id."""
    process = subprocess.Popen(command, cwd=HERE / "peers", env=os.environ | environ)
    try:
        yield process.pid
    finally:
        for each in (*psutil.Process(process.pid).children(recursive=True), process):
            each.kill()
        process.wait()


@contextmanager
def door(folder: Path, redis: RedisServer, sections: Sections | None = None) -> Iterator[Daemon]:
    """A daemon that only takes jobs in, unless ``sections`` say otherwise."""
    basic: Sections = {
        "redis": {"url": redis.url},
        "workers": {"processes": 0},
        "queue": {"name": "door"},  # nobody works on it
        "log": {"level": "warning"},
    }
    daemon = Daemon(folder, basic | (sections or {})).start()
    try:
        yield daemon
    finally:
        daemon.close()


def servers(stack: ExitStack, asked: Asked, redis: RedisServer, folder: Path) -> list[Server]:
    """Everybody, started."""
    daemon = stack.enter_context(door(folder / "door", redis))
    found = [Server(OURS, daemon.pid, daemon.port, "job")]
    if asked.wants_peer("waitress"):
        python, port = python_with(HELLO, "waitress", asked.peers_dir), free_port()
        pid = stack.enter_context(program([python, "waitress_hello.py", str(port)]))
        found.append(Server("waitress", pid, port, "hello"))
    if asked.wants_peer("granian"):
        python, port = python_with(PUSH, "granian", asked.peers_dir), free_port()
        command = [python.parent / "granian", *GRANIAN.split(), "--port", str(port), "falcon_push:app"]
        pid = stack.enter_context(program(command, REDIS_PORT=str(redis.port)))
        found.append(Server("granian", pid, port, "job"))
    for each in found:
        wait_until(lambda port=each.port: listening(port), 20)  # type: ignore[misc] # bound at once
    return [replace(each, seconds=0.5) for each in found] if asked.quick else found


def measure(asked: Asked, folder: Path) -> Report:
    """All parts that are asked for."""
    report = Report("http", settings={"api.threads": 4, "lines": LINES, "seconds": SECONDS})
    with valkey(folder / "redis") as redis, ExitStack() as stack:
        found = servers(stack, asked, redis, folder)
        if asked.wants_part("calls"):
            _calls(asked, found, report)
        if asked.wants_part("bulk"):
            _bulk(asked, found, report)
        if asked.wants_part("busy"):
            _busy(asked, redis, folder, report)
    return report


def _calls(asked: Asked, found: list[Server], report: Report) -> None:
    one = Comparison("POST /queue, one client").play(found, asked.rounds)
    eight = Comparison("POST /queue, eight clients").play(
        [replace(each, clients=8) for each in found], asked.rounds
    )
    report.comparisons += [one, eight]
    if "waitress" in one.rounds:
        value = one.ratio("per_second", OURS, "waitress")
        report.aims.append(Aim("5", "one client: requests a second, of waitress hello-world's", value, 0.6))
        report.facts["CPU per request, times a waitress hello-world's"] = one.ratio(
            "cpu_us", OURS, "waitress"
        )
    if "granian" in eight.rounds:
        value = eight.ratio("per_second", OURS, "granian")
        report.aims.append(Aim("5", "eight clients: requests a second, of granian's", value, 0.55))
        report.facts["CPU per request, times granian's"] = eight.ratio("cpu_us", OURS, "granian")
    report.aims.append(Aim("5", "eight clients: p99, ms", eight.median(OURS, "p99_ms"), 10, most=True))
    report.charts["http-cpu"] = _chart(eight)


def _bulk(asked: Asked, found: list[Server], report: Report) -> None:
    bulk = [replace(each, kind="bulk") for each in found if each.kind == "job"]
    alone = replace(found[0], name=f"{OURS}, one a request")
    compared = Comparison("POST /queue/bulk, jobs").play([*bulk, alone], asked.rounds)
    report.comparisons.append(compared)
    value = compared.ratio("per_second", OURS, alone.name)
    report.aims.append(Aim("6", "bulk: jobs a second, times the single call's", value, 20))
    if "granian" in compared.rounds:
        value = compared.ratio("per_second", OURS, "granian")
        report.aims.append(Aim("6", "bulk: jobs a second, of only splitting the lines", value, 0.1))


class Besides:
    """One client of the door, while another daemon's workers send or have nothing to do."""

    def __init__(self, server: Server, daemon: Daemon, redis: RedisServer, *, busy: bool) -> None:
        self.name = "workers busy" if busy else "workers idle"
        self._server, self._daemon, self._redis, self._busy = server, daemon, redis, busy
        self._rounds = 0

    def round(self) -> Figures:
        """Ask for so long."""
        self._rounds += 1
        batch_id = f"busy{self._rounds}"
        if self._busy:
            contacts = [f"user{number}" for number in range(CONTACTS)]
            variables = {"items": ITEMS, "count": len(ITEMS)}
            push(self._redis, job(batch_id, contacts, "offer") | {"variables": variables})
            wait_until(lambda: self._settled(batch_id) > 0, 60)
        figures = self._server.round()
        if self._busy:
            assert self._settled(batch_id) < CONTACTS, "the workers had nothing left to do"
            self._daemon.post(f"/batches/{batch_id}/cancel")
            wait_until(lambda: self._settled(batch_id) == CONTACTS, 60)
        return figures

    def _settled(self, batch_id: str) -> int:
        answer = self._daemon.get(f"/batches/{batch_id}")
        counts = answer.json["counts"] if answer.status == 200 else {}
        return int(counts.get("sent", 0) + counts.get("cancelled", 0))


def _busy(asked: Asked, redis: RedisServer, folder: Path, report: Report) -> None:
    """The door, Redis and its clients on one core, the workers and their mail server on another."""
    cores = sorted(os.sched_getaffinity(0))
    (folder / "shop").mkdir()
    shop = Shop(folder / "shop", CONTACTS)
    with ExitStack() as stack:
        with on_core(cores[0]):
            port = stack.enter_context(smtp_sink())
            sections = shop.sections(redis, port, [])
            sections |= {
                "queue": {"name": "email_queue"},
                "workers": {"processes": 2},
                "log": {"level": "info"},
            }
            sender = stack.enter_context(door(folder / "sender", redis, sections))
        with on_core(cores[-1]):
            daemon = stack.enter_context(door(folder / "beside", redis))
            server = Server(OURS, daemon.pid, daemon.port, "job", seconds=0.5 if asked.quick else SECONDS)
            contestants = [Besides(server, sender, redis, busy=busy) for busy in (False, True)]
            compared = Comparison("POST /queue beside workers").play(contestants, asked.rounds)
    report.comparisons.append(compared)
    value = compared.ratio("p99_ms", "workers busy", "workers idle")
    report.aims.append(Aim("13", "POST p99 while workers are busy, times idle", value, 1.5, most=True))


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Whoever is started within stays on this core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _chart(compared: Comparison) -> str:
    medians = compared.medians()
    order = sorted(medians, key=lambda who: medians[who]["cpu_us"])
    labels = {"waitress": "waitress, hello world", "granian": "granian, one LPUSH"}
    return bars(
        "CPU for a POST that queues a job",
        "microseconds of the server a request, eight clients, without Redis; less is better",
        [Bar(labels.get(who, who), medians[who]["cpu_us"], who == OURS) for who in order],
    )
