"""
Time as an argument, and the one way to wait.

Everything that needs to know the time or to wait is handed a ``Clock`` and, where a stop must end the
wait, a ``Stop``. Nothing else in mailerd calls ``time``. A leaf that imports nothing of ours.
"""

from __future__ import annotations

import math
import os
import select
import signal
import time
import weakref
from typing import Protocol


class Clock(Protocol):
    """Where the time comes from."""

    def monotonic(self) -> float:
        """Seconds that never go back; the same in every process of this host (CLOCK_MONOTONIC)."""

    def now(self) -> float:
        """Seconds since 1970, for people and for mail headers; never for a deadline."""


class SystemClock:
    """The clock of this host."""

    def monotonic(self) -> float:
        """See ``Clock``."""
        return time.monotonic()

    def now(self) -> float:
        """See ``Clock``."""
        return time.time()


class Stop:
    """
    A request to stop that can be raised in a signal handler and ends every wait at once.

    Raising it is one assignment and one write to a pipe: safe where locks are not (a handler may
    interrupt the very thread that holds one).
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        weakref.finalize(self, _close, self._read, self._write)
        self._raised = False

    def raise_(self) -> None:
        """Ask for the stop; may be called any number of times."""
        if not self._raised:
            self._raised = True
            os.write(self._write, b"!")

    def __bool__(self) -> bool:
        """Whether the stop was asked for."""
        return self._raised

    def fileno(self) -> int:
        """A descriptor that becomes readable, and stays so, once the stop was asked for."""
        return self._read

    def wait(self, seconds: float) -> bool:
        """Wait at most ``seconds``; return at once, with True, when the stop was asked for."""
        if not self._raised and seconds > 0:
            # Not select(2), which fails from descriptor 1024 on.
            poll = select.poll()
            poll.register(self._read, select.POLLIN)
            poll.poll(math.ceil(seconds * 1000))
        return self._raised


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def leave_signals_to_the_main_thread() -> None:
    """
    Called first in every other thread of a process whose main thread may block in the kernel.

    Only the main thread runs handlers, and only a signal that the kernel gives to that very thread wakes it.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
