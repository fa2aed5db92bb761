"""
What a run runs: one Redis, one mail server, and two daemons with their own state, as two hosts would be.

Each daemon reaches Redis through a proxy of its own and is started again when it ends, as systemd would.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from signal import Signals
from typing import Self

import psutil

from chaos import jobs, rates
from chaos.group import REPLICAS, Group
from chaos.schedule import HOSTS
from rigs.daemon import Daemon, Sections
from rigs.project import Project
from rigs.proxy import Proxy
from rigs.redis_server import RedisServer
from rigs.sink import HandOver, Sink
from rigs.waiting import wait_until

RESTART_AFTER = 1.0  # as RestartSec in the unit
LEASE = 3.0
# "ok" and a number answers an admission; "contact_ids" and "mailerd" stand in jobs that are taken.
ADMITTED, TAKEN = b"ok\r\n:", b"contact_ids"
MARKERS = (b"", ADMITTED, b"ok", b"claimed", TAKEN, b"mailerd", b":1\r\n", b"queued")


@dataclass(frozen=True)
class Setup:
    """What a run may choose."""

    server: str
    unknown: str = "hold"
    fetch: str = "blmove"
    sentinels: bool = False  # a master with two replicas, both of which confirm, under three sentinels
    planted: str = ""
    delay: float = 0.04  # of the mail server, after each final dot
    envelope: float = 0.0  # of the mail server, before it answers to RCPT
    reply_delay: float = 0.0  # of Redis, in good times
    markers: tuple[bytes, ...] = MARKERS  # in replies that a fault drops; an empty one is in any
    contacts: int = 100_000
    limited: bool = False  # by ``rates.LIMITS``
    overlay: Sections = field(default_factory=dict)


class Host:
    """One daemon, its proxy, and its end and new beginning."""

    def __init__(self, number: int, folder: Path, sections: Sections, proxy: Proxy, planted: str) -> None:
        self.number = number
        self.name = f"host{number}.test"
        self.proxy = proxy
        self.disk = Disk(folder)
        self.daemon = Daemon(folder, {**sections, "smtp": {**sections["smtp"], "helo_name": self.name}})
        if planted:
            self.daemon.program = (str(Path(__file__).with_name("planted.py")), planted)
        self.ends: list[int] = []
        self.down = False  # gone as a whole: nobody starts it again yet
        self.over = False
        self.started = 0.0  # when it was started last (monotonic)
        self._restart_at = 0.0

    def start(self) -> None:
        """Start it, and do not wait."""
        self._restart_at = 0.0
        self.started = time.monotonic()
        self.daemon.start(ready=False)

    def tend(self) -> None:
        """Start it again a moment after it ended."""
        if self.down or self.over or self.daemon.running:
            return
        now = time.monotonic()
        if not self._restart_at:
            self.ends.append(self.daemon.wait(1))
            self._restart_at = now + RESTART_AFTER
        elif now >= self._restart_at:
            self.start()

    def main(self) -> psutil.Process:
        """The main process."""
        return psutil.Process(self.daemon.pid)

    def send(self, number: Signals) -> None:
        """A signal to main, if it lives."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.daemon.pid, number)

    def is_ready(self) -> bool:
        """Whether it takes jobs."""
        with contextlib.suppress(OSError):
            return self.daemon.running and self.daemon.get("/readyz").status == 200
        return False

    def processes(self) -> list[psutil.Process]:
        """Everything of it that lives."""
        return self.daemon.survivors()


class Disk:
    """A small file system of the host's own for its logs and state, where we may mount one."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        command = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
        self.mounted = os.geteuid() == 0 and subprocess.run(command, check=False).returncode == 0

    def fill(self) -> None:
        """Leave no byte free."""
        with contextlib.suppress(OSError), (self._folder / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(b"\0" * 65536)

    def free(self) -> None:
        """Make room again."""
        (self._folder / "filler").unlink(missing_ok=True)

    def close(self, keep: Path | None) -> None:
        """Unmount; what lies there is copied to ``keep`` first."""
        if not self.mounted:
            return
        if keep is not None:
            keep.mkdir(exist_ok=True)
            subprocess.run(["cp", "-a", f"{self._folder}/.", str(keep)], check=False)
        subprocess.run(["umount", "-l", str(self._folder)], check=True)


class Fleet:
    """Everything of a run; use as a context manager. ``keep`` makes it leave the logs behind."""

    def __init__(self, folder: Path, setup: Setup) -> None:
        self.setup = setup
        self.folder = folder
        self.keep = False
        self.group = Group(setup.server, folder / "redis") if setup.sentinels else None
        self._server = RedisServer(setup.server, folder / "redis", append_only=True, settings=_SETTINGS)
        self.project = Project(folder / "project")
        self.sink = Sink(folder / "sink")
        self.hosts: list[Host] = []
        self._over = threading.Event()
        self._keeper = threading.Thread(target=self._tend, name="systemd", daemon=True)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        try:
            self._begin()
        except BaseException:
            self._stack.close()
            raise
        return self

    def _begin(self) -> None:
        self._fill_contacts()
        if self.group is not None:
            self._stack.enter_context(self.group)
        else:
            self._stack.callback(self._server.close)
            self._server.start()
        self._stack.enter_context(self.sink)
        self.calm_sink()
        for number in range(HOSTS):
            proxy = self._stack.enter_context(Proxy(self.redis.port, self.setup.reply_delay))
            host = Host(
                number, self.folder / f"host{number}", self._sections(proxy), proxy, self.setup.planted
            )
            self._stack.callback(lambda host=host: self._end(host))
            self.hosts.append(host)
            host.start()
        wait_until(lambda: all(host.is_ready() for host in self.hosts), 30, self.hosts[0].daemon.tail)
        self._keeper.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._keeper.ident is not None:
            self._keeper.join()
        self._stack.close()

    @property
    def redis(self) -> RedisServer:
        """The Redis, or the master of the moment."""
        return self._server if self.group is None else self.group.master

    def calm_sink(self) -> None:
        """Let the mail server behave as in good times."""
        self.sink.behave(self.setup.delay, envelope=self.setup.envelope)

    def host_of(self, hand_over: HandOver) -> Host:
        """The host that speaks in a hand-over."""
        return next(host for host in self.hosts if host.name == hand_over.helo)

    def _tend(self) -> None:
        while not self._over.wait(0.05):
            for host in self.hosts:
                host.tend()

    def _end(self, host: Host) -> None:
        host.over = True
        host.daemon.close()
        host.disk.close(self.folder / f"logs{host.number}" if self.keep else None)

    def _fill_contacts(self) -> None:
        connection = sqlite3.connect(self.project.database)
        with connection:
            connection.execute("CREATE TABLE contacts (id TEXT PRIMARY KEY, email TEXT, name TEXT)")
            ids = (f"u{n}" for n in range(self.setup.contacts))
            rows = ((each, jobs.address(each), "Ann") for each in ids if jobs.known(each))
            connection.executemany("INSERT INTO contacts VALUES (?, ?, ?)", rows)
        connection.close()

    def _sections(self, proxy: Proxy) -> Sections:
        url = f"redis://127.0.0.1:{proxy.port}/0"
        sections = self.project.sections(
            self.redis,
            self.sink,
            queue={"lease": LEASE, "slice": 20, "fetch": self.setup.fetch},
            workers={"max_jobs": 60, "drain_timeout": 5},
            mail={"unknown": self.setup.unknown, "retry_delays": [0.5, 1]},
            smtp={"connect_timeout": 2, "command_timeout": 2, "data_timeout": 2},
        )
        if self.group is not None:
            url = self.group.url
        # As many copies as replicas: with fewer Sentinel may choose one that has not confirmed, and what it
        # forgets then looks like a defect of ours.
        copies = REPLICAS if self.group is not None else 0
        sections["redis"] = {"url": url, "startup_timeout": 60, "replicas": copies}
        if self.setup.limited:
            sections["limits"] = dict(rates.LIMITS)
        for name, keys in self.setup.overlay.items():
            sections[name] = {**sections.get(name, {}), **keys}
        return sections


# The append-only file is never rewritten: it is the journal that the verdict reads (``journal``).
_SETTINGS = ("--appendfsync", "always", "--auto-aof-rewrite-percentage", "0")
