"""The janitor's thread in main: started, handed deaths, ended; what it does is ``Roles.housekeep``."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue

from mailerd.board import Death
from mailerd.clock import Stop
from mailerd.config import Config

log = logging.getLogger(__name__)

Housekeep = Callable[[Config, Stop, SimpleQueue[Death | None]], None]


class Janitor:
    """The thread and the queue of deaths that it works through."""

    def __init__(self, housekeep: Housekeep, config: Config) -> None:
        self._housekeep = housekeep
        self._config = config
        self._stop = Stop()
        self._deaths: SimpleQueue[Death | None] = SimpleQueue()
        self._reported: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="janitor", daemon=True)
        self.failed = False

    def start(self) -> None:
        """Begin; to be called with the signals blocked."""
        self._thread.start()

    def report(self, death: Death) -> None:
        """Hand over a death; the same incarnation counts once, however many tell of it."""
        if death.incarnation not in self._reported:
            self._reported.add(death.incarnation)
            self._deaths.put(death)

    def finish(self, seconds: float) -> None:
        """Wait, at most so long, until every death is settled; the others wait for the next start."""
        self._stop.raise_()
        if self._thread.ident is not None:
            self._deaths.put(None)
            self._thread.join(seconds)
        if self._thread.is_alive() or not self._deaths.empty():
            message = "What dead workers left could not be settled and is kept for the next start"
            log.warning(message, extra={"event": "janitor.unfinished"})

    def _run(self) -> None:
        try:
            self._housekeep(self._config, self._stop, self._deaths)
        except Exception:
            # The edge of the thread: main looks at the flag, stops the daemon and has it started afresh.
            log.critical("The janitor ended with an error", exc_info=True, extra={"event": "janitor.failed"})
            self.failed = True
