"""
journald's own protocol: one datagram a record, with fields that ``journalctl MAILERD_BATCH=...`` finds.

What journald does not take within a blink is the caller's again, who has the ordinary way. Each process makes
its own after a fork. Knows nothing of records and formats; only ``log`` calls it.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from pathlib import Path

SOCKET = Path("/run/systemd/journal/socket")
_PATIENCE = struct.pack("ll", 0, 200_000)  # seconds and microseconds


class Journal:
    """The line to journald."""

    def __init__(self, address: Path) -> None:
        self._address = str(address)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _PATIENCE)
        self._stuck = False

    def send(self, fields: Mapping[str, str]) -> bool:
        """Hand one entry over; False when journald does not take it now, or not of this size."""
        data = b"".join(_encoded(name, value) for name, value in fields.items())
        try:
            self._socket.sendto(data, socket.MSG_DONTWAIT if self._stuck else 0, self._address)
        except OSError:
            self._stuck = True
            return False
        self._stuck = False
        return True

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()


def _encoded(name: str, value: str) -> bytes:
    """The form with a length holds for every value; that of a line would let one forge others."""
    data = value.encode("utf-8", "backslashreplace")
    return name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"
