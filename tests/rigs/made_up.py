"""
The daemon's processes with made-up roles, for tests of nothing but the processes.

Its workers boot, say that they are idle and renew a deadline of two seconds, unless a file tells them
otherwise: ``crash`` (exit 3 at once), ``refuse`` (raise ConfigurationError), ``hold`` (take three recipients
in hand: one answered, one handed over, one claimed; on a stop wait for ``release`` or to be hurried),
``settle`` (settle something all the time), ``jobs`` (do jobs all the time), ``stuck`` (hang in C before it
is ready), ``wedge`` (hang in C from now on), ``busy`` (take a minute for one step). The supervisor has
``helpers`` that end with odd exit codes at ``dismiss``; ``slow-birth`` has each child take a second after its
fork; ``impatient`` shortens the time to boot to one; with ``linger`` main's interpreter takes half a second
to end. ``redis`` lets the start go on (there from the beginning unless told otherwise); ``break-http`` and
``break-janitor`` break those.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from rigs.ports import free_port
from rigs.waiting import wait_until

SCRIPT = Path(__file__).with_name("made_up_daemon.py")


class MadeUp:
    """One such daemon; ``sections`` go over the defaults of this rig."""

    def __init__(self, folder: Path, **sections: Mapping[str, Any]) -> None:
        self.folder = folder
        self.port = free_port()
        self.sections: dict[str, dict[str, Any]] = {
            "daemon": {"state_dir": str(folder / "state")},
            "workers": {"processes": 2, "connections": 3, "drain_timeout": 5},
            "api": {"port": self.port},
        }
        for name, keys in sections.items():
            self.sections.setdefault(name, {}).update(keys)
        self.process: subprocess.Popen[bytes] | None = None
        self._seen: set[psutil.Process] = set()
        self.tell("redis")

    def start(
        self, *, prefix: Sequence[str] = (), environ: Mapping[str, str] | None = None, **popen: Any
    ) -> MadeUp:
        """Start it, at once; ``wait_until_ready`` waits."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, str(SCRIPT), json.dumps(self.sections), str(self.folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(environ or {})},
                start_new_session=True,
                **popen,
            )
        return self

    def wait_until_ready(self) -> MadeUp:
        """Return once it is ready and all workers have booted."""
        seen = self.log.count("Ready: ")
        wait_until(lambda: self.log.count("Ready: ") > seen or "Ready: " in self.log, 10, lambda: self.log)
        wait_until(lambda: len(self.workers()) == self.sections["workers"]["processes"], 10, lambda: self.log)
        return self

    def restart(self) -> MadeUp:
        """Start it again with an empty log."""
        (self.folder / "log").unlink()
        return self.start()

    def tell(self, name: str, text: str = "") -> None:
        """Create a file that steers it."""
        (self.folder / name).write_text(text)

    def untell(self, name: str) -> None:
        """Remove such a file."""
        (self.folder / name).unlink()

    @property
    def pid(self) -> int:
        """The main process."""
        assert self.process is not None
        return self.process.pid

    @property
    def log(self) -> str:
        """All that it wrote."""
        return (self.folder / "log").read_text(errors="replace")

    def notes(self, name: str) -> list[dict[str, Any]]:
        """What its processes noted in ``deaths``, ``audit`` or ``left``."""
        path = self.folder / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def supervisor(self) -> int:
        """The supervisor's process id."""
        return next(child.pid for child in self._children() if title(child) == "mailerd: supervisor")

    def workers(self) -> dict[int, int]:
        """The process ids of the living workers by slot; a worker stays ``booting`` in its title."""
        found = {}
        for child in self._children():
            words = title(child).split()
            if words[:2] == ["mailerd:", "worker"] and _lives(child):
                found[int(words[2])] = child.pid
        return found

    def holding(self) -> None:
        """Return once every worker has its recipients in hand."""
        self.send(signal.SIGUSR1)

        def all_hold() -> bool:
            if self.log.count("sending") >= self.sections["workers"]["processes"]:
                return True
            self.send(signal.SIGUSR1)
            return False

        wait_until(all_hold, 10, lambda: self.log)

    def send(self, number: signal.Signals, pid: int | None = None) -> None:
        """Send a signal, to main unless told otherwise."""
        self._children()
        os.kill(pid or self.pid, number)

    def wait(self, deadline: float = 15.0) -> int:
        """Main's exit code."""
        assert self.process is not None
        try:
            return self.process.wait(deadline)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running:\n{self.log}") from None

    def ask(self) -> list[bool]:
        """What its door says: ready, draining."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=2.0) as client:
            answer: list[bool] = json.loads(client.recv(100))
            return answer

    def survivors(self) -> list[str]:
        """The titles of its processes that still live."""
        return [title(process) for process in self._seen if _lives(process)]

    def close(self) -> None:
        """Kill what is left, and check what must hold of every daemon: each fork had a single thread."""
        self._children()
        for process in self._seen:
            with contextlib.suppress(psutil.Error):
                process.kill()
        if self.process is not None:
            self.process.kill()
            self.process.wait(5)
        assert [
            fork for fork in self.notes("audit") if fork["event"] == "fork" and fork["threads"] != 1
        ] == []

    def _children(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.Error):
            children = psutil.Process(self.pid).children(recursive=True)
            self._seen.update(children)
            return children
        return []


def title(process: psutil.Process) -> str:
    """The process' title, empty when it is gone."""
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline()).strip()
    return ""


def _lives(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
