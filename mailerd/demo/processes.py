"""
The demo's processes: the catcher and the daemon, started, watched and stopped.

Both run in sessions of their own, so that Ctrl-C reaches the demo alone and the demo decides who stops
when. Called by ``cli/demo.py`` from the main thread.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mailerd.clock import Stop
from mailerd.demo.stage import Stage
from mailerd.errors import MailerdError

LOOK = 0.1  # seconds between two looks at a process that is to end


@contextmanager
def catcher(folder: Path) -> Iterator[int]:
    """A mail server that keeps what it gets in ``folder``; yields its port, and ends with the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "mailerd.demo.catcher", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    with process:
        port = process.stdout.readline() if process.stdout else b""
        if not port:
            raise MailerdError("the demo's mail server did not start; what it says stands above")
        yield int(port)
        # Leaving the block closes its standard input, and that ends it.


class DaemonProcess:
    """
    ``mailerd run`` with the stage's configuration; what it says goes into the stage's log.

    ``before_exec`` runs in the child: there the caller has the kernel stop it when the demo is killed.
    """

    def __init__(self, stage: Stage, before_exec: Callable[[], None]) -> None:
        self._log = stage.log
        self._shown = 0
        with stage.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mailerd", "run"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=stage.folder,
                env=_environment(stage),
                start_new_session=True,
                preexec_fn=before_exec,  # noqa: PLW1509  # the demo has one thread yet
            )

    def ended(self) -> int | None:
        """Its exit code, once it has ended."""
        return self._process.poll()

    def new_lines(self) -> list[str]:
        """The whole lines that it wrote to its log since the last call."""
        with self._log.open("rb") as log:
            log.seek(self._shown)
            text, newline, _ = log.read().rpartition(b"\n")
        self._shown += len(text) + len(newline)
        return text.decode(errors="replace").splitlines()

    def stop(self, hurry: Stop) -> int:
        """Drain it, or end it at once when ``hurry`` is raised; returns its exit code."""
        if self.ended() is None:
            self._process.send_signal(signal.SIGTERM)
        while self.ended() is None:
            if hurry.wait(LOOK):
                self._process.send_signal(signal.SIGQUIT)
                break
        return self._process.wait()


def _environment(stage: Stage) -> dict[str, str]:
    """This environment without what would set up some other mailerd, or report to somebody's systemd."""
    foreign = ("MAILERD_", "REDIS_ADDR", "NOTIFY_SOCKET", "LISTEN_", "WATCHDOG_", "CREDENTIALS_DIRECTORY")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {**kept, "MAILERD_CONFIG": str(stage.configuration)}
