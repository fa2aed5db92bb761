"""
Where one thread waits for all wires at once, and for what other threads have to tell it.

``selectors`` waits; this says which wires can go on and which connections have been opened. Made in the
process that uses it, since a fork would share what it waits on. Used by ``smtp_session.py``.
"""

from __future__ import annotations

import os
import selectors
import threading
from collections import deque
from collections.abc import Callable

from mailerd.transports.opening import Opening, in_background
from mailerd.transports.wire import Wire


class Switchboard:
    """All wires of a session."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._selector.register(self._read, selectors.EVENT_READ)
        self._awaited: dict[Wire, int] = {}
        self._opened: deque[Opening] = deque()
        self._farewells: list[threading.Thread] = []

    def wait(self, seconds: float | None) -> list[Wire]:
        """The wires that can be read or written; after so many seconds, or ``wake``, there may be none."""
        ready = [key.data for key, _ in self._selector.select(seconds)]
        if None in ready:
            os.read(self._read, 4096)
        return [wire for wire in ready if wire is not None]

    def wake(self) -> None:
        """End the wait; from any thread."""
        try:
            os.write(self._write, b"!")
        except BlockingIOError:  # it is full of calls to wake already
            return

    def tell(self, opening: Opening) -> None:
        """A connection was opened, or was not; from any thread."""
        self._opened.append(opening)
        self.wake()

    def opened(self) -> list[Opening]:
        """What has been told since."""
        told = []
        while self._opened:
            told.append(self._opened.popleft())
        return told

    def watch(self, wire: Wire) -> None:
        """Wait for what this wire waits for."""
        awaited = self._awaited.get(wire)
        if awaited is None:
            self._selector.register(wire.socket, wire.awaits, wire)
        elif awaited != wire.awaits:
            self._selector.modify(wire.socket, wire.awaits, wire)
        self._awaited[wire] = wire.awaits

    def forget(self, wire: Wire) -> None:
        """Wait for it no longer; to be called before it is closed."""
        del self._awaited[wire]
        self._selector.unregister(wire.socket)

    def bid_farewell(self, goodbye: Callable[[], None]) -> None:
        """Do this without waiting for it."""
        self._farewells = [each for each in self._farewells if each.is_alive()]
        self._farewells.append(in_background(goodbye))

    def see_off(self, seconds: float) -> None:
        """Wait for all who say goodbye, each for so long at most."""
        for farewell in self._farewells:
            farewell.join(seconds)
