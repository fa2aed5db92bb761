"""
One round after the other: faults begin and end side by side, and then work must flow again by itself.

On every host, within a time; the longest is told.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import redis

from chaos import faults_around, faults_process, faults_redis, faults_sentinels, schedule
from chaos.fleet import LEASE
from chaos.plan import Outcome
from chaos.stage import End, Pause, Stage
from rigs.waiting import wait_until

FAULTS: dict[str, Callable[[Stage, schedule.Fault], End]] = {
    **faults_process.FAULTS,
    **faults_redis.FAULTS,
    **faults_sentinels.FAULTS,
    **faults_around.FAULTS,
}
# What may make a lease lapse while a hand-over is under way.
LAPSING = frozenset(
    (
        "stop-worker",
        "redis-frozen",
        "redis-killed",
        "black-hole",
        "parked-take",
        "read-only",
        "save-fails",
        "memory-full",
        *schedule.OF_SENTINELS,
    )
)
FLOW_WITHIN = 10.0
FLOW_WITHIN_OF_A_HOST = 20.0


class Rounds:
    """Plays rounds on a stage and notes in the outcome what it saw."""

    def __init__(self, stage: Stage, outcome: Outcome) -> None:
        self._stage = stage
        self._outcome = outcome

    def play(self, faults: schedule.Round) -> None:
        """One round; returns once work flows again, or when it has not for far too long."""
        began = time.monotonic()
        threads = [threading.Thread(target=self._play_one, args=(fault,), daemon=True) for fault in faults]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._outcome.played.update(fault.name for fault in faults)
        names = {fault.name for fault in faults}
        if names & LAPSING:
            self._stage.pauses.append(Pause(began, time.monotonic() + LEASE + 2))
        self._await_flow(faults)

    def _play_one(self, fault: schedule.Fault) -> None:
        pause = threading.Event()
        pause.wait(fault.after)
        try:
            end = _persistently(lambda: FAULTS[fault.name](self._stage, fault))
        except (redis.RedisError, OSError, TimeoutError):
            self._stage.skip(fault.name)  # another fault of this round has Redis in its hand
            return
        pause.wait(fault.seconds)
        try:
            _persistently(end)
        except (redis.RedisError, OSError, AssertionError) as fault_of_ours:
            self._outcome.breaches.append(f"{fault.name} does not end: {fault_of_ours}")

    def _await_flow(self, faults: schedule.Round) -> None:
        """Every host hands something over and gets an answer, by itself."""
        names = {fault.name for fault in faults}
        ended = time.monotonic()
        within = (FLOW_WITHIN_OF_A_HOST if "kill-host" in names else FLOW_WITHIN) * self._busy()
        fleet, look_again = self._stage.fleet, ended

        def flows() -> bool:
            nonlocal look_again
            if time.monotonic() > look_again:
                faults_around.resume_all(self._stage)  # as an operator would who sees it still paused
                look_again = time.monotonic() + 2.0
            if self._stage.producers.drained():
                return True
            recent = fleet.sink.hand_overs()[-400:]
            answered = {one.helo for one in recent if one.begun > ended and one.answered is not None}
            return len(answered) == len(fleet.hosts)

        try:
            wait_until(flows, 4 * within)
        except AssertionError:
            self._outcome.breaches.append(f"no work flows {4 * within:.0f} s after {sorted(names)}")
        # That a daemon is down until systemd starts it again belongs to the fault.
        took = time.monotonic() - max(ended, *(host.started for host in fleet.hosts))
        if took > within:
            self._outcome.breaches.append(
                f"work flowed only {took:.1f} s after {sorted(names)}, not within {within:.0f}"
            )
        for name in names:
            self._outcome.slowest[name] = max(took, self._outcome.slowest.get(name, 0.0))

    def _busy(self) -> float:
        """How many others each core serves at the same time: whoever waits for a core is not slow himself."""
        load = os.getloadavg()[0] / (os.cpu_count() or 1)
        self._outcome.load = max(load, self._outcome.load)
        return max(1.0, load)


def _persistently(do: Callable[[], Any]) -> Any:
    """What a fault does to Redis is tried again while another fault has it in its hand."""
    give_up = time.monotonic() + 8.0
    while True:
        try:
            return do()
        except (redis.RedisError, OSError):
            if time.monotonic() > give_up:
                raise
            threading.Event().wait(0.2)
