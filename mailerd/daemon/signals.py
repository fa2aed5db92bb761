"""
Signals as things to read: a handler records and wakes, the loop acts.

Every process of the daemon blocks the signals that it knows across a fork, sets its own handlers, and only
then unblocks them, so that none is lost or handled by the wrong process. Called by main, the supervisor and
the workers.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from signal import Signals
from types import FrameType

Handler = Callable[[int, FrameType | None], object]

KNOWN = frozenset(
    {
        Signals.SIGTERM,
        Signals.SIGINT,
        Signals.SIGQUIT,
        Signals.SIGHUP,
        Signals.SIGTTIN,
        Signals.SIGTTOU,
        Signals.SIGUSR1,
        Signals.SIGUSR2,
        Signals.SIGCHLD,
    }
)


class Inbox:
    """The signals that have arrived and wait to be acted upon."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._arrived: deque[Signals] = deque()

    def record(self, number: int, _: FrameType | None = None) -> None:
        """
        Note a signal; this is the handler.

        Another of its kind waits until this one is taken: handlers that interrupt each other faster than they
        end would use up the stack.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, (number,))
        self._arrived.append(Signals(number))
        with suppress(BlockingIOError):  # a full pipe wakes as well
            os.write(self._write, b"!")

    def fileno(self) -> int:
        """A descriptor that is readable while signals wait."""
        return self._read

    def take(self) -> list[Signals]:
        """The signals since the last call; the wake-up is cleared first, so that none can be missed."""
        with suppress(BlockingIOError):
            while os.read(self._read, 1024):
                pass
        taken = [self._arrived.popleft() for _ in range(len(self._arrived))]
        signal.pthread_sigmask(signal.SIG_UNBLOCK, taken)
        return taken

    def close(self) -> None:
        """Give the descriptors back; meant for a forked child, whose parent keeps its own."""
        os.close(self._read)
        os.close(self._write)


@contextmanager
def blocked() -> Iterator[None]:
    """Hold the known signals back; a thread started inside never gets one."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, KNOWN)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def shut_out() -> None:
    """Hear no known signal any more: the exit code stands, and the interpreter may take its time to end."""
    signal.pthread_sigmask(signal.SIG_BLOCK, KNOWN)


def adopt(handlers: Mapping[Signals, Handler]) -> None:
    """
    Make these the handlers of this process, ignore the other known signals, and let all of them in.

    USR2 also writes every thread's stack to stderr, as a crash does, even when stuck in C.
    """
    # After a fork it would believe that its handler, the parent's, were still in place.
    faulthandler.unregister(Signals.SIGUSR2)
    for number in KNOWN:
        default = signal.SIG_DFL if number is Signals.SIGCHLD else signal.SIG_IGN
        signal.signal(number, handlers.get(number, default))
    if sys.stderr is not None:  # closed by whoever started us
        faulthandler.enable()
        faulthandler.register(Signals.SIGUSR2, all_threads=True, chain=Signals.SIGUSR2 in handlers)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, KNOWN)
