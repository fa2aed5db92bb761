"""A TCP proxy that delays every reply, or swallows one: what a slow or broken network does to commands."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self


class Proxy:
    """Stands before a port of the loopback; ``port`` is its own; ``delay`` of each reply is in seconds."""

    def __init__(self, target: int, delay: float = 0.0) -> None:
        self._target = target
        self.delay = delay
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._marker = b""
        self.swallowed = 0
        self._sockets: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, name="proxy", daemon=True)

    def swallow(self, marker: bytes) -> None:
        """Cut the next connection whose server says ``marker``, instead of passing it on."""
        self._marker = marker

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for one in self._sockets:
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                self._sockets += [client, server]
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        from_server = source.getpeername()[1] == self._target
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if from_server and self._marker and self._marker in data:
                    self._marker = b""
                    self.swallowed += 1
                    break
                if from_server and self.delay:
                    self._over.wait(self.delay)
                sink.sendall(data)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
