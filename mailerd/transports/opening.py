"""
What must not hold up the wires: a connection that is being opened, and one that says goodbye.

Each in a thread of its own for as long as that takes; there is one a connection, not one a mail. Used by
``smtp_session.py``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from mailerd.clock import leave_signals_to_the_main_thread
from mailerd.transports.connection import Connection, RouteDown
from mailerd.transports.relays import Relay, Relays


class Opening:
    """A connection that is being opened; ``done`` is told once it is, or will not be."""

    def __init__(self, relays: Relays, done: Callable[[Opening], None]) -> None:
        self.relay: Relay | None = None
        self.connection: Connection | None = None
        self.fault: BaseException | None = None
        self._relays = relays
        self._done = done
        self._abandoned = False
        in_background(self._run)

    def abandon(self) -> None:
        """End it; nobody waits for it any more."""
        self._abandoned = True
        if self.connection is not None:
            self.connection.cut()

    def opened(self) -> tuple[Relay, Connection] | RouteDown:
        """What came of it; whatever else went wrong in its thread is raised here."""
        if isinstance(self.fault, RouteDown):
            return self.fault
        if self.relay is None or self.connection is None:
            raise self.fault or RuntimeError("it is not done")
        return self.relay, self.connection

    def _run(self) -> None:
        try:
            self.relay, self.connection = self._relays.open(self._announced)
        except BaseException as fault:  # noqa: BLE001 - raised by ``opened``, in the thread that asks
            self.fault = fault
        self._done(self)

    def _announced(self, connection: Connection) -> None:
        self.connection = connection  # before it opens, so that ``abandon`` finds it
        if self._abandoned:
            connection.cut()


def in_background(work: Callable[[], None]) -> threading.Thread:
    """Do this in a thread that nobody has to wait for."""

    def run() -> None:
        leave_signals_to_the_main_thread()
        work()

    thread = threading.Thread(target=run, name="connection", daemon=True)
    thread.start()
    return thread
