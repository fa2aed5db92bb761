"""
A descriptor that a log is written to: a file, a pipe, a terminal or a stream socket.

Only ``log`` calls it.
"""

from __future__ import annotations

import os
import select
import socket
import stat

# A pipe takes this much in one piece, whoever else writes to it.
_CHUNK = 4096
# How long one record waits for a slow reader before it and those after it are dropped.
_PATIENCE_MS = 200


class Stream:
    """
    A descriptor that is written to without ever waiting long for its reader.

    Works on a descriptor of its own: non-blocking is a property that the original shares with the shell.
    """

    def __init__(self, descriptor: int) -> None:
        self._socket: socket.socket | None = None
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISSOCK(mode):
            self._socket = socket.socket(fileno=os.dup(descriptor))
            self._descriptor = self._socket.fileno()
        else:
            piped = stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)
            self._descriptor = _reopened(descriptor) if piped else os.dup(descriptor)
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLOUT)
        self._stuck = False
        self._torn = False

    def write(self, data: bytes) -> bool:
        """Write ``data``; False when the stream does not take it now."""
        if self._torn:
            data = b"\n" + data
        sent = 0
        try:
            while sent < len(data):
                sent += self._send(data[sent : sent + _CHUNK])
        except OSError:
            self._stuck = True
            self._torn = data[sent - 1] != ord("\n") if sent else self._torn
            return False
        self._stuck = self._torn = False
        return True

    def _send(self, chunk: bytes) -> int:
        if not self._poll.poll(0 if self._stuck else _PATIENCE_MS):
            raise BlockingIOError
        if self._socket:
            return self._socket.send(chunk, socket.MSG_DONTWAIT)
        return os.write(self._descriptor, chunk)

    def close(self) -> None:
        """Give the descriptor back."""
        if self._socket:
            self._socket.close()
        else:
            os.close(self._descriptor)


def _reopened(descriptor: int) -> int:
    """The same pipe or terminal with flags of our own, where the system and its owner allow that."""
    try:
        return os.open(f"/dev/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return os.dup(descriptor)
