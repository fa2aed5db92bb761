"""
How much memory mailerd takes: idle, beside Celery with SMTP, and from the first recipient to the millionth.

``run.py memory`` calls it. The part ``growth`` sends one batch, pushed in jobs of 10,000 contacts, through
the whole path (contacts in SQLite, ledger, Jinja, SMTP) to smtp-sink, and weighs the workers all the while.
In the part ``one_job`` the batch is a single job, which one worker has to read whole; it is recycled then.
The part ``size`` weighs the idle tree twice: with SMTP alone, as Celery has it, and with contacts from SQL.
BENCH_RECIPIENTS says how many, where a million take too long.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bench.cpu import spent
from bench.mail_cpu import ITEMS, Shop, smtp_sink
from bench.mail_peers import CELERY, Celery
from bench.queue_costs import valkey
from bench.report import OURS, Aim, Asked, Comparison, Report
from rigs.daemon import Daemon, Sections
from rigs.project import Project, job, push
from rigs.redis_server import RedisServer
from rigs.waiting import wait_until

MIB = 1 << 20
PEERS = {"celery": CELERY}
RECIPIENTS = 1_000_000
FEW = 10_000  # where the growth is counted from
IN_A_JOB = 10_000
INTERVAL = 0.25  # seconds between two looks at the workers
SUBJECT = "{{ name }}, news for you"
HTML = "<html><body><p>Hello <b>{{ name }}</b>,</p><p>this is for you alone.</p></body></html>\n"


@contextmanager
def daemon_of(folder: Path, sections: Sections) -> Iterator[Daemon]:
    """A running daemon."""
    daemon = Daemon(folder, sections).start()
    try:
        yield daemon
    finally:
        daemon.close()


def pss(pid: int) -> float:
    """The share of memory of a process and all below it, in MiB."""
    tree = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return float(sum(process.memory_full_info().pss for process in tree)) / MIB


@dataclass
class Weights:
    """The heaviest worker at each moment, by how many recipients were settled."""

    settled: list[int] = field(default_factory=list)
    uss: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def take(self, settled: int, daemon: Daemon) -> None:
        """Weigh them now."""
        weighed = []
        for worker in daemon.workers():
            with suppress(psutil.Error):  # recycled in this moment
                weighed.append(worker.memory_full_info().uss / MIB)
        self.settled.append(settled)
        self.uss.append(max(weighed, default=0.0))
        self.cpu.append(spent([daemon.supervisor().pid]))

    def heaviest(self, first: int, last: int) -> float:
        """The heaviest worker while so many were settled."""
        return max(
            weight for settled, weight in zip(self.settled, self.uss, strict=True) if first <= settled <= last
        )

    def cost(self, first: int, last: int) -> float:
        """Microseconds of the workers' CPU a recipient between these."""
        inside = [number for number, settled in enumerate(self.settled) if first <= settled <= last]
        one, other = inside[0], inside[-1]
        return 1e6 * (self.cpu[other] - self.cpu[one]) / (self.settled[other] - self.settled[one])


class Mailing:
    """One batch to so many recipients, whose weight is watched."""

    def __init__(self, folder: Path, redis: RedisServer, port: int, recipients: int) -> None:
        project = Project(folder)
        project.insert((f"user{n}", f"user{n}@example.com", f"Name {n}") for n in range(recipients))
        project.template("news", subject=SUBJECT, html=HTML)
        self._recipients, self._redis = recipients, redis
        self.sections: Sections = {
            "redis": {"url": redis.url},
            "contacts": {"url": f"sqlite:///{project.database}"},
            "templates": {"path": str(folder / "templates")},
            "mail": {"transport": "smtp", "from": "News <news@sender.test>"},
            "smtp": {"host": "127.0.0.1", "port": port, "tls": "none"},
        }

    def watched(self, daemon: Daemon, in_a_job: int, longest: float = 3600.0) -> Weights:
        """Send to all of them; the weights on the way."""
        batch_id, weights = f"by{in_a_job}", Weights()
        for first in range(0, self._recipients, in_a_job):
            contacts = [f"user{n}" for n in range(first, min(first + in_a_job, self._recipients))]
            push(self._redis, job(batch_id, contacts, "news"))
        pause, deadline = threading.Event(), time.monotonic() + longest
        while not weights.settled or weights.settled[-1] < self._recipients:
            assert time.monotonic() < deadline, f"too slow: {weights.settled[-1]} settled"
            weights.take(_settled(daemon, batch_id), daemon)
            pause.wait(INTERVAL)
        return weights


def _settled(daemon: Daemon, batch_id: str) -> int:
    answer = daemon.get(f"/batches/{batch_id}")
    return int(answer.json["counts"].get("sent", 0)) if answer.status == 200 else 0


def measure(asked: Asked, folder: Path) -> Report:
    """All parts that are asked for."""
    recipients = int(os.environ.get("BENCH_RECIPIENTS", 3 * FEW if asked.quick else RECIPIENTS))
    report = Report("memory", settings={"recipients": recipients, "workers": 2})
    with ExitStack() as stack:
        redis = stack.enter_context(valkey(folder / "redis"))
        port = stack.enter_context(smtp_sink())
        if asked.wants_part("size"):
            _size(asked, folder, redis, port, report)
        if asked.wants_part("growth"):
            _growth(folder, redis, port, recipients, report)
        if asked.wants_part("one_job"):
            _one_job(folder, redis, port, recipients, report)
    return report


def _size(asked: Asked, folder: Path, redis: RedisServer, port: int, report: Report) -> None:
    (folder / "shop").mkdir()
    shop = Shop(folder / "shop", 500)
    sections = shop.sections(redis, port, []) | {"workers": {"processes": 2}}
    alone = {name: keys for name, keys in sections.items() if name != "contacts"}
    with daemon_of(folder / "alone", alone) as daemon:
        smtp_alone = pss(daemon.pid)
    with daemon_of(folder / "idle", sections) as daemon:
        idle = max(worker.memory_full_info().uss for worker in daemon.workers()) / MIB
        report.aims.append(Aim("10", "private memory of an idle worker, MiB", idle, 8, most=True))
        sizes = Comparison("memory of the whole tree, MiB")
        sizes.rounds[OURS] = [
            {"SMTP alone": smtp_alone, "idle": pss(daemon.pid), "after": _after(shop, daemon, redis)}
        ]
    if asked.wants_peer("celery"):
        celery = Celery(asked, redis, folder, port, processes=2)
        pid = celery.start()
        idle = pss(pid)
        celery.send(400)
        sizes.rounds["celery"] = [{"SMTP alone": idle, "idle": idle, "after": pss(pid)}]
        celery.stop()
        for figure in ("SMTP alone", "idle", "after"):
            value = sizes.ratio(figure, OURS, "celery")
            report.aims.append(
                Aim("10", f"memory of the tree, of Celery's ({figure})", value, 0.9, most=True)
            )
    report.comparisons.append(sizes)


def _after(shop: Shop, daemon: Daemon, redis: RedisServer) -> float:
    push(
        redis,
        job("size", [row[0] for row in shop.rows], "offer")
        | {"variables": {"items": ITEMS, "count": len(ITEMS)}},
    )
    wait_until(lambda: _settled(daemon, "size") == len(shop.rows), 60)
    return pss(daemon.pid)


def _growth(folder: Path, redis: RedisServer, port: int, recipients: int, report: Report) -> None:
    mailing = Mailing(folder / "growth", redis, port, recipients)
    with daemon_of(folder / "growing", mailing.sections) as daemon:
        weights = mailing.watched(daemon, IN_A_JOB)
    first = weights.heaviest(FEW // 2, FEW * 3 // 2)
    last = weights.heaviest(FEW * 3 // 2, recipients)
    report.facts["heaviest worker at 10,000 recipients, MiB"] = first
    report.facts[f"heaviest worker up to {recipients:,} recipients, MiB"] = last
    report.aims.append(
        Aim("10", f"a worker grows from 10,000 to {recipients:,}, MiB", last - first, 20, most=True)
    )
    cost = weights.cost(recipients - FEW, recipients) / weights.cost(FEW // 2, FEW * 3 // 2)
    report.aims.append(Aim("11", "CPU per recipient at the end, times that at 10,000", cost, 1.1, most=True))


def _one_job(folder: Path, redis: RedisServer, port: int, recipients: int, report: Report) -> None:
    mailing = Mailing(folder / "one", redis, port, recipients)
    with daemon_of(folder / "cutting", mailing.sections) as daemon:
        weights = mailing.watched(daemon, recipients)
    report.facts["heaviest worker of a single job, MiB"] = max(weights.uss)
    report.facts["heaviest worker in its last tenth, MiB"] = weights.heaviest(
        recipients * 9 // 10, recipients
    )
