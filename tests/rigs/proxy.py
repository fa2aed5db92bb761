"""A TCP proxy that delays, swallows, cuts and black-holes: what a slow or broken network does to commands."""

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
        self._marker: bytes | None = None
        self.swallowed = 0
        self._hole = False
        self._stranded: frozenset[int] = frozenset()
        self._sockets: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._accept, name="proxy", daemon=True)

    def swallow(self, marker: bytes = b"") -> None:
        """Cut the next connection whose server says ``marker`` (or anything), instead of passing it on."""
        self._marker = marker

    def cut(self) -> None:
        """Cut every connection."""
        for one in list(self._sockets):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def black_hole(self) -> None:
        """Let whatever is said vanish, while all connections stay open."""
        self._hole = True

    def strand(self, ports: frozenset[int]) -> None:
        """A black hole for the clients at these ports alone; the server never learns that they die."""
        self._stranded = ports

    def heal(self) -> None:
        """End the black hole; what was said in it is lost, and so are all connections."""
        self._hole, self._stranded = False, frozenset()
        self.cut()

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
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._join, args=(client,), daemon=True).start()

    def _join(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            client.close()
            return
        both = {client, server}
        for one in both:
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sockets |= both
        port = client.getpeername()[1]
        back = threading.Thread(target=self._pass, args=(server, client, port, True), daemon=True)
        back.start()
        self._pass(client, server, port, False)
        back.join()
        self._sockets -= both
        client.close()
        server.close()

    def _is_lost(self, port: int) -> bool:
        return self._hole or port in self._stranded

    def _pass(self, source: socket.socket, sink: socket.socket, port: int, from_server: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if self._is_lost(port):
                    continue
                if from_server and self._marker is not None and self._marker in data:
                    self._marker = None
                    self.swallowed += 1
                    break
                if from_server and self.delay:
                    self._over.wait(self.delay)
                sink.sendall(data)
            while self._is_lost(port) and not self._over.wait(0.05):
                pass  # nobody learns of an end either
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
