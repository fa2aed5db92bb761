"""
How much mail a worker, a host and a Redis can take, and how much memory it leaves: measured costs, and sums.

Called by ``scale_costs``; the README shows the table. One batch of the bench's own mail to recipients with
36-character ids goes through two workers to smtp-sink, contacts in SQLite, ledger in Redis; CPU is that of
workers, main and Redis each. Then batches of one recipient tell what a batch itself leaves.
"""

from __future__ import annotations

import uuid
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.cpu import drain
from bench.far import ROUND_TRIP
from bench.mail_cpu import ITEMS, Shop, smtp_sink
from bench.report import Asked, Figures, Report
from mailerd.queue.keys import Batch, Keys
from rigs.daemon import Daemon
from rigs.project import job, push
from rigs.redis_server import RedisServer
from rigs.waiting import wait_until

MAILS, BATCHES = 20_000, 2_000
DAY = 86_400
SHARE = 0.7  # of a core, so that a busy hour finds room
KEYS = Keys("email_queue")


@dataclass(frozen=True)
class Costs:
    """Seconds of CPU and bytes of Redis."""

    worker: float  # a mail
    main: float
    redis: float
    commands: float
    row: float  # bytes of a recipient until the retention ends
    at_most: float  # the same while they are queued
    batch: float  # of a batch with one recipient, that one included
    tombstone: float  # of what answers replays after that

    def figures(self) -> Figures:
        """For the report."""
        return {
            "CPU a mail, µs: worker": 1e6 * self.worker,
            "CPU a mail, µs: main": 1e6 * self.main,
            "CPU a mail, µs: Redis": 1e6 * self.redis,
            "commands of Redis a recipient": self.commands,
            "bytes of Redis a recipient, settled": self.row,
            "bytes of Redis a recipient, while queued, at most": self.at_most,
            "bytes of Redis a batch of one recipient": self.batch,
            "bytes of Redis a batch after its retention": self.tombstone,
        }

    def table(self) -> str:
        """The README's."""
        a_connection = DAY / (2 * ROUND_TRIP)
        workers = [4 * a_connection, min(50 * a_connection, DAY / self.worker), DAY / self.worker]
        rows = [
            ("what", "how much", "by"),
            ("---", "---", "---"),
            ("a connection to a server 50 ms away", _mails(a_connection), "a day ÷ (2 round trips)"),
            (
                f"a worker with 4 connections · 50 · {2 * ROUND_TRIP / self.worker:.0f}, all that it can use",
                _mails(*workers),
                f"connections, at most a day ÷ {1e6 * self.worker:.0f} µs of CPU a mail",
            ),
            (
                "a core of a host",
                _mails(SHARE * DAY / (self.worker + self.main)),
                f"70 % of it ÷ {1e6 * (self.worker + self.main):.0f} µs of workers and main a mail",
            ),
            (
                "a Redis, for all hosts",
                _mails(SHARE * DAY / self.redis),
                f"70 % of its core ÷ {1e6 * self.redis:.0f} µs a recipient ({self.commands:.2f} commands)",
            ),
            (
                "a million recipients with 36-character ids",
                f"{_gb(self.row)}, {_gb(self.at_most)} while queued",
                f"{self.row:.0f} bytes each until `retention_days`",
            ),
            (
                "a million batches of one recipient",
                f"{_gb(self.batch)}, then {_gb(self.tombstone)}",
                f"{self.batch:.0f} bytes until `retention_days`, {self.tombstone:.0f} until `replay_days`",
            ),
        ]
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _mails(*each: float) -> str:
    return " · ".join(f"{float(f'{mails / 1e6:.2g}'):,g}" for mails in each) + " M mails a day"


def _gb(each: float) -> str:
    return f"{each / 1e3:.2f} GB"


class Measured:
    """A daemon of two workers that sends to smtp-sink."""

    def __init__(self, daemon: Daemon, redis: RedisServer) -> None:
        self._daemon, self._redis = daemon, redis
        self._client: Any = redis.client()
        self._most = 0

    def batch(self, contacts: list[str]) -> Figures:
        """One batch to all of these."""
        before, commands, sent = self._memory(), self._commands(), self._sent()
        trees = {
            "all": [self._daemon.pid],
            "workers": [self._daemon.supervisor().pid],
            "redis": [self._redis.pid],
        }
        variables = {"items": ITEMS, "count": len(ITEMS)}
        push(self._redis, job("capacity", contacts, "offer") | {"variables": variables})
        first, last = drain(trees, lambda: self._sent() - sent, len(contacts), 600)
        mails = last.done - first.done
        cost = {name: (last.cpu[name] - first.cpu[name]) / mails for name in trees}
        return cost | {
            "commands": (self._commands() - commands) / len(contacts),
            "row": (self._memory() - before) / len(contacts),
            "at_most": (self._most - before) / len(contacts),
        }

    def small_batches(self, contacts: list[str]) -> Figures:
        """A batch for each of these, and what stays of one after its retention."""
        before, sent = self._memory(), self._sent()
        jobs = [job(str(uuid.uuid4()), [each], "small") for each in contacts]
        push(self._redis, *jobs)
        wait_until(lambda: self._sent() - sent == len(contacts), 300)
        batch = (self._memory() - before) / len(contacts)
        digest = self._client.hget(KEYS.batch(Batch("c1", jobs[0]["batch_id"], 0).tag), "digest") or b"-"
        before = self._memory()
        for each in contacts:
            self._client.set(KEYS.tombstone(f"c1/{each}"), digest + b" 1", px=DAY * 1000)
        return {"batch": batch, "tombstone": (self._memory() - before) / len(contacts)}

    def _sent(self) -> int:
        self._most = max(self._most, self._memory())
        return int(self._client.hget(KEYS.totals, "sent") or 0)

    def _memory(self) -> int:
        return int(self._client.info("memory")["used_memory"])

    def _commands(self) -> int:
        """Those that clients sent; what scripts call within is part of theirs."""
        stats = self._client.info("commandstats")
        names = ("evalsha", "eval", "blmove", "lindex", "brpop")
        return int(sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in names))


def capacity(asked: Asked, redis: RedisServer, folder: Path, report: Report) -> None:
    """Measure, and add the table."""
    less = 10 if asked.quick else 1
    contacts = [str(uuid.uuid4()) for _ in range(MAILS // less)]
    folder.mkdir()
    shop = Shop(folder, contacts)
    small = folder / "templates" / "small"
    small.mkdir()
    (small / "subject.txt").write_text("Your order")
    (small / "body.txt").write_text("{{ name }}, it is on its way.")
    with ExitStack() as stack:
        sections = shop.sections(redis, stack.enter_context(smtp_sink()), [])
        daemon = Daemon(folder / "daemon", sections | {"workers": {"processes": 2}}).start()
        stack.callback(daemon.close)
        measured = Measured(daemon, redis)
        measured.small_batches(contacts[:100])  # so that everybody has connected
        large = measured.batch(contacts)
        single = measured.small_batches(contacts[: BATCHES // less])
    with redis.client() as client:
        client.flushall()
    costs = Costs(
        worker=large["workers"],
        main=max(large["all"] - large["workers"], 0.0),
        redis=large["redis"],
        **{name: large[name] for name in ("commands", "row", "at_most")},
        **single,
    )
    report.facts |= costs.figures()
    report.tables["capacity"] = costs.table()
