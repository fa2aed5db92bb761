"""
The line between main and the supervisor: whole messages over a socket pair, and neither end ever blocks.

The end of one process closes the line, which is how the other one learns of it. Carries nothing but values
of our own, between two processes of one daemon.
"""

from __future__ import annotations

import pickle
import socket
import struct
from contextlib import suppress
from typing import Any

_LENGTH = struct.Struct("!I")


class Channel:
    """One end of the line."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._socket = end
        self._incoming = bytearray()
        self._outgoing = bytearray()
        self.closed = False

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """Both ends of a new line."""
        one, other = socket.socketpair()
        return cls(one), cls(other)

    def fileno(self) -> int:
        """A descriptor that is readable when messages, or the other end's death, have arrived."""
        return self._socket.fileno()

    @property
    def unsent(self) -> bool:
        """Whether the other end has still to make room for something; ``flush`` tries again."""
        return bool(self._outgoing)

    def send(self, message: object) -> None:
        """Send the message, or as much of it as there is room for; to a dead end nothing is sent."""
        raw = pickle.dumps(message)
        self._outgoing += _LENGTH.pack(len(raw)) + raw
        self.flush()

    def flush(self) -> None:
        """Send what had found no room."""
        with suppress(BlockingIOError):
            try:
                while self._outgoing:
                    del self._outgoing[: self._socket.send(self._outgoing)]
            except (BrokenPipeError, ConnectionResetError):
                self._outgoing.clear()

    def receive(self) -> list[Any]:
        """The messages that have arrived; sets ``closed`` once the other end is gone and all is read."""
        with suppress(BlockingIOError):
            try:
                while chunk := self._socket.recv(65536):
                    self._incoming += chunk
                self.closed = True
            except ConnectionResetError:
                self.closed = True
        return self._whole_messages()

    def close(self) -> None:
        """Close this process's hold on this end."""
        self._socket.close()

    def _whole_messages(self) -> list[Any]:
        messages = []
        while len(self._incoming) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(self._incoming)[0]
            if len(self._incoming) < end:
                break
            messages.append(pickle.loads(self._incoming[_LENGTH.size : end]))  # noqa: S301 - our own process wrote it
            del self._incoming[:end]
        return messages
