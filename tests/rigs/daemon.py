"""The real daemon: ``python -m mailerd run`` as a process of its own, with everything it starts."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from rigs.ports import free_port
from rigs.toml import toml
from rigs.waiting import wait_until

Sections = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Answer:
    """One HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Daemon:
    """
    One daemon with its own folder, configuration, state and log. Close it after use (fixtures do).

    ``sections`` overlay the rig's defaults key by key (see ``configuration``).
    """

    def __init__(self, folder: Path, sections: Sections, environ: Mapping[str, str] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.log_path = folder / "daemon.log"  # where standard output and standard error go
        self.program: Sequence[str] = ("-m", "mailerd")  # what its interpreter runs
        self.listener: socket.socket | None = None  # held for it over restarts, as systemd would
        self.port = free_port()
        self.sections = self._defaults()
        for name, keys in sections.items():
            self.sections.setdefault(name, {}).update(keys)
        self.environ = _clean_environment() | dict(environ or {})
        self._seen: set[psutil.Process] = set()
        self._process: subprocess.Popen[bytes] | None = None

    # --- its life -----------------------------------------------------------------------------------

    def start(self, *arguments: str, ready: bool = True) -> Daemon:
        """Write the configuration and start; with ``ready``, return once it can take jobs and has workers."""
        if self.sections:
            (self.folder / "config.toml").write_text(toml(self.sections))
        mark = len(self.log)
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._handing_over(), sys.executable, *self.program, "run", *arguments],
                pass_fds=[self.listener.fileno()] if self.listener else [],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=self.environ,
                start_new_session=True,
            )
        if ready:
            self._wait_until_ready(mark)
        return self

    @property
    def pid(self) -> int:
        """The main process."""
        assert self._process is not None, "never started"
        return self._process.pid

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the main process."""
        self.note_processes()
        os.kill(self.pid, number)

    def wait(self, deadline: float = 40.0) -> int:
        """The exit code of the main process, once it ended."""
        assert self._process is not None
        try:
            return self._process.wait(deadline)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {deadline} s:\n{self.tail()}") from None

    def term(self, deadline: float = 40.0) -> int:
        """SIGTERM; the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(deadline)

    @property
    def running(self) -> bool:
        """Whether the main process lives."""
        return self._process is not None and self._process.poll() is None

    def close(self) -> None:
        """Kill whatever is left of it, also what outlived its parents; never fails."""
        if self._process is None:
            return
        self.note_processes()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        for process in self._seen:
            with contextlib.suppress(psutil.Error):
                process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        psutil.wait_procs(self._seen, timeout=5)

    # --- its processes ------------------------------------------------------------------------------

    def note_processes(self) -> None:
        """Remember every process of this daemon, so that ``close`` and ``survivors`` find them later."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self._seen.update(psutil.Process(self.pid).children(recursive=True))
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                if os.getsid(process.pid) == self.pid:
                    self._seen.add(process)

    def survivors(self) -> list[psutil.Process]:
        """The processes ever seen in this daemon that still live (zombies do not count)."""
        self.note_processes()
        return [process for process in self._seen if _lives(process)]

    def supervisor(self) -> psutil.Process:
        """The supervisor."""
        for child in psutil.Process(self.pid).children():
            if _title(child).startswith("mailerd: supervisor"):
                return child
        raise AssertionError(f"no supervisor below {self.pid}:\n{self.tail()}")

    def workers(self) -> list[psutil.Process]:
        """The living workers, in no order; empty while there is no supervisor."""
        with contextlib.suppress(psutil.NoSuchProcess, AssertionError):
            children = self.supervisor().children()
            return [
                child for child in children if _title(child).startswith("mailerd: worker") and _lives(child)
            ]
        return []

    def worker_at(self, port: int) -> psutil.Process:
        """The worker that has a connection from this port."""
        self.note_processes()
        return next(worker for worker in self.workers() if port in self.ports(worker))

    def ports(self, process: psutil.Process) -> set[int]:
        """The ports from which a process has connections."""
        with contextlib.suppress(psutil.Error):
            return {connection.laddr.port for connection in process.net_connections("tcp")}
        return set()

    def kill_everything(self) -> None:
        """SIGKILL every process at the same moment, and return at once."""
        os.killpg(self.pid, signal.SIGKILL)

    def kill_main(self) -> None:
        """SIGKILL the main process."""
        self.note_processes()
        os.kill(self.pid, signal.SIGKILL)

    # --- its log ------------------------------------------------------------------------------------

    @property
    def log(self) -> str:
        """Everything logged so far."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def tail(self, lines: int = 25) -> str:
        """The end of the log, for messages."""
        return "\n".join(line[:500] for line in self.log.splitlines()[-lines:])

    def wait_for_line(self, text: str, deadline: float = 10.0, after: int = 0) -> str:
        """The first line with ``text`` that was logged behind the offset ``after``."""

        def found() -> str | None:
            lines = self.log[after:].splitlines()
            return next((line for line in lines if text in line), None)

        line = wait_until(found, deadline, lambda: f"no line with {text!r} in\n{self.tail()}")
        assert line is not None
        return line

    # --- its API ------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where it serves HTTP."""
        return f"http://127.0.0.1:{self.port}"

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """One request on a connection of its own; header names with ``_`` for ``-``."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(
                method, path, body, {name.replace("_", "-"): text for name, text in headers.items()}
            )
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def get(self, path: str) -> Answer:
        """A GET."""
        return self.request("GET", path)

    def post(self, path: str, value: object = None) -> Answer:
        """A POST of a value as JSON, or of nothing."""
        if value is None:
            return self.request("POST", path, b"")
        return self.request("POST", path, json.dumps(value).encode(), Content_Type="application/json")

    def batch(self, batch_id: str) -> Any:
        """The batch as GET /batches/{id} shows it."""
        answer = self.get(f"/batches/{batch_id}")
        assert answer.status == 200, answer
        return answer.json

    def wait_for_batch(self, batch_id: str, deadline: float = 30.0, states: Sequence[str] = ("done",)) -> Any:
        """The batch, once it is in one of these states."""
        last: list[Any] = []

        def there() -> bool:
            answer = self.get(f"/batches/{batch_id}")
            last[:] = [answer.json]
            return answer.status == 200 and answer.json["state"] in states

        wait_until(there, deadline, lambda: f"batch {batch_id} is {last}\n{self.tail()}")
        return last[0]

    def wait_for_reason(self, batch_id: str, deadline: float = 10.0) -> Any:
        """The batch in a moment in which it says what it waits for; while a try is under way it may not."""

        def waiting() -> Any:
            batch = self.batch(batch_id)
            return batch["waiting_for"] and batch

        return wait_until(waiting, deadline, self.tail)

    # --- within -------------------------------------------------------------------------------------

    def _handing_over(self) -> list[str]:
        if self.listener is None:
            return []
        lines = [
            "import os, sys",
            'os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="http")',
            f"os.dup2({self.listener.fileno()}, 3)",
            "os.execv(sys.argv[1], sys.argv[1:])",
        ]
        return [sys.executable, "-c", "\n".join(lines)]

    def _defaults(self) -> Sections:
        return {
            "daemon": {"state_dir": str(self.folder / "state")},
            "api": {"port": self.port},
            "log": {"format": "text"},
        }

    def _wait_until_ready(self, mark: int) -> None:
        wanted = self.sections.get("workers", {}).get("processes", 2)

        def ready() -> bool:
            assert self.running, f"ended with {self.wait()} at start:\n{self.tail()}"
            if self.log[mark:].count("Worker started") < wanted:
                return False
            with contextlib.suppress(OSError):
                return self.get("/readyz").status == 200
            return False

        wait_until(ready, 20, lambda: f"not ready:\n{self.tail()}")
        self.note_processes()


def _clean_environment() -> dict[str, str]:
    foreign = (
        "MAILERD_",
        "REDIS_ADDR",
        "NOTIFY_SOCKET",
        "LISTEN_",
        "CREDENTIALS_DIRECTORY",
        "STATE_DIRECTORY",
    )
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)}


def _title(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline()).strip()
    return ""


def _lives(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False
