"""An SMTP server in a thread that does what its script says, whatever RFC 5321 says."""

from __future__ import annotations

import socket
import threading
from collections import defaultdict
from contextlib import suppress
from typing import Any, Self


class ScriptedServer:
    """
    An SMTP server that follows a script, whatever RFC 5321 says.

    ``script["RCPT"] = ["450 later", "cut"]`` is what it does at the next RCPTs; then it behaves again.
    Moments: GREETING, the commands, CONTENT (when the mail begins to come), DOT. Deeds: a reply, ``cut``,
    ``hang``, ``late`` (what it would say by itself, once ``go_on`` is set).
    """

    def __init__(self) -> None:
        self.script: dict[str, list[str]] = defaultdict(list)
        self.commands: list[str] = []
        self.mails: list[bytes] = []
        self.answered = 0  # of them
        self.connections = 0
        self.go_on = threading.Event()
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._open: list[socket.socket] = []

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.go_on.set()
        self.stop_listening()
        self.cut_all()
        for thread in self._threads:
            thread.join(5)
            assert not thread.is_alive()

    def stop_listening(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def cut_all(self) -> None:
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def seen(self, command: str) -> int:
        return sum(line.startswith(command) for line in self.commands)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                self._open.append(connection)
                self._threads.append(threading.Thread(target=self._talk, args=(connection,)))
                self._threads[-1].start()

    def _talk(self, connection: socket.socket) -> None:
        with connection, suppress(OSError), connection.makefile("rb") as lines:
            if not self._do(connection, "GREETING", "220 hello"):
                return
            for line in lines:
                command = line.decode("latin-1").strip()
                self.commands.append(command)
                verb = command[:4].upper()
                normal = {"DATA": "354 go", "QUIT": "221 bye"}.get(verb, "250 ok")
                said = self._do(connection, verb, normal)
                if not said or verb == "QUIT":
                    return
                if said.startswith("354") and not self._take(connection, lines):
                    return

    def _take(self, connection: socket.socket, lines: Any) -> str:
        if self.script["CONTENT"]:
            lines.readline()
            return self._do(connection, "CONTENT", "")
        mail = b""
        for line in lines:
            if line == b".\r\n":
                self.mails.append(mail)
                said = self._do(connection, "DOT", "250 2.0.0 Ok: queued as ABC123")
                self.answered += bool(said)
                return said
            mail += line.removeprefix(b".")
        return ""

    def _do(self, connection: socket.socket, moment: str, normal: str) -> str:
        """What it said; nothing where that ended the connection."""
        deed = self.script[moment].pop(0) if self.script[moment] else normal
        if deed == "hang":
            self._over.wait()
        if deed in ("cut", "hang"):
            return ""
        if deed == "late":
            self.go_on.wait()
            deed = normal
        connection.sendall(deed.encode() + b"\r\n")
        return deed
