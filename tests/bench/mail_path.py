"""
What a personalised mail costs on its whole way, beside the programs that people send with.

``run.py mail`` calls it. The mail is that of ``mail_cpu.py`` (text and HTML, twelve items), the server
smtp-sink on the loopback. mailerd reads contacts and keeps its ledger; ``script`` (Jinja2, EmailMessage and a
kept smtplib connection) and ``aiosmtplib`` only render and send, ``inlining`` also puts the CSS into each
mail, as ours have it; ``celery`` has a task and a connection a mail, ``post_office`` a row of SQLite a mail
and a connection a thread, of five; ``smtp-source`` sends one fixed text and is the limit of one connection.
CPU is that of whoever sends, whole trees, without Redis and the server.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.charts import Bar, bars
from bench.cpu import drain, per_unit, spent
from bench.environments import python_with
from bench.mail_cpu import ITEMS, Script, Shop, smtp_sink
from bench.mail_peers import CELERY, POST_OFFICE, PROGRAMS, Celery, PostOffice, template_file
from bench.queue_costs import valkey
from bench.report import OURS, Aim, Asked, Comparison, Figures, Report
from rigs.daemon import Daemon, Sections
from rigs.needs import find
from rigs.project import job, push
from rigs.redis_server import RedisServer
from rigs.waiting import wait_until

MAILS = 4000
BYTES = 12_000  # of smtp-source's text: as many as our mails have
AIO = ("aiosmtplib==5.1.3", "jinja2==3.1.6")
PEERS = {"aiosmtplib": AIO, "celery": CELERY, "post_office": POST_OFFICE}


class Ours:
    """One batch a round through a daemon of so many workers."""

    def __init__(self, name: str, folder: Path, redis: RedisServer, shop: Shop, sections: Sections) -> None:
        self.name = name
        self._daemon = Daemon(folder, sections)
        self._redis, self._shop = redis, shop
        self._pushed = 0

    def round(self) -> Figures:
        """Send to everybody."""
        everybody = [row[0] for row in self._shop.rows]
        self._daemon.start()
        try:
            warm = self._push(everybody[:100])
            wait_until(lambda: self._sent(warm) == 100, 60)
            batch_id = self._push(everybody)
            trees = {"workers": [self._daemon.supervisor().pid]}
            return per_unit(*drain(trees, lambda: self._sent(batch_id), len(everybody), 300))
        finally:
            self._daemon.term()
            self._daemon.close()

    def _push(self, contacts: list[str]) -> str:
        self._pushed += 1
        batch_id = f"{self.name.replace(' ', '-')}-{self._pushed}"
        variables = {"items": ITEMS, "count": len(ITEMS)}
        push(self._redis, job(batch_id, contacts, "offer") | {"variables": variables})
        return batch_id

    def _sent(self, batch_id: str) -> int:
        answer = self._daemon.get(f"/batches/{batch_id}")
        return int(answer.json["counts"].get("sent", 0)) if answer.status == 200 else 0


@dataclass
class Sender:
    """A program that is told how many to send; ``run`` returns the CPU seconds that it took."""

    name: str
    mails: int
    run: Callable[[int], float]

    def round(self) -> Figures:
        """Send so many."""
        begun = time.monotonic()
        cost = self.run(self.mails)
        return {"cpu_us": 1e6 * cost / self.mails, "per_second": self.mails / (time.monotonic() - begun)}


def with_children(command: list[str], environ: dict[str, str] | None = None) -> float:
    """Run a program to its end; its CPU seconds."""
    before = os.times()
    subprocess.run(command, env=os.environ | (environ or {}), check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


@contextmanager
def senders(asked: Asked, shop: Shop, redis: RedisServer, folder: Path, port: int) -> Iterator[list[Sender]]:
    """The peers that are asked for, ready."""
    script, few = Script(shop, port), max(len(shop.rows) // 8, 50)
    found = [
        Sender("script", few, lambda count: _by_script(script, count, inlined=False)),
        Sender("inlining", few, lambda count: _by_script(script, count, inlined=True)),
    ]
    source = find("smtp-source")
    assert source is not None, "no smtp-source here (postfix)"
    options = ["-s", "1", "-d", "-l", str(BYTES), "-f", "a@sender.test", "-t", "b@example.com"]
    command = [source, *options, "-m", str(len(shop.rows)), f"127.0.0.1:{port}"]
    found.append(Sender("smtp-source", len(shop.rows), lambda _: with_children(command)))
    if asked.wants_peer("aiosmtplib"):
        python = python_with(AIO, "aiosmtplib", asked.peers_dir)
        program = [str(python), str(PROGRAMS / "mail_by_aiosmtplib.py"), str(port), str(few)]
        environ = {"BENCH_TEMPLATE": str(template_file(folder))}
        found.append(Sender("aiosmtplib", few, lambda _: with_children(program, environ)))
    if asked.wants_peer("post_office"):
        office = PostOffice(asked, folder, port, processes=1, threads=5)
        found.append(Sender("post_office", few, lambda count: _by_post_office(office, count)))
    found = [each for each in found if asked.wants_peer(each.name)]
    celery = Celery(asked, redis, folder, port, processes=1) if asked.wants_peer("celery") else None
    try:
        if celery is not None:
            pid = celery.start()
            found.append(Sender("celery", few, lambda count: _by_celery(celery, pid, count)))
        yield found
    finally:
        if celery is not None:
            celery.stop()


def _by_script(script: Script, count: int, *, inlined: bool) -> float:
    return script.run("script", count, inlined=inlined)["script"] * count / 1e3


def _by_celery(celery: Celery, pid: int, count: int) -> float:
    before = spent([pid])
    celery.send(count)
    return spent([pid]) - before


def _by_post_office(office: PostOffice, count: int) -> float:
    office.push(count)
    return with_children(office.sending, office.environ)


def measure(asked: Asked, folder: Path) -> Report:
    """All parts that are asked for."""
    mails = 1600 if asked.quick else MAILS
    report = Report("mail", settings={"mails": mails, "connections": 4})
    (folder / "shop").mkdir()
    shop = Shop(folder / "shop", mails)
    with ExitStack() as stack:
        redis = stack.enter_context(valkey(folder / "redis"))
        port = stack.enter_context(smtp_sink())
        for part, compare in {"path": _path, "workers": _workers}.items():
            if asked.wants_part(part):
                (folder / part).mkdir()
                compare(asked, shop, redis, folder / part, port, report)
    return report


def _path(asked: Asked, shop: Shop, redis: RedisServer, folder: Path, port: int, report: Report) -> None:
    ours = Ours(OURS, folder / "ours", redis, shop, shop.sections(redis, port, []))
    with senders(asked, shop, redis, folder, port) as found:
        compared = Comparison("a personalised mail").play([ours, *found], asked.rounds)
    report.comparisons.append(compared)
    for name, wanted in {"script": 9.0, "smtp-source": 0.30}.items():
        if name in compared.rounds:
            value = compared.ratio("per_second", OURS, name)
            report.aims.append(Aim("7", f"mails a second of one worker, of {name}'s", value, wanted))
    for name in compared.rounds:
        if name != OURS:
            report.facts[f"CPU a mail, times as much in {name}"] = compared.ratio("cpu_us", name, OURS)
    report.charts["mail-cpu"] = _chart(compared)


def _workers(asked: Asked, shop: Shop, redis: RedisServer, folder: Path, port: int, report: Report) -> None:
    contestants = []
    for name, count in {"one worker": 1, "two workers": 2}.items():
        sections = shop.sections(redis, port, []) | {"workers": {"processes": count}}
        contestants.append(Ours(name, folder / f"{count}", redis, shop, sections))
    compared = Comparison("one worker and two").play(contestants, asked.rounds)
    report.comparisons.append(compared)
    value = compared.ratio("per_second", "two workers", "one worker")
    report.aims.append(Aim("7", "mails a second of two workers, of one's", value, 1.6))


def _chart(compared: Comparison) -> str:
    medians = compared.medians()
    labels = {
        OURS: "mailerd, ledger and all",
        "script": "Jinja2, EmailMessage, smtplib",
        "inlining": "the same, CSS inlined as ours",
        "aiosmtplib": "the same, aiosmtplib",
        "celery": "the same, Celery",
        "post_office": "django-post_office",
        "smtp-source": "smtp-source, fixed text",
    }
    order = sorted(medians, key=lambda who: medians[who]["cpu_us"])
    return bars(
        "CPU for one personalised mail",
        "microseconds of whoever sends, one process each, without the mail server; less is better",
        [Bar(labels[who], medians[who]["cpu_us"], who == OURS) for who in order],
    )
