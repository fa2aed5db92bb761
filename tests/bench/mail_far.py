"""
The real case: a mail server with STARTTLS 50 ms away, Redis 1 ms away, 100 connections, workers killed.

``run.py far`` calls it. The part ``rate`` has no kills; its aim is what the connections or the CPU allow,
whichever is less, and says which. In ``kills`` ten SIGKILLs fall on the way; the far server's own record and
the ledger then say who was lost and who got two. mailerd has two workers of 50 connections, one of which is
killed each time. Celery has 100 threads, acks_late and a connection a mail, django-post_office two processes
of 50 threads; both are killed whole and started again, as systemd or cron does. What Celery had in hand comes
back after the visibility timeout of an hour, and counts as missing here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.charts import Bar, Panel, panels
from bench.cpu import busy, drain, spent
from bench.far import ROUND_TRIP, Far, Silence, far_server
from bench.far_senders import CONNECTIONS, PATIENCE, QUIET, SENDERS, Scene, Sending
from bench.mail_cpu import Shop
from bench.mail_peers import CELERY, POST_OFFICE
from bench.queue_costs import valkey
from bench.report import OURS, Aim, Asked, Comparison, Figures, Report
from rigs.project import address
from rigs.redis_server import RedisServer
from rigs.waiting import wait_until

KILLS = 10
MAILS, KILLED_MAILS = 4_000, 11_000
QUICK = 5  # times fewer
PEERS = {"celery": CELERY, "post_office": POST_OFFICE}
LABELS = {OURS: "mailerd", "celery": "Celery, acks_late, smtplib", "post_office": "django-post_office"}


@dataclass
class Stage:
    """One sender; each of its rounds has a folder and a far server of its own."""

    name: str
    asked: Asked
    folder: Path
    redis: RedisServer
    shop: Shop
    mails: int
    rounds: int = 0

    @contextmanager
    def set(self) -> Iterator[tuple[Sending, Far]]:
        """The sender and the server, ready."""
        self.rounds += 1
        folder = self.folder / f"{self.name}{self.rounds}"
        folder.mkdir(parents=True)
        with far_server(folder) as far:
            scene = Scene(self.asked, folder, self.redis, self.shop, far)
            with SENDERS[self.name](scene) as sending:
                yield sending, far


class Rate(Stage):
    """Nobody is killed."""

    def round(self) -> Figures:
        """Mails a second, and the CPU of all that runs for one: sender, Redis, server and what delays."""
        with self.set() as (sending, far):
            sending.begin(self.mails)
            everything = {"all": [os.getpid()], "server": [far.pid], "sender": [sending.pid]}
            used, own, begun = busy(), spent([os.getpid()]), time.monotonic()
            first, last = drain(everything, far.total, self.mails, PATIENCE)
            others = (busy() - used) - (spent([os.getpid()]) - own)
            free = (os.cpu_count() or 1) - others / (time.monotonic() - begun)
        mails = last.done - first.done
        cost = {name: (last.cpu[name] - first.cpu[name]) / mails for name in everything}
        return {
            "per_second": mails / (last.time - first.time),
            **{f"{name}_us": 1e6 * each for name, each in cost.items()},
            "by_cpu": free / cost["all"],  # mails a second that the cores allow, less what others take
        }


class Killed(Stage):
    """Killed ten times while the first half arrives, or where nothing comes any more."""

    def round(self) -> Figures:
        """What the far server's record says, beside what the sender does."""
        with self.set() as (sending, far):
            sending.begin(self.mails)
            for number in range(1, KILLS + 1):
                mark, silence = number * self.mails // (2 * KILLS), Silence(far, QUIET)
                wait_until(lambda mark=mark, is_over=silence: far.total() >= mark or is_over(), PATIENCE)
                sending.kill()
            unknown = sending.finish()
            got = far.mails()
        contacts = [address(row[0]) for row in self.shop.rows[: self.mails]]
        return {
            "missing": sum(not got[each] and each not in unknown for each in contacts),
            "twice": sum(got[each] > 1 for each in contacts),
            "unknown": len(unknown),
        }


def measure(asked: Asked, folder: Path) -> Report:
    """All parts that are asked for."""
    less = QUICK if asked.quick else 1
    settings = {"mails": MAILS // less, "mails_with_kills": KILLED_MAILS // less}
    report = Report("far", settings=settings | {"connections": CONNECTIONS, "kills": KILLS})
    (folder / "shop").mkdir()
    shop = Shop(folder / "shop", KILLED_MAILS // less)
    names = [name for name in SENDERS if name == OURS or asked.wants_peer(name)]
    with valkey(folder / "redis") as redis:
        if asked.wants_part("rate"):
            stages = [Rate(name, asked, folder / "rate", redis, shop, MAILS // less) for name in names]
            _rate(Comparison("50 ms away").play(stages, asked.rounds), report)
        if asked.wants_part("kills"):
            killed = [Killed(name, asked, folder / "kills", redis, shop, len(shop.rows)) for name in names]
            _kills(Comparison("50 ms away, ten kills").play(killed, 1), report)
    if len(report.comparisons) == 2:
        report.charts["far"] = _chart(*report.comparisons, len(shop.rows))
    return report


def _rate(compared: Comparison, report: Report) -> None:
    report.comparisons.append(compared)
    allowed = {
        "connections ÷ 2 round trips": CONNECTIONS / (2 * ROUND_TRIP),
        "free CPU": compared.median(OURS, "by_cpu"),
    }
    report.facts |= {f"mails a second that {what} allow": value for what, value in allowed.items()}
    rules = min(allowed, key=lambda what: allowed[what])
    value = compared.median(OURS, "per_second") / allowed[rules]
    report.aims.append(Aim("8", f"mails a second, of the bound that rules ({rules})", value, 0.8))


def _kills(compared: Comparison, report: Report) -> None:
    report.comparisons.append(compared)
    figures = compared.rounds[OURS][0]
    report.aims += [
        Aim("8", "ten kills: mailed twice", figures["twice"], 0, most=True),
        Aim("8", "ten kills: neither mailed nor told as unknown", figures["missing"], 0, most=True),
    ]


def _chart(rate: Comparison, kills: Comparison, mails: int) -> str:
    order = sorted(rate.rounds, key=lambda who: -rate.median(who, "per_second"))
    limit = Bar("100 connections ÷ 2 round trips", CONNECTIONS / (2 * ROUND_TRIP))

    def of(figure: str, compared: Comparison) -> list[Bar]:
        return [Bar(LABELS[who], compared.median(who, figure), who == OURS) for who in order]

    told = f"ten SIGKILLs in {mails:,} mails"
    return panels(
        "STARTTLS, 50 ms away, 100 connections",
        [
            Panel("mails a second without kills; more is better", [limit, *of("per_second", rate)]),
            Panel(f"{told}: recipients with more than one mail", of("twice", kills)),
            Panel(f"{told}: recipients without a mail of whom nobody is told", of("missing", kills)),
            Panel(f"{told}: recipients whose answer was lost, held for the operator", of("unknown", kills)),
        ],
    )
