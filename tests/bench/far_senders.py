"""
Who sends in ``mail_far.py``: mailerd, Celery and django-post_office, each with 100 connections.

All of them are told how many mails, killed at any moment, and asked in the end whom they know nothing of.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from bench.far import Far, Silence
from bench.mail_cpu import ITEMS, Shop
from bench.mail_peers import Celery, PostOffice
from bench.report import OURS, Asked
from rigs.daemon import Daemon
from rigs.project import address, job, push
from rigs.proxy import Proxy
from rigs.redis_server import RedisServer
from rigs.waiting import wait_until

CONNECTIONS = 100
TO_REDIS = 0.001
PATIENCE = 600.0  # seconds
QUIET = 15.0  # seconds without a mail, after which none comes: it starts in less


@dataclass(frozen=True)
class Scene:
    """What surrounds a sender in one run."""

    asked: Asked
    folder: Path
    redis: RedisServer
    shop: Shop
    far: Far


class Sending(Protocol):
    """A sender at work."""

    @property
    def pid(self) -> int:
        """Its process, above all others of it."""

    def begin(self, mails: int) -> None:
        """Enqueue so many mails and start."""

    def kill(self) -> None:
        """SIGKILL, and whatever starts it again."""

    def finish(self) -> set[str]:
        """Wait until it is through; the addresses of whom it does not know."""


@contextmanager
def ours(scene: Scene) -> Iterator[Sending]:
    """Two workers of fifty connections, Redis a millisecond away."""
    with Proxy(scene.redis.port, delay=TO_REDIS) as proxy:
        sections = scene.shop.sections(scene.redis, scene.far.port, [])
        sections["redis"] = {"url": f"redis://127.0.0.1:{proxy.port}/0"}
        sections["smtp"] = {
            "host": "127.0.0.1",
            "port": scene.far.port,
            "ca_file": str(scene.far.authority),
        }
        sections["workers"] = {"processes": 2, "connections": CONNECTIONS // 2}
        daemon = Daemon(scene.folder / "daemon", sections).start()
        try:
            yield Ours(daemon, scene)
        finally:
            daemon.close()
            with scene.redis.client() as client:
                client.flushall()


class Ours:
    """mailerd, one batch."""

    def __init__(self, daemon: Daemon, scene: Scene) -> None:
        self._daemon, self._scene = daemon, scene

    @property
    def pid(self) -> int:
        """Main's."""
        return self._daemon.pid

    def begin(self, mails: int) -> None:
        """Push the job."""
        contacts = [row[0] for row in self._scene.shop.rows[:mails]]
        variables = {"items": ITEMS, "count": len(ITEMS)}
        push(self._scene.redis, job("far", contacts, "offer") | {"variables": variables})

    def kill(self) -> None:
        """One of the workers."""
        worker, *_ = wait_until(self._daemon.workers, 30)
        worker.kill()

    def finish(self) -> set[str]:
        """Whom it asks its operator about."""
        self._daemon.wait_for_batch("far", PATIENCE, ("done", "needs_attention"))
        found, path = set[str](), "/batches/far/recipients?state=unknown&limit=100"
        page: dict[str, Any] = self._daemon.get(path).json
        while True:
            found |= {address(each["contact_id"]) for each in page["recipients"]}
            if not page["next"]:
                return found
            page = self._daemon.get(f"{path}&cursor={quote(page['next'])}").json


@contextmanager
def celery(scene: Scene) -> Iterator[Sending]:
    """A hundred threads, Redis a millisecond away."""
    with Proxy(scene.redis.port, delay=TO_REDIS) as proxy:
        program = Celery(
            scene.asked,
            scene.redis,
            scene.folder,
            scene.far.port,
            processes=CONNECTIONS,
            pool="threads",
            redis_port=proxy.port,
            authority=scene.far.authority,
        )
        try:
            yield Celeries(program, scene.far)
        finally:
            program.stop()


class Launched:
    """A program that is started on what was pushed before, and again after each kill."""

    def __init__(self, program: Celery | PostOffice) -> None:
        self._program = program
        self.pid = 0

    def begin(self, mails: int) -> None:
        """Push the mails, then start it."""
        self._program.push(mails)
        self.pid = self._program.launch()

    def kill(self) -> None:
        """All of it."""
        self._program.kill()
        self._program.launch()


class Celeries(Launched):
    """Celery, a task a mail."""

    def __init__(self, program: Celery, far: Far) -> None:
        super().__init__(program)
        self._far = far

    def finish(self) -> set[str]:
        """It keeps no record of a mail: nobody."""
        wait_until(Silence(self._far, QUIET), PATIENCE)
        return set()


@contextmanager
def post_office(scene: Scene) -> Iterator[Sending]:
    """Two processes of fifty threads; its database is a file here."""
    program = PostOffice(
        scene.asked,
        scene.folder,
        scene.far.port,
        processes=2,
        threads=CONNECTIONS // 2,
        authority=scene.far.authority,
    )
    try:
        yield Offices(program)
    finally:
        program.kill()


class Offices(Launched):
    """django-post_office, a row a mail."""

    def __init__(self, program: PostOffice) -> None:
        super().__init__(program)
        self._office = program

    def finish(self) -> set[str]:
        """Each row is sent or not: nobody."""
        wait_until(lambda: not self._office.running, PATIENCE)
        return set()


SENDERS = {OURS: ours, "post_office": post_office, "celery": celery}
