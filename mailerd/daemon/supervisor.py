"""
The supervisor: the only process that forks workers, with one thread for ever.

It fills the slots from 1 to the wanted number, reaps, watches the board for workers that are late, replaces
those who have done enough, and tells main of every death. It opens no connection and never blocks on main or
on a worker. When main is gone it lets the workers finish and follows. The policies are ``restart``,
``recycling`` and ``timetable``; the workers themselves are in ``pool``.
"""

from __future__ import annotations

import gc
import logging
import random
import select
from signal import Signals

from setproctitle import setproctitle

from mailerd import log as logs
from mailerd.board import Board, Death, Event, SlotState
from mailerd.clock import Clock
from mailerd.config import Config
from mailerd.daemon import forking, recycling, signals
from mailerd.daemon.channel import Channel
from mailerd.daemon.messages import Died, Go, Hurry, Leave, Replace, Resize, Staffing
from mailerd.daemon.pool import End, Pool
from mailerd.daemon.restart import Budget, Life, Record
from mailerd.daemon.roles import Roles
from mailerd.errors import EXIT_CLEAN, EXIT_RECYCLE, ConfigurationError

log = logging.getLogger(__name__)

_ROUND = 1.0  # between two looks at the board
_TICK = 0.1  # between two looks while somebody is leaving, late or missing
_LATE = 2.0  # so late itself, the supervisor judges nobody
_MEMORY_ROUND = 10.0


class Supervisor:
    """The supervisor's loop and what it knows."""

    def __init__(self, config: Config, roles: Roles, board: Board, channel: Channel, clock: Clock) -> None:
        self._config = config
        self._roles = roles
        self._board = board
        self._channel = channel
        self._clock = clock
        self._inbox = signals.Inbox()
        self._pool = Pool(board, clock, self._let_go)
        self._records: dict[int, Record] = {}
        self._troubles: dict[int, str] = {}
        self._budget = Budget()
        self._wanted = 0
        self._generation = 1
        self._leaving = False
        self._watched_at = self._measured_at = clock.monotonic()

    def run(self) -> int:
        """Supervise until told to leave and everybody has left."""
        self._prepare()
        while not (self._leaving and self._pool.is_empty and not self._channel.unsent):
            self._board.heartbeat = self._clock.monotonic()
            self._wait()
            self._hear_signals()
            self._hear_main()
            self._bury_the_dead()
            self._watch()
            self._recycle()
            self._pool.escalate()
            self._fill_the_slots()
            self._channel.flush()
        return EXIT_CLEAN

    def _prepare(self) -> None:
        signals.adopt({Signals.SIGTERM: self._inbox.record, Signals.SIGCHLD: self._inbox.record})
        setproctitle("mailerd: supervisor")
        logs.setup(self._config.log)
        self._work = self._roles.prepare(self._config)
        forking.keep_shared()

    def _wait(self) -> None:
        sources: list[signals.Inbox | Channel] = [self._inbox]
        if not self._channel.closed:
            sources.append(self._channel)
        restless = self._pool.is_restless or self._missing() or self._channel.unsent
        select.select(sources, [], [], _TICK if restless else _ROUND)

    def _hear_signals(self) -> None:
        if Signals.SIGTERM in self._inbox.take():
            self._leave()

    def _hear_main(self) -> None:
        if self._channel.closed:
            return
        for message in self._channel.receive():
            self._obey(message)
        if self._channel.closed and not self._leaving:
            log.error("The main process is gone: the workers finish", extra={"event": "main.lost"})
            self._leave()

    def _obey(self, message: object) -> None:
        match message:
            case Go():
                self._wanted = self._config.workers.processes
            case Replace(config, generation):
                self._replace(config, generation)
            case Resize(by):
                self._wanted = min(max(self._wanted + by, min(1, self._wanted)), len(self._board.slots))
            case Leave():
                self._leave()
            case Hurry():
                self._leave()
                self._pool.hurry()

    def _replace(self, config: Config, generation: int) -> None:
        try:
            self._work = self._roles.prepare(config)
        except ConfigurationError as error:
            log.error("The workers are not replaced: %s", error, extra={"event": "main.not_reloaded"})  # noqa: TRY400 - a fault explains itself
            return
        # What was alive at the start or the last reload and is so no more must not stay frozen for ever.
        gc.unfreeze()
        forking.keep_shared()
        self._config, self._generation = config, generation
        self._wanted = config.workers.processes
        self._records.clear()
        logs.setup(config.log)

    def _leave(self) -> None:
        self._leaving = True
        self._wanted = 0

    def _bury_the_dead(self) -> None:
        for end in self._pool.reap():
            number = end.slot.number
            record = self._remember(number, end.life)
            remains = self._board.clear(end.slot, self._clock.now())
            self._channel.send(Died(Death(number, remains.incarnation, remains, end.how), end.life.exit_code))
            self._tell_of(end, record)

    def _remember(self, number: int, life: Life) -> Record:
        chance = random.random()  # noqa: S311 - it only spreads the pauses
        record = self._records.get(number, Record()).after(life, self._clock.monotonic(), chance)
        self._records[number] = record
        return record

    def _tell_of(self, end: End, record: Record) -> None:
        context = {"worker": end.slot.number}
        in_order = end.life.exit_code in {EXIT_CLEAN, EXIT_RECYCLE}
        if in_order and (self._leaving or not record.failures):
            log.info("Worker has left", extra={"event": "worker.left", **context})
            return
        end.slot.tally.event(Event.DIED)
        log.error("Worker (pid %d) ended: %s", end.pid, end.how, extra={"event": "worker.died", **context})
        if record.failures and not self._leaving:
            self._troubles[end.slot.number] = f"worker {end.slot.number}: {end.how}"
            self._report()

    def _watch(self) -> None:
        now = self._clock.monotonic()
        if now < self._watched_at + _ROUND:
            return
        late_myself = now > self._watched_at + _ROUND + _LATE
        self._watched_at = now
        if not late_myself:
            self._pool.abort_the_late()
        if now >= self._measured_at + _MEMORY_ROUND and self._config.workers.max_memory_mb:
            self._measured_at = now
            self._pool.measure()

    def _recycle(self) -> None:
        for worker in self._pool.beyond(self._wanted):
            self._pool.tell_to_leave(worker, self._config.workers.drain_timeout)
        present = [worker for worker in self._pool.workers() if worker.is_present]
        away = self._wanted - len(present)
        for worker in sorted(present, key=lambda worker: worker.slot.generation):
            service = worker.service(self._clock.monotonic())
            why = recycling.why_recycle(service, self._config.workers, self._generation)
            if why and away < recycling.at_once(self._wanted):
                away += 1
                context = {"event": "worker.recycled", "worker": worker.slot.number}
                log.info("Worker is replaced: %s", why, extra=context)
                self._pool.tell_to_leave(worker, self._config.workers.drain_timeout)

    def _missing(self) -> list[int]:
        slots = self._board.slots[: self._wanted]
        return [slot.number for slot in slots if slot.state == SlotState.EMPTY]

    def _fill_the_slots(self) -> None:
        now = self._clock.monotonic()
        for number in self._missing():
            record = self._records.get(number, Record())
            if now < record.not_before:
                continue
            if record.failures:
                if not self._budget.allows(self._wanted, now):
                    continue
                self._budget.spend(now)
            self._start(number)

    def _start(self, number: int) -> None:
        try:
            self._pool.start(self._board.slots[number - 1], self._config, self._work, self._generation)
        except OSError as error:
            context = {"event": "worker.not_forked", "worker": number}
            log.error("Worker cannot be forked: %s", error, extra=context)  # noqa: TRY400 - says all
            self._remember(number, Life(0.0, settled=False, told=False, exit_code=None))
            self._troubles[number] = f"worker {number}: {error}"
        else:
            self._troubles.pop(number, None)
        self._report()

    def _report(self) -> None:
        troubles = [text for number, text in sorted(self._troubles.items()) if number <= self._wanted]
        self._channel.send(Staffing(self._wanted, "; ".join(troubles)))

    def _let_go(self) -> None:
        # In a worker, which has no business with main or with the supervisor's signals.
        self._channel.close()
        self._inbox.close()
