"""The daemon's processes under a service manager, as far as one socket can play it."""

from __future__ import annotations

import json
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rigs.made_up import MadeUp
from rigs.ports import free_port
from rigs.waiting import holds_for, wait_until


class Manager:
    """Hears what main says; holds the socket that it is handed."""

    def __init__(self, address: Path) -> None:
        self.address = str(address)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._socket.setblocking(False)
        self._heard: list[str] = []
        self.kept: socket.socket | None = None

    @property
    def heard(self) -> list[str]:
        try:
            while True:
                text, descriptors, _, _ = socket.recv_fds(self._socket, 4096, 1)
                self._heard.append(text.decode())
                if descriptors:
                    self.kept = socket.socket(fileno=descriptors[0])
        except BlockingIOError:
            return self._heard

    def close(self) -> None:
        self._socket.close()
        if self.kept:
            self.kept.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """A service manager."""
    made = Manager(tmp_path / "notify")
    yield made
    made.close()


def start_with_socket(daemon: MadeUp, listener: socket.socket, name: str) -> MadeUp:
    number = listener.fileno()
    handing_over = f"""
import os, sys
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES={name!r})
os.dup2({number}, 3)
os.execv(sys.argv[1], sys.argv[1:])
"""
    return daemon.start(prefix=[sys.executable, "-c", handing_over], pass_fds=[number])


def test_a_life_is_told_in_order(made_up: Callable[..., MadeUp], manager: Manager) -> None:
    """READY only after Redis and a worker, then a status, signs of life, and STOPPING once committed."""
    daemon = made_up()
    daemon.untell("redis")
    daemon.start(environ={"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "300000"})
    wait_until(lambda: "Server starting" in daemon.log)
    holds_for(lambda: not any("READY" in text for text in manager.heard), 0.3)

    daemon.tell("redis")
    wait_until(lambda: "READY=1" in manager.heard)
    wait_until(lambda: "STATUS=2/2 workers, 0 jobs waiting" in manager.heard, 8.0, lambda: str(manager.heard))
    wait_until(lambda: manager.heard.count("WATCHDOG=1") >= 2)
    daemon.send(signal.SIGTERM)

    assert daemon.wait() == 0
    assert [text for text in manager.heard if text in {"READY=1", "STOPPING=1"}] == ["READY=1", "STOPPING=1"]


@pytest.mark.slow
def test_a_stuck_supervisor_ends_the_signs_of_life(made_up: Callable[..., MadeUp], manager: Manager) -> None:
    """When the supervisor no longer goes round, the watchdog is no longer told that all is well."""
    daemon = made_up().start(environ={"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "300000"})
    daemon.wait_until_ready()
    daemon.send(signal.SIGSTOP, daemon.supervisor())

    def silent() -> bool:
        before = manager.heard.count("WATCHDOG=1")
        holds_for(lambda: True, 1.2)
        return manager.heard.count("WATCHDOG=1") == before

    wait_until(silent, 10.0)


@pytest.mark.parametrize("file", ["good", "bad"])
@pytest.mark.covers("supervisor-37")
def test_a_reload_is_told_from_beginning_to_end(
    made_up: Callable[..., MadeUp], manager: Manager, file: str
) -> None:
    """RELOADING with its time, then READY, whether the file was good or bad."""
    daemon = made_up().start(environ={"NOTIFY_SOCKET": manager.address}).wait_until_ready()
    daemon.tell("reload", "bad" if file == "bad" else json.dumps(daemon.sections))
    before = len(manager.heard)

    daemon.send(signal.SIGHUP)

    wait_until(lambda: "READY=1" in manager.heard[before:], 5.0, lambda: daemon.log)
    told = [text for text in manager.heard[before:] if not text.startswith("STATUS")]
    assert [text.split("=")[0] for text in told] == ["RELOADING", "READY"]
    assert "\nMONOTONIC_USEC=" in told[0]


def test_the_kept_socket_serves_the_next_life(made_up: Callable[..., MadeUp], manager: Manager) -> None:
    """What was asked while no daemon ran is answered by the next one, on the socket that was kept."""
    daemon = made_up().start(environ={"NOTIFY_SOCKET": manager.address}).wait_until_ready()
    wait_until(lambda: manager.heard and manager.kept)
    daemon.send(signal.SIGKILL)
    daemon.wait()
    assert manager.kept is not None

    with socket.create_connection(("127.0.0.1", daemon.port), timeout=10.0) as early:
        start_with_socket(daemon, manager.kept, "http").wait_until_ready()
        assert json.loads(early.recv(100)) in ([False, False], [True, False])


def test_a_kept_socket_gives_way_to_a_new_configuration(
    made_up: Callable[..., MadeUp], manager: Manager
) -> None:
    """After a change of api.port the old socket, though handed in, is not used."""
    daemon = made_up().start(environ={"NOTIFY_SOCKET": manager.address}).wait_until_ready()
    wait_until(lambda: manager.heard and manager.kept)
    daemon.send(signal.SIGTERM)
    daemon.wait()
    assert manager.kept is not None
    daemon.port = daemon.sections["api"]["port"] = free_port()

    start_with_socket(daemon, manager.kept, "http")

    wait_until(lambda: f"Server starting on port {daemon.port}" in daemon.log, 5.0, lambda: daemon.log)
    assert len(daemon.ask()) == 2


def test_a_socket_of_a_socket_unit_is_taken_as_it_is(made_up: Callable[..., MadeUp]) -> None:
    """A listening socket handed in that we never bound rules over api.port."""
    daemon = made_up()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        daemon.port = listener.getsockname()[1]
        start_with_socket(daemon, listener, "mailerd.socket").wait_until_ready()

    assert f"Server starting on port {daemon.port}" in daemon.log
    assert daemon.ask() == [True, False]


def test_a_unix_socket_is_bound_anew_but_never_taken_away(
    made_up: Callable[..., MadeUp], tmp_path: Path
) -> None:
    """A path that nobody answers on is taken over; one that a server answers on is left: 71."""
    path = tmp_path / "http"
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(path))
    daemon = made_up(api={"socket": str(path)}).start().wait_until_ready()

    assert f"Server starting on socket {path}" in daemon.log
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        assert json.loads(client.recv(100)) == [True, False]
    second = made_up(api={"socket": str(path)}, daemon={"state_dir": str(tmp_path / "other")}).start()
    assert second.wait() == 71
    assert f"(pid {daemon.pid})" in second.log
