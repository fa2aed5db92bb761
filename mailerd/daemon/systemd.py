"""
What the service manager is told and what it hands in: sd_notify(3) and sd_listen_fds(3), on sockets alone.

Without ``NOTIFY_SOCKET`` every call does nothing, and a service manager that does not listen is no fault of
ours. Main calls it; the variables leave the environment, so that no child speaks for main.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping, Sequence
from contextlib import suppress

_FIRST_PASSED = 3
_EXTENSION = 15.0


class Notifier:
    """Main's voice to the service manager; times are CLOCK_MONOTONIC seconds."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        address = environ.pop("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        microseconds = int(environ.pop("WATCHDOG_USEC", "0"))
        meant = environ.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._watchdog_pause = microseconds / 3e6 if meant else 0.0
        self._watchdog_at = 0.0
        self._extended_at = 0.0
        self._status = ""

    def ready(self) -> None:
        """Started, or done with reloading."""
        self._send("READY=1")

    def reloading(self, now: float) -> None:
        """Reading the configuration again; ``ready`` must follow, whatever comes of it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={int(now * 1e6)}")

    def stopping(self) -> None:
        """Committed to the stop."""
        self._send("STOPPING=1")

    def extend_stop(self, now: float) -> None:
        """Ask for more time while a long drain goes on; counts beyond ``TimeoutStopSec`` only."""
        if now >= self._extended_at + _EXTENSION / 3:
            self._extended_at = now
            self._send(f"EXTEND_TIMEOUT_USEC={int(_EXTENSION * 1e6)}")

    def status(self, text: str) -> None:
        """A line for ``systemctl status``."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text}")

    def watchdog(self, now: float) -> None:
        """A sign of life, when one is due."""
        if self._watchdog_pause and now >= self._watchdog_at + self._watchdog_pause:
            self._watchdog_at = now
            self._send("WATCHDOG=1")

    def keep(self, listener: socket.socket, name: str) -> None:
        """Have the service manager hold the socket over a restart or crash, instead of an older one."""
        self._send(f"FDSTOREREMOVE=1\nFDNAME={name}")
        self._send(f"FDSTORE=1\nFDNAME={name}", [listener.fileno()])

    def _send(self, text: str, descriptors: Sequence[int] = ()) -> None:
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.settimeout(1.0)
            line.connect(self._address)
            socket.send_fds(line, [text.encode()], descriptors)


def passed_sockets(environ: MutableMapping[str, str]) -> dict[str, socket.socket]:
    """The listening sockets that the service manager handed to this process, by name."""
    meant = environ.pop("LISTEN_PID", "") == str(os.getpid())
    count = int(environ.pop("LISTEN_FDS", "0"))
    names = environ.pop("LISTEN_FDNAMES", "").split(":")
    if not meant:
        return {}
    sockets = {}
    for index in range(count):
        os.set_inheritable(_FIRST_PASSED + index, False)
        name = names[index] if index < len(names) and names[index] else str(index)
        sockets[name] = socket.socket(fileno=_FIRST_PASSED + index)
    return sockets
