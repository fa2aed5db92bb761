"""
The workers that live: forked, told to leave, hurried, killed and reaped; mechanism without policy.

Only the supervisor calls it. Each signal is sent once: a stopped process answers none, and a thousand more
would change nothing.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from signal import Signals

from mailerd.board import Board, Event, Slot, SlotState
from mailerd.clock import Clock
from mailerd.config import Config
from mailerd.daemon import forking, processes, worker
from mailerd.daemon.recycling import Service
from mailerd.daemon.restart import Life
from mailerd.daemon.roles import Work
from mailerd.daemon.timetable import Timetable

log = logging.getLogger(__name__)

_BOOT_WITHIN = 10.0
_KILL_AFTER_ABORT = 2.0


@dataclass(slots=True)
class Worker:
    """A worker as the supervisor knows it; ``memory``: the most bytes, measured after ``memory_jobs``."""

    slot: Slot
    pid: int
    born: float
    memory: int = 0
    memory_jobs: int = 0
    leaving: Timetable | None = None
    hurried: bool = False
    aborted_at: float | None = None
    killed: bool = False

    @property
    def is_present(self) -> bool:
        """Whether it has booted and was not told to leave."""
        return self.leaving is None and self.slot.state != SlotState.BOOTING

    def service(self, now: float) -> Service:
        """What it has done so far."""
        slot = self.slot
        growing = slot.jobs == self.memory_jobs and slot.state != SlotState.IDLE
        return Service(slot.number, slot.generation, slot.jobs, now - self.born, self.memory, growing)


@dataclass(frozen=True, slots=True)
class End:
    """The end of a worker, whose slot is still as it left it."""

    slot: Slot
    pid: int
    life: Life
    how: str


class Pool:
    """The workers by their process ids."""

    def __init__(self, board: Board, clock: Clock, let_go: Callable[[], None]) -> None:
        self._board = board
        self._clock = clock
        self._let_go = let_go
        self._workers: dict[int, Worker] = {}

    @property
    def is_empty(self) -> bool:
        """Whether nobody is left."""
        return not self._workers

    @property
    def is_restless(self) -> bool:
        """Whether somebody boots, leaves or is about to be killed."""
        return any(not one.is_present or one.aborted_at for one in self._workers.values())

    def workers(self) -> list[Worker]:
        """Everybody."""
        return list(self._workers.values())

    def beyond(self, wanted: int) -> list[Worker]:
        """Those whose slot is above the wanted number and who have not been told yet."""
        return [one for one in self.workers() if one.slot.number > wanted and one.leaving is None]

    def start(self, slot: Slot, config: Config, work: Work, generation: int) -> None:
        """Fork a worker into the empty slot; raises ``OSError`` where the system has no room for it."""
        now = self._clock.monotonic()
        supervisor = os.getpid()
        slot.open(secrets.token_hex(8), generation, now + _BOOT_WITHIN)

        def body() -> int:
            self._let_go()
            return worker.live(config, slot, work, supervisor)

        try:
            pid = forking.fork(body)
        except OSError:
            slot.close()
            raise
        slot.pid = pid
        slot.tally.event(Event.BORN)
        self._workers[pid] = Worker(slot, pid, now)

    def reap(self) -> list[End]:
        """Those who have ended since the last call; a child that is no worker is nobody's business."""
        ends = []
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = ended
                if one := self._workers.pop(pid, None):
                    ends.append(self._end(one, os.waitstatus_to_exitcode(status)))
        return ends

    def tell_to_leave(self, one: Worker, drain_timeout: float) -> None:
        """Tell a worker to finish what it has in hand; it is hurried and killed in due time."""
        one.leaving = Timetable.patient(self._clock.monotonic(), drain_timeout)
        self._send(one, worker.STOP_SIGNAL)

    def hurry(self) -> None:
        """Give everybody little time: those told before, and those told just now."""
        now = self._clock.monotonic()
        for one in self.workers():
            one.leaving = (one.leaving or Timetable(now, now + 1e9)).hurried(now)

    def abort_the_late(self) -> None:
        """Make those whose deadline has passed dump their stacks and die."""
        now = self._clock.monotonic()
        for one in self.workers():
            if one.aborted_at is None and 0 < one.slot.deadline < now:
                one.aborted_at = now
                message = "Worker (pid %d) hangs in state %s: its stacks follow, and its end"
                context = {"event": "worker.wedged", "worker": one.slot.number}
                log.error(message, one.pid, one.slot.state.name.lower(), extra=context)
                self._send(one, signal.SIGABRT)

    def escalate(self) -> None:
        """Hurry and kill those whose time has come."""
        now = self._clock.monotonic()
        for one in self.workers():
            if one.aborted_at is not None and now >= one.aborted_at + _KILL_AFTER_ABORT:
                self._kill(one)
            if one.leaving is None:
                continue
            if now >= one.leaving.hurry_at and not one.hurried:
                one.hurried = True
                one.slot.stop_flag = True
                self._send(one, worker.HURRY_SIGNAL)
            if now >= one.leaving.kill_at:
                self._kill(one)

    def measure(self) -> None:
        """Ask the system how much memory each worker has for itself."""
        for one in self.workers():
            memory = processes.private_memory(one.pid)
            if memory > one.memory:
                one.memory, one.memory_jobs = memory, one.slot.jobs

    def _kill(self, one: Worker) -> None:
        if not one.killed:
            one.killed = True
            context = {"event": "worker.killed", "worker": one.slot.number}
            log.error("Worker (pid %d) is killed", one.pid, extra=context)
            self._send(one, signal.SIGKILL)

    def _send(self, one: Worker, number: Signals) -> None:
        # Nobody but this process reaps it, so the number cannot have become another process.
        os.kill(one.pid, number)

    def _end(self, one: Worker, code: int) -> End:
        how = processes.how_it_ended(code)
        if one.aborted_at is not None:
            how += ", as it hung"
        life = Life(
            seconds=self._clock.monotonic() - one.born,
            settled=one.slot.settled > 0 or one.slot.jobs > 0 or one.slot.remains().got_anywhere,
            told=one.leaving is not None,
            exit_code=code if code >= 0 else None,
        )
        return End(one.slot, one.pid, life, how)
