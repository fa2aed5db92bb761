"""
What only Linux can do; elsewhere these say nothing and the portable ways around them must do.

Called by main, the supervisor and the workers.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from pathlib import Path
from signal import Signals

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

ON_LINUX = sys.platform == "linux"


def signal_when_parent_dies(number: Signals) -> None:
    """Have the kernel send this process ``number`` when the thread that forked it ends."""
    if ON_LINUX:
        _prctl(_PR_SET_PDEATHSIG, number)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies."""
    if ON_LINUX:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def thread_count() -> int:
    """The threads of this process; on Linux also those that Python does not know."""
    return sum(1 for _ in Path("/proc/self/task").iterdir()) if ON_LINUX else threading.active_count()


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}) failed")
