"""What the service manager is told and hands in; and the unit that makes it do so."""

from __future__ import annotations

import array
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailerd.config import Config
from mailerd.daemon.systemd import Notifier, passed_sockets
from mailerd.daemon.timetable import longest_stop
from rigs import needs

UNIT = Path(__file__).parents[2] / "systemd" / "mailerd.service"


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A service manager's socket, and its address as NOTIFY_SOCKET gives it."""
    address = str(tmp_path / "notify") if request.param == "path" else f"@{tmp_path}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(address.replace("@", "\0"))
        listening.setblocking(False)
        yield listening, address


def heard(listening: socket.socket) -> list[str]:
    found = []
    while True:
        try:
            found.append(listening.recv(4096).decode())
        except BlockingIOError:
            return found


def test_each_state_is_one_datagram(manager: tuple[socket.socket, str]) -> None:
    """The words are systemd's own; a reload carries its time, a status is told when it changes."""
    listening, address = manager
    notifier = Notifier({"NOTIFY_SOCKET": address})

    notifier.ready()
    notifier.status("2/2 workers")
    notifier.status("2/2 workers")
    notifier.reloading(12.5)
    notifier.extend_stop(100.0)
    notifier.extend_stop(101.0)
    notifier.stopping()

    assert heard(listening) == [
        "READY=1",
        "STATUS=2/2 workers",
        "RELOADING=1\nMONOTONIC_USEC=12500000",
        "EXTEND_TIMEOUT_USEC=15000000",
        "STOPPING=1",
    ]


def test_the_watchdog_gets_a_sign_three_times_in_its_period(manager: tuple[socket.socket, str]) -> None:
    """Asked all the time, the notifier speaks once every third of WATCHDOG_USEC."""
    listening, address = manager
    environ = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}
    notifier = Notifier(environ)

    for second in range(100, 130):
        notifier.watchdog(float(second))

    assert heard(listening) == ["WATCHDOG=1"] * 3
    assert environ == {}


@pytest.mark.parametrize("environ", [{}, {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}])
def test_a_watchdog_that_is_not_ours_gets_none(
    manager: tuple[socket.socket, str], environ: dict[str, str]
) -> None:
    """Without WATCHDOG_USEC, or when it is meant for another process, nothing is sent."""
    listening, address = manager

    Notifier({"NOTIFY_SOCKET": address, **environ}).watchdog(100.0)

    assert heard(listening) == []


def test_the_listening_socket_is_handed_over_to_be_kept(manager: tuple[socket.socket, str]) -> None:
    """FDSTORE carries the socket itself, under its name, in place of an older one."""
    listening, address = manager
    with socket.create_server(("127.0.0.1", 0)) as listener:
        Notifier({"NOTIFY_SOCKET": address}).keep(listener, "http")

        assert listening.recv(4096) == b"FDSTOREREMOVE=1\nFDNAME=http"
        text, ancillary, _, _ = listening.recvmsg(4096, socket.CMSG_SPACE(4))
        assert text == b"FDSTORE=1\nFDNAME=http"
        with socket.socket(fileno=array.array("i", ancillary[0][2])[0]) as kept:
            assert kept.getsockname() == listener.getsockname()


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": "/nowhere/notify"}, {"NOTIFY_SOCKET": "@nowhere"}])
def test_a_manager_that_does_not_listen_is_no_fault(environ: dict[str, str]) -> None:
    """Without a service manager, or with one that has gone, every call does nothing."""
    notifier = Notifier(environ)

    notifier.ready()
    notifier.stopping()

    assert environ == {}


def test_sockets_meant_for_another_process_are_left_alone() -> None:
    """LISTEN_FDS counts for the process of LISTEN_PID only, and no child sees any of it."""
    environ = {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "http"}

    assert passed_sockets(environ) == {}
    assert environ == {}


def settings() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", UNIT.read_text(), re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


@pytest.mark.covers("supervisor-39", "supervisor-36", "supervisor-11")
def test_the_unit_says_what_the_daemon_relies_on() -> None:
    """The settings without which a drain, a crash or a wrong configuration ends badly are there."""
    unit = settings()

    assert unit["Type"] == ["notify"]
    assert unit["KillMode"] == ["mixed"]
    assert unit["OOMPolicy"] == ["continue"]
    assert unit["FileDescriptorStoreMax"] == ["1"]
    assert unit["StartLimitIntervalSec"] == ["0"]
    assert unit["RestartPreventExitStatus"] == ["2 78"]
    assert unit["EnvironmentFile"] == ["-/etc/default/mailerd"]
    assert float(unit["TimeoutStopSec"][0]) > longest_stop(Config().workers.drain_timeout)
    assert float(unit["TimeoutStartSec"][0]) > Config().redis.startup_timeout


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    """``systemd-analyze verify`` has nothing to say about it, and its exposure is at most 1.5."""
    analyze = needs.program("systemd-analyze", "systemd")
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/mailerd/current/bin/mailerd run", "/bin/true"))

    verified = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")

    judged = subprocess.run(
        [analyze, "security", "--offline=true", str(unit)], capture_output=True, text=True, check=False
    )
    exposure = re.search(r"Overall exposure level for mailerd.service: ([\d.]+)", judged.stdout)
    assert exposure is not None, judged.stderr
    assert float(exposure[1]) <= 1.5
