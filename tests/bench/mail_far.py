"""
The real case: a mail server with STARTTLS 50 ms away, Redis 1 ms away, 100 connections, workers killed.

``run.py far`` calls it. mailerd sends one batch with two workers of 50 connections each, ten of them killed
with SIGKILL on the way; the far server's own record and the ledger then say who was lost and who got two.
Celery has 100 threads, acks_late and a connection a mail, and is started again at each kill, as systemd does;
what it had in hand comes back after the visibility timeout of an hour, and counts as missing here.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import trustme

from bench.mail_cpu import ITEMS, Shop
from bench.mail_peers import Celery
from bench.queue_costs import valkey
from bench.report import OURS, Aim, Asked, Comparison, Figures, Report
from rigs.daemon import Daemon
from rigs.project import address, job, push
from rigs.proxy import Proxy
from rigs.redis_server import RedisServer
from rigs.waiting import wait_until

ROUND_TRIP = 0.05
TO_REDIS = 0.001
CONNECTIONS = 100
KILLS = 10
MAILS = 20_000
PROGRAM = Path(__file__).parent / "peers" / "far_server.py"


@dataclass(frozen=True)
class Far:
    """The far server as its clients and its judge see it."""

    port: int
    authority: Path
    taken: Path

    def mails(self) -> Counter[str]:
        """How many mails each recipient got."""
        return Counter(self.taken.read_text().split())


@contextmanager
def far_server(folder: Path, name: str) -> Iterator[Far]:
    """A running one with a record of its own."""
    authority, taken = trustme.CA(), folder / f"{name}.taken"
    taken.touch()
    files = [folder / f"{name}.{kind}" for kind in ("authority", "certificate", "key")]
    issued = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(files[0])
    issued.cert_chain_pems[0].write_to_path(files[1])
    issued.private_key_pem.write_to_path(files[2])
    command = [sys.executable, PROGRAM, files[1], files[2], str(ROUND_TRIP), taken]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield Far(int(process.stdout.readline()), files[0], taken)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def with_kills(far: Far, mails: int, kill: Callable[[], None], longest: float = 600.0) -> float:
    """Kill somebody each time that another eleventh has arrived; the seconds until all kills are done."""
    begun = time.monotonic()
    for number in range(1, KILLS + 1):
        wait_until(lambda n=number: far.mails().total() >= n * mails // (KILLS + 1), longest)
        kill()
    return time.monotonic() - begun


def verdict(far: Far, mails: int, begun: float) -> Figures:
    """What the far server's record says."""
    got = far.mails()
    return {
        "per_second": got.total() / (time.monotonic() - begun),
        "missing": mails - len(got),
        "twice": sum(count - 1 for count in got.values()),
    }


def ours(folder: Path, redis: RedisServer, shop: Shop) -> Figures:
    """Mailerd's batch; ``unknown`` are those whom it asks its operator about."""
    with far_server(folder, OURS) as far, Proxy(redis.port, delay=TO_REDIS) as proxy:
        sections = shop.sections(redis, far.port, [])
        sections["redis"] = {"url": f"redis://127.0.0.1:{proxy.port}/0"}
        sections["smtp"] = {"host": "127.0.0.1", "port": far.port, "ca_file": str(far.authority)}
        sections["workers"] = {"processes": 2, "connections": CONNECTIONS // 2}
        daemon = Daemon(folder / "daemon", sections).start()
        try:
            begun = time.monotonic()
            contacts = [row[0] for row in shop.rows]
            variables = {"items": ITEMS, "count": len(ITEMS)}
            push(redis, job("far", contacts, "offer") | {"variables": variables})
            with_kills(far, len(contacts), lambda: _kill_one(daemon))
            daemon.wait_for_batch("far", 600, ("done", "needs_attention"))
            unknown, got = _unknown(daemon), far.mails()
            lost = [each for each in contacts if not got[address(each)] and each not in unknown]
            found = {"unknown": len(unknown), "lost": len(lost)}
            return verdict(far, len(contacts), begun) | found
        finally:
            daemon.close()


def _unknown(daemon: Daemon) -> set[str]:
    """Whom mailerd asks about."""
    found, path = set[str](), "/batches/far/recipients?state=unknown&limit=100"
    page: dict[str, Any] = daemon.get(path).json
    while True:
        found |= {each["contact_id"] for each in page["recipients"]}
        if not page["next"]:
            return found
        page = daemon.get(f"{path}&cursor={quote(page['next'])}").json


def _kill_one(daemon: Daemon) -> None:
    worker, *_ = wait_until(daemon.workers, 30)
    worker.kill()


def theirs(asked: Asked, folder: Path, redis: RedisServer, mails: int) -> Figures:
    """Celery's tasks; over when nothing is queued and nothing has arrived for five seconds."""
    with far_server(folder, "celery") as far, Proxy(redis.port, delay=TO_REDIS) as proxy:
        celery = Celery(
            asked,
            redis,
            folder,
            far.port,
            processes=CONNECTIONS,
            pool="threads",
            redis_port=proxy.port,
            authority=far.authority,
        )
        try:
            celery.push(mails)
            begun = time.monotonic()
            celery.launch()

            def restart() -> None:
                celery.kill()
                celery.launch()

            with_kills(far, mails, restart)
            seen, since = 0, time.monotonic()

            def quiet() -> bool:
                nonlocal seen, since
                if (now := far.mails().total()) != seen:
                    seen, since = now, time.monotonic()
                return time.monotonic() - since > 5

            wait_until(quiet, 600)
            return verdict(far, mails, begun)
        finally:
            celery.stop()


def measure(asked: Asked, folder: Path) -> Report:
    """Both, once."""
    mails = 2200 if asked.quick else MAILS
    (folder / "shop").mkdir()
    shop = Shop(folder / "shop", mails)
    compared = Comparison("50 ms away, ten kills")
    report = Report("far", [compared], settings={"mails": mails, "connections": CONNECTIONS, "kills": KILLS})
    with ExitStack() as stack:
        redis = stack.enter_context(valkey(folder / "redis"))
        compared.rounds[OURS] = [ours(folder, redis, shop)]
        if asked.wants_peer("celery"):
            compared.rounds["celery"] = [theirs(asked, folder, redis, mails)]
    figures = compared.rounds[OURS][0]
    limit = CONNECTIONS / (2 * ROUND_TRIP)
    report.aims += [
        Aim("8", "mails a second, of connections ÷ two round trips", figures["per_second"] / limit, 0.8),
        Aim("8", "mailed twice", figures["twice"], 0, most=True),
        Aim("8", "neither mailed nor told as unknown", figures["lost"], 0, most=True),
    ]
    return report
