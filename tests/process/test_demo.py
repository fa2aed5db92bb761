"""The demo as a user runs it: with and without a terminal, stopped, killed, and on a taken port."""

from __future__ import annotations

import contextlib
import http.client
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from rigs.ports import free_port
from rigs.waiting import wait_until

HIDE, SHOW = b"\x1b[?25l", b"\x1b[?25h"  # the terminal's cursor


class DemoRun:
    """A demo in a session of its own; everything it starts inherits ``folder`` as TMPDIR."""

    def __init__(self, folder: Path, *arguments: str, terminal: bool = False) -> None:
        self.folder = folder
        self.output = b""
        reading, writing = pty.openpty() if terminal else os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mailerd", "demo", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=writing,
            env={**os.environ, "TMPDIR": str(folder), "TERM": "xterm", "REDIS_ADDR": "nowhere:1"},
            start_new_session=True,
        )
        os.close(writing)
        self._reader = threading.Thread(target=self._read, args=(reading,))
        self._reader.start()

    def _read(self, descriptor: int) -> None:
        with contextlib.suppress(OSError):  # a terminal ends with EIO
            while piece := os.read(descriptor, 65536):
                self.output += piece
        os.close(descriptor)

    @property
    def text(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.output.decode())

    def wait_for(self, pattern: str) -> re.Match[str]:
        return wait_until(lambda: re.search(pattern, self.text), 40, lambda: f"{pattern} in:\n{self.text}")

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self) -> int:
        code = self._process.wait(60)
        wait_until(lambda: not self.left(), 10, lambda: f"still there: {self.left()}")
        self._reader.join(10)
        return code

    def left(self) -> list[psutil.Process]:
        """What still runs of it."""
        return [process for process in psutil.process_iter() if self._started(process)]

    def _started(self, process: psutil.Process) -> bool:
        with contextlib.suppress(psutil.Error):
            return process.status() != psutil.STATUS_ZOMBIE and process.environ().get("TMPDIR") == str(
                self.folder
            )
        return False

    def mails(self) -> list[Path]:
        return list(self.folder.glob("mailerd-demo-*/mails/*.eml"))

    def close(self) -> None:
        for process in self.left():
            with contextlib.suppress(psutil.Error):
                process.kill()
        self._process.wait(10)
        self._reader.join(10)


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose name leaves room for a Unix socket in it, which pytest's own may not."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture
def demos(short: Path) -> Iterator[list[DemoRun]]:
    """Where a test puts its demo so that nothing of it stays."""
    runs: list[DemoRun] = []
    yield runs
    for run in runs:
        run.close()


def is_bound(holder: socket.socket, port: int) -> bool:
    """Whether the socket could have the port."""
    try:
        holder.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


def test_once_without_a_terminal(short: Path, demos: list[DemoRun]) -> None:
    """With 8080 taken it says which port it uses, sends the hundred in plain lines, and ends with 0."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Another run of the tests gives it back; taken for good by somebody else serves as well.
        with contextlib.suppress(AssertionError):
            wait_until(lambda: is_bound(holder, 8080))
            holder.listen()
        demos.append(run := DemoRun(short, "--once"))
        assert run.wait() == 0, run.text
    assert b"\x1b" not in run.output
    assert re.search(r"Port 8080 is taken, so HTTP is on \d+", run.text)
    for line in ("100 of 100 mails sent", "All 100 mails arrived intact", f"Kept: {short}/mailerd-demo-"):
        assert line in run.text
    assert len(run.mails()) == 100


def test_on_a_terminal_it_stays_until_ctrl_c(short: Path, demos: list[DemoRun]) -> None:
    """It draws a bar, stays, shows what the daemon says to a curl, and drains at Ctrl-C, all cleared up."""
    port = free_port()
    demos.append(run := DemoRun(short, "--port", str(port), terminal=True))
    run.wait_for("until you press Ctrl-C")
    assert "100/100" in run.text
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("POST", "/queue/test")
    assert connection.getresponse().status == 200
    connection.close()
    run.wait_for(r"New Job Received: \{ClientID:test-client ContactIDs:\[test1 test2\]")
    wait_until(lambda: len(run.mails()) == 102, 10, "the test mails did not arrive")
    run.signal(signal.SIGINT)
    assert run.wait() == 0, run.text
    assert run.output.rfind(SHOW) > run.output.rfind(HIDE)
    assert "Traceback" not in run.text
    assert "The daemon ended with" not in run.text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_while_it_starts(short: Path, demos: list[DemoRun], number: signal.Signals) -> None:
    """Stopped before the mails are there it ends with 1 and leaves nothing."""
    demos.append(run := DemoRun(short, "--port", str(free_port())))
    run.wait_for("Mail server on port")
    run.signal(number)
    assert run.wait() == 1, run.text
    assert "Traceback" not in run.text
    assert "Kept: " in run.text


def test_killed_it_leaves_nothing_running(short: Path, demos: list[DemoRun]) -> None:
    """The kernel ends what a killed demo started."""
    demos.append(run := DemoRun(short, "--port", str(free_port())))
    run.wait_for("mailerd is up")
    run.signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL


def test_a_port_that_was_asked_for_and_is_taken(short: Path, demos: list[DemoRun]) -> None:
    """--port with a taken port is refused with 71 before anything is made."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        demos.append(run := DemoRun(short, "--port", str(port)))
        assert run.wait() == 71
    assert run.text.startswith(f"mailerd: port {port} is taken")
    assert list(short.iterdir()) == []


def test_without_its_packages_it_says_what_to_install() -> None:
    """One line names the extra that is missing."""
    hidden = (
        "import sys; sys.modules['aiosmtpd'] = None; from mailerd.cli import run; sys.exit(run(['demo']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", hidden], capture_output=True, text=True, check=False, timeout=20
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "pip install 'mailerd[demo]'" in done.stderr
