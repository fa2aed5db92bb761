"""
The supervisor and the workers as main sees them, for the times when the supervisor cannot be relied on.

While the supervisor lives, main talks to it and leaves the workers alone. When it is gone, the workers have
become main's children: main lets them finish, hurries them, kills them, and reads what they left. Only main
calls it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from signal import Signals

from mailerd.board import Board, Death, Slot
from mailerd.clock import Clock
from mailerd.daemon import processes, worker
from mailerd.daemon.channel import Channel
from mailerd.daemon.timetable import SUPERVISOR_LEAVES_WITHIN, Timetable

_A_DUMP = 0.05  # seconds within which a process has written its stacks


class Tree:
    """The processes below main; ``channel`` is its line to the supervisor."""

    def __init__(self, board: Board, supervisor: int, channel: Channel, clock: Clock) -> None:
        self.channel = channel
        self.supervisor = supervisor
        self._board = board
        self._clock = clock
        self._supervisor_code: int | None = None
        self._told: set[tuple[int, Signals]] = set()

    def supervisor_end(self) -> int | None:
        """The supervisor's exit code, negative for a signal; None while it lives."""
        if self._supervisor_code is None:
            pid, status = os.waitpid(self.supervisor, os.WNOHANG)
            if pid:
                self._supervisor_code = os.waitstatus_to_exitcode(status)
        return self._supervisor_code

    def worker_pids(self) -> list[int]:
        """The workers, as the board has them."""
        return [slot.pid for slot in self._board.slots if slot.pid]

    def is_empty(self) -> bool:
        """Whether supervisor and workers are gone, and all that they left has been read."""
        return self.supervisor_end() is not None and not self.worker_pids()

    def press(self, timetable: Timetable, now: float) -> list[Death]:
        """
        See to it that everybody leaves by the timetable; return those found dead.

        The supervisor does this for its workers, so as long as it lives only its own lateness counts.
        """
        if self.supervisor_end() is None:
            if now >= timetable.kill_at + SUPERVISOR_LEAVES_WITHIN:
                self._send_once(self.supervisor, signal.SIGKILL)
            return []
        for slot in self._orphans():
            self._send_once(slot.pid, worker.STOP_SIGNAL)
            if now >= timetable.hurry_at:
                slot.stop_flag = True
                self._send_once(slot.pid, worker.HURRY_SIGNAL)
            if now >= timetable.kill_at:
                self._send_once(slot.pid, signal.SIGKILL)
        return self._bury_the_dead()

    def kill(self) -> None:
        """Kill everybody at once; what they left stays on the board for the next life."""
        self._send_once(self.supervisor, signal.SIGKILL)
        if self._supervisor_code is None:
            self._supervisor_code = os.waitstatus_to_exitcode(os.waitpid(self.supervisor, 0)[1])
        for pid in self.worker_pids():
            self._send_once(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)

    def ask_for_stacks(self, pause: Callable[[float], object]) -> None:
        """Have everybody write its stacks to stderr, one after the other: they are written piece by piece."""
        supervisor = [] if self.supervisor_end() is not None else [self.supervisor]
        for pid in supervisor + self.worker_pids():
            with suppress(ProcessLookupError):
                os.kill(pid, Signals.SIGUSR2)
            pause(_A_DUMP)

    def _orphans(self) -> list[Slot]:
        return [slot for slot in self._board.slots if slot.pid]

    def _bury_the_dead(self) -> list[Death]:
        deaths = []
        for slot in self._orphans():
            how = _end_of(slot.pid)
            if how:
                remains = self._board.clear(slot, self._clock.now())
                deaths.append(Death(slot.number, remains.incarnation, remains, how))
        return deaths

    def _send_once(self, pid: int, number: Signals) -> None:
        if (pid, number) not in self._told:
            self._told.add((pid, number))
            with suppress(ProcessLookupError):
                os.kill(pid, number)


def _end_of(pid: int) -> str:
    """How the process ended, in words; empty while it lives. Where it is no child, only that it is gone."""
    try:
        found, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return "" if processes.is_running(pid) else "gone with the supervisor"
    return processes.how_it_ended(os.waitstatus_to_exitcode(status)) if found else ""
