"""Threads that stand still while the rest of their process goes on, as after a deadlock. Needs root."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_SEIZE, _INTERRUPT, _DETACH = 0x4206, 0x4207, 17  # ptrace(2)
_WALL = 0x40000000


@contextmanager
def stopped_threads(pid: int) -> Iterator[None]:
    """Every thread of the process but its main one stands still, until it dies."""
    threads = [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir() if int(task.name) != pid]
    assert threads, "it has one thread only"
    for thread in threads:
        _trace(_SEIZE, thread)
        _trace(_INTERRUPT, thread)
    reapers = [threading.Thread(target=_reap, args=[thread], daemon=True) for thread in threads]
    for reaper in reapers:
        reaper.start()
    try:
        yield
    finally:
        for thread in threads:
            with suppress(ProcessLookupError):
                _trace(_DETACH, thread)
        for reaper in reapers:
            reaper.join(10)


def _reap(thread: int) -> None:
    """A traced thread that died stays until its tracer looks; until then its process does not end."""
    with suppress(ChildProcessError):
        while os.WIFSTOPPED(os.waitpid(thread, _WALL)[1]):
            pass


def _trace(request: int, thread: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    if libc.ptrace(request, thread, None, None) == -1:
        raise OSError(ctypes.get_errno(), "ptrace")
