"""
A connection that is spoken on without waiting: bytes between its socket and its dialogue, also over TLS.

Reads only once all is written, so that no reply can come before what it replies to. Raises ``ConnectionCut``
for whatever ends the connection. Used by ``smtp_session.py``, whose thread waits for all wires at once.
"""

from __future__ import annotations

import selectors
import ssl

from mailerd.transports.connection import Connection, ConnectionCut
from mailerd.transports.dialogue import Dialogue
from mailerd.transports.relays import Relay

_AT_ONCE = 64 * 1024


class Wire:
    """
    One connection in the hands of the session.

    ``deadline`` (monotonic): until then the server must have said or taken something; ``leaving``: it gets no
    further mail; ``quick``: its last verdict came soon; ``began``: when its last content went out.
    """

    def __init__(self, relay: Relay, connection: Connection) -> None:
        self.relay = relay
        self.connection = connection
        self.dialogue: Dialogue
        self.deadline = 0.0
        self.patience = 0.0
        self.leaving = False
        self.quick = False
        self.began = 0.0
        self.socket = connection.unblocked()
        self.awaits = selectors.EVENT_READ

    def speak(self, now: float) -> None:
        """Write what there is to say."""
        out = self.dialogue.out
        while out:
            try:
                count = self.socket.send(out)
            except (BlockingIOError, ssl.SSLWantWriteError):
                self.awaits = selectors.EVENT_WRITE
                return
            except ssl.SSLWantReadError:
                self.awaits = selectors.EVENT_READ
                return
            except OSError as error:
                raise ConnectionCut(self.connection.why(error)) from None
            self.dialogue.written(count)
        self.awaits = selectors.EVENT_READ
        self._be_patient(now)

    def turn(self, now: float) -> None:
        """Something can be written or read."""
        if self.dialogue.out:
            self.speak(now)
        if self.dialogue.out:
            return
        heard = self.dialogue.heard
        data = self._read()
        if data:
            self.dialogue.receive(data)
        if self.dialogue.out:
            self._be_patient(now)
            self.speak(now)
        elif self.dialogue.heard != heard:
            self._be_patient(now)

    def _read(self) -> bytes:
        try:
            data = self.socket.recv(_AT_ONCE)
            while data and isinstance(self.socket, ssl.SSLSocket) and self.socket.pending():
                data += self.socket.recv(_AT_ONCE)
        except (BlockingIOError, ssl.SSLWantReadError):
            return b""
        except OSError as error:
            raise ConnectionCut(self.connection.why(error)) from None
        if not data:
            raise ConnectionCut("the server closed the connection")
        return data

    def _be_patient(self, now: float) -> None:
        self.patience = self.connection.patience(handing_over=self.dialogue.handing_over)
        self.deadline = now + self.patience
