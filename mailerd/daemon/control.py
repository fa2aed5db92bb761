"""
Main's control loop: it opens the door, lets the supervisor go, hears signals, and ends everything in order.

The pool goes first and HTTP last. It works on nothing itself; jobs, HTTP and housekeeping are ``Roles``,
the processes below are a ``Tree``. Only ``main.run`` calls it.
"""

from __future__ import annotations

import logging
import select
import socket
from collections.abc import Mapping
from signal import Signals

from mailerd import log as logs
from mailerd.board import Board, Death, SlotState
from mailerd.clock import Clock, Stop
from mailerd.config import Config
from mailerd.daemon import listener, processes, reloading, signals, table, timetable
from mailerd.daemon.channel import Channel
from mailerd.daemon.gate import Gate
from mailerd.daemon.janitor import Janitor
from mailerd.daemon.messages import Died, Go, Hurry, Leave, Replace, Resize, Staffing
from mailerd.daemon.roles import Roles, Server
from mailerd.daemon.systemd import Notifier
from mailerd.daemon.timetable import Timetable
from mailerd.daemon.tree import Tree
from mailerd.errors import (
    EXIT_CLEAN,
    EXIT_CONFIGURATION,
    EXIT_INTERNAL,
    EXIT_NO,
    ConfigurationError,
    MailerdError,
)

log = logging.getLogger(__name__)

_TURN = 0.5
_QUICK_TURN = 0.05  # while starting and stopping
_FIRST_WORKER_WITHIN = 5.0
_RELOADED_WITHIN = 20.0
_STATUS_EVERY = 5.0
_FRESH = 5.0  # a loop that went round so recently is alive


class Control:
    """The loop and what it knows."""

    def __init__(
        self,
        config: Config,
        roles: Roles,
        board: Board,
        tree: Tree,
        notifier: Notifier,
        inbox: signals.Inbox,
        stop: Stop,
        clock: Clock,
    ) -> None:
        self._config = config
        self._roles = roles
        self._board = board
        self._tree = tree
        self._notifier = notifier
        self._inbox = inbox
        self._stop = stop
        self._clock = clock
        self._gate = Gate(config=config)
        self._janitor = Janitor(roles.housekeep, config)
        self._server: Server | None = None
        self._staffing = Staffing(config.workers.processes, "")
        self._generation = 1
        self._exit_code: int | None = None
        self._quit = False
        self._hurried = False
        self._ready = False
        self._began_at = 0.0
        self._reloading_until = 0.0
        self._status_at = 0.0

    def run(self, passed: Mapping[str, socket.socket]) -> int:
        """Serve until something ends it; return the exit code."""
        door = self._bind(passed)
        self._probe(door)
        if not self._stop:
            self._begin(door)
        while self._exit_code is None:
            self._turn(_TURN if self._ready else _QUICK_TURN)
            self._look_around()
            self._announce()
        return self._end()

    def _bind(self, passed: Mapping[str, socket.socket]) -> socket.socket | None:
        if not self._config.api.enabled:
            return None
        door = listener.open_listener(self._config.api, passed, self._config.daemon.state_dir)
        self._notifier.keep(door, listener.NAME)
        return door

    def _probe(self, door: socket.socket | None) -> None:
        """
        Wait for Redis; with the door open only if it lets us wait.

        Else whoever connects in the first instant would be refused, though all is well.
        """
        try:
            self._roles.probe(self._config, self._stop, lambda: self._open(door))
        except MailerdError:
            self._close_the_door(timetable.HTTP_IN_A_HURRY)
            raise

    def _open(self, door: socket.socket | None) -> None:
        if door is None or self._server is not None:
            return
        with signals.blocked():
            self._server = self._roles.serve(self._config, door, self._gate, self._board)
        log.info("Server starting on %s", listener.where(door), extra={"event": "server.started"})

    def _begin(self, door: socket.socket | None) -> None:
        for remains in Board.previous(self._config.daemon.state_dir):
            self._janitor.report(Death(0, remains.incarnation, remains, "in a previous life"))
        with signals.blocked():
            self._janitor.start()
        self._gate.ready, self._gate.reason = True, ""
        self._open(door)
        self._began_at = self._clock.monotonic()
        self._tree.channel.send(Go())

    def _turn(self, seconds: float) -> None:
        channel = self._tree.channel
        sources: list[signals.Inbox | Channel] = [self._inbox]
        if not channel.closed:
            sources.append(channel)
        select.select(sources, [], [], seconds)
        for number in self._inbox.take():
            self._obey(number)
        if not channel.closed:
            channel.flush()
            for message in channel.receive():
                self._hear(message)

    def _obey(self, number: Signals) -> None:
        match number:
            case Signals.SIGTERM | Signals.SIGINT:
                self._leave()
            case Signals.SIGQUIT:
                self._quit, self._exit_code = True, EXIT_NO
            case Signals.SIGHUP if self._exit_code is None:
                self._reload()
            case Signals.SIGTTIN | Signals.SIGTTOU if self._exit_code is None:
                self._tree.channel.send(Resize(1 if number is Signals.SIGTTIN else -1))
            case Signals.SIGUSR1:
                self._tell_state()
            case Signals.SIGUSR2:
                self._tree.ask_for_stacks(self._stop.wait)

    def _leave(self) -> None:
        if self._exit_code is None:
            log.info("Stopping: the workers finish what they have in hand", extra={"event": "main.stopping"})
            self._exit_code = EXIT_CLEAN
        elif not self._hurried:
            log.info("Stopping faster", extra={"event": "main.hurried"})
            self._hurried = True
            self._tree.channel.send(Hurry())

    def _hear(self, message: object) -> None:
        match message:
            case Died(death, exit_code):
                self._janitor.report(death)
                if exit_code == EXIT_CONFIGURATION and not self._ready:
                    self._exit_code = EXIT_CONFIGURATION
            case Staffing():
                self._staffing = message

    def _look_around(self) -> None:
        """End the daemon when one of its parts has ended."""
        if self._exit_code is not None:
            return
        supervisor = self._tree.supervisor_end()
        if supervisor is not None:
            self._exit_code = self._lost(supervisor)
        if self._server and (failure := self._server.failed()):
            log.critical("The HTTP server ended: %r", failure, extra={"event": "server.failed"})
            self._exit_code = EXIT_INTERNAL
        if self._janitor.failed:
            self._exit_code = EXIT_INTERNAL

    def _lost(self, supervisor: int) -> int:
        if supervisor == EXIT_CONFIGURATION and not self._ready:
            return EXIT_CONFIGURATION  # it has said why
        how = processes.how_it_ended(supervisor)
        log.critical("The supervisor is gone: %s", how, extra={"event": "supervisor.lost"})
        return EXIT_INTERNAL

    def _announce(self) -> None:
        now = self._clock.monotonic()
        if not self._ready and self._is_ready(now):
            self._ready = True
            self._notifier.ready()
            log.info("Ready: %s", self._describe(), extra={"event": "main.ready"})
        if self._reloading_until and (self._is_reloaded() or now >= self._reloading_until):
            self._reloading_until = 0.0
            self._notifier.ready()
        if self._ready and now >= self._status_at + _STATUS_EVERY:
            self._status_at = now
            self._notifier.status(f"{self._describe()}, {self._roles.describe()}")
        if self._is_alive(now):
            self._notifier.watchdog(now)

    def _is_ready(self, now: float) -> bool:
        wanted = self._config.workers.processes
        present = any(slot.state not in {SlotState.EMPTY, SlotState.BOOTING} for slot in self._board.slots)
        return wanted == 0 or present or now >= self._began_at + _FIRST_WORKER_WITHIN

    def _is_reloaded(self) -> bool:
        living = [slot for slot in self._board.slots if slot.state != SlotState.EMPTY]
        present = [slot for slot in living if slot.state != SlotState.BOOTING]
        wanted = self._config.workers.processes
        return len(present) == wanted and all(slot.generation == self._generation for slot in living)

    def _is_alive(self, now: float) -> bool:
        serving = self._server is None or now < self._server.last_tick() + _FRESH
        return serving and now < self._board.heartbeat + _FRESH

    def _describe(self) -> str:
        return table.staffing(self._board, self._staffing.wanted, self._staffing.trouble)

    def _reload(self) -> None:
        now = self._clock.monotonic()
        self._notifier.reloading(now)
        try:
            config = reloading.checked(self._roles.reload(), self._config)
        except ConfigurationError as error:
            problems = "; ".join(map(str, error.problems))
            log.error("Nothing is changed: %s", problems, extra={"event": "main.not_reloaded"})  # noqa: TRY400 - a fault explains itself
            self._notifier.ready()
            return
        self._config = self._gate.config = config
        self._generation += 1
        logs.setup(config.log)
        self._tree.channel.send(Replace(config, self._generation))
        self._reloading_until = now + _RELOADED_WITHIN
        log.info("Reloaded: the workers are replaced one by one", extra={"event": "main.reloaded"})

    def _tell_state(self) -> None:
        now = self._clock.monotonic()
        door = f"main: ready {self._ready}, stopping {self._exit_code is not None}, {self._describe()}"
        if self._server:
            door += f", HTTP last went round {now - self._server.last_tick():.1f} s ago"
        for row in [door, *table.rows(self._board, now)]:
            log.info("State: %s", row, extra={"event": "main.state"})

    def _end(self) -> int:
        """Let everybody finish, in order, each within its time; return the exit code."""
        self._gate.draining = True
        self._notifier.stopping()
        if not self._quit:
            self._empty_the_pool()
        if self._quit:
            self._tree.kill()
            return EXIT_NO
        self._close_the_door(timetable.HTTP_IN_A_HURRY if self._hurried else timetable.HTTP_WITHIN)
        for remains in Board.previous(self._config.daemon.state_dir):
            self._janitor.report(Death(0, remains.incarnation, remains, "found at the stop"))
        self._janitor.finish(timetable.JANITOR_WITHIN)
        self._board.seal()
        return self._exit_code or EXIT_CLEAN

    def _empty_the_pool(self) -> None:
        now = self._clock.monotonic()
        plan = Timetable.patient(now, self._config.workers.drain_timeout)
        self._tree.channel.send(Leave())
        while not self._quit and not self._tree.is_empty():
            for death in self._tree.press(plan, now):
                self._janitor.report(death)
            self._turn(_QUICK_TURN)
            now = self._clock.monotonic()
            self._notifier.extend_stop(now)
            if self._hurried:
                plan = plan.hurried(now)

    def _close_the_door(self, seconds: float) -> None:
        if self._server:
            self._server.drain(self._clock.monotonic() + seconds)
