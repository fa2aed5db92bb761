"""
The frame around a worker's life: what a forked process has to set right before it may work.

Called by the supervisor, in the child. The first TERM, from whoever it comes, means stop; being hurried has
a signal of its own (USR1), since a TERM to the whole control group and the supervisor's own must not add up.
"""

from __future__ import annotations

import os
from signal import Signals
from types import FrameType

from setproctitle import setproctitle

from mailerd import log as logs
from mailerd.board import Slot
from mailerd.clock import Stop
from mailerd.config import Config
from mailerd.daemon import linux, signals
from mailerd.daemon.roles import Work
from mailerd.errors import EXIT_CLEAN

STOP_SIGNAL = Signals.SIGTERM
HURRY_SIGNAL = Signals.SIGUSR1


def live(config: Config, slot: Slot, work: Work, supervisor: int) -> int:
    """Be the worker of ``slot``, a child of the process ``supervisor``; return the exit code."""
    slot.pid = os.getpid()
    setproctitle(f"mailerd: worker {slot.number} booting")
    logs.setup(config.log, worker=slot.number)
    stop, hurry = Stop(), Stop()

    def told_to_stop(_: int, __: FrameType | None) -> None:
        stop.raise_()

    def told_to_hurry(_: int, __: FrameType | None) -> None:
        hurry.raise_()
        stop.raise_()

    signals.adopt({STOP_SIGNAL: told_to_stop, HURRY_SIGNAL: told_to_hurry})
    linux.signal_when_parent_dies(STOP_SIGNAL)
    if os.getppid() != supervisor:  # it died before the kernel was asked
        return EXIT_CLEAN
    return work(slot, stop, hurry)
