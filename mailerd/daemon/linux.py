"""
What only Linux can do; elsewhere these say nothing and the portable ways around them must do.

Called by main, the supervisor and the workers.
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import Signals

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

ON_LINUX = sys.platform == "linux"

log = logging.getLogger(__name__)


def signal_when_parent_dies(number: Signals) -> None:
    """Have the kernel send this process ``number`` when the thread that forked it ends."""
    if ON_LINUX:
        _prctl(_PR_SET_PDEATHSIG, number)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies."""
    if ON_LINUX:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)


@contextmanager
def on_one_core() -> Iterator[None]:
    """
    Have the threads that are started within stay on one core; another process takes another one.

    Where that is not permitted they run anywhere: it is a gain in speed and nothing else.
    """
    allowed = _leave_all_cores_but_one() if ON_LINUX else None
    try:
        yield
    finally:
        if allowed is not None:
            os.sched_setaffinity(0, allowed)


def _leave_all_cores_but_one() -> set[int] | None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {sorted(allowed)[os.getpid() % len(allowed)]})
    except PermissionError:
        log.info("HTTP may not be kept on one core", extra={"event": "http.any_core"})
        return None
    return allowed


def thread_count() -> int:
    """The threads of this process; on Linux also those that Python does not know."""
    return sum(1 for _ in Path("/proc/self/task").iterdir()) if ON_LINUX else threading.active_count()


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}) failed")
