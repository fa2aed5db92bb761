"""
The keeper: the one thread beside a worker's own that keeps its lease and hears its stop.

It renews the lease while the worker makes progress, and it ends what a stop must end at once: a take that
blocks in the server, and, when the drain is over, hand-overs that nobody answers. It decides nothing else
and settles nothing.
"""

from __future__ import annotations

import logging
import select
import threading
from collections.abc import Callable

import redis

from mailerd.board import Slot
from mailerd.clock import Clock, Stop, leave_signals_to_the_main_thread
from mailerd.errors import RedisRefused, RedisUnavailable
from mailerd.queue.claims import Taker
from mailerd.queue.keys import Keys
from mailerd.queue.lease import Lease

log = logging.getLogger(__name__)

RENEWALS_IN_A_LEASE = 3
UNBLOCK_EVERY = 0.05
UNBLOCK_FOR = 2.0


class Keeper:
    """Keeps one lease at a time, until ``close``."""

    def __init__(
        self,
        client: redis.Redis,
        keys: Keys,
        taker: Taker,
        slot: Slot,
        stops: tuple[Stop, Stop],
        clock: Clock,
        abort: Callable[[], None],
    ) -> None:
        self._client = client
        self._keys = keys
        self._taker = taker
        self._slot = slot
        self._stop, self._hurry = stops
        self._clock = clock
        self._abort = abort
        self._lease: Lease | None = None
        self._told: Lease | None = None  # that it has lapsed
        self._taking = False
        self._closed = Stop()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def start(self, lease: Lease) -> None:
        """Begin with this lease."""
        self._lease = lease
        self._thread.start()

    def keep(self, lease: Lease) -> None:
        """Keep another lease from now on."""
        self._lease = lease

    def taking(self, now: bool) -> None:
        """Whether the worker is inside ``take``."""
        self._taking = now

    def close(self) -> None:
        """End the thread."""
        self._closed.raise_()
        self._thread.join()

    def _run(self) -> None:
        leave_signals_to_the_main_thread()
        watched: list[Stop] = [self._closed, self._hurry, self._stop]
        while not self._closed:
            for raised in self._wait(watched):
                watched.remove(raised)
                if raised is self._stop:
                    self._end_take()
                elif raised is self._hurry:
                    self._abort()
            self._renew()

    def _wait(self, watched: list[Stop]) -> list[Stop]:
        lease = self._lease
        seconds = lease.seconds / RENEWALS_IN_A_LEASE if lease else 1.0
        poll = select.poll()
        for stop in watched:
            poll.register(stop.fileno(), select.POLLIN)
        poll.poll(seconds * 1000)
        return [stop for stop in watched if stop]

    def _renew(self) -> None:
        lease = self._lease
        deadline = self._slot.deadline
        if lease is None or (deadline and self._clock.monotonic() > deadline):
            return  # a worker without progress must not look alive
        try:
            if not lease.renew(self._client, self._keys) and self._told is not lease:
                self._told = lease
                log.warning(
                    "The lease has lapsed: another worker may take over",
                    extra={"event": "lease.lapsed", "incarnation": lease.incarnation},
                )
        except (RedisUnavailable, RedisRefused):
            return  # the worker's own calls say so; the lease runs out by itself

    def _end_take(self) -> None:
        """The claim may not be abandoned while it can still be delivered: unblock it until it returns."""
        give_up = self._clock.monotonic() + UNBLOCK_FOR
        while self._taking and not self._closed:
            try:
                self._taker.unblock()
            except (RedisUnavailable, RedisRefused):
                if self._clock.monotonic() > give_up:
                    self._taker.hang_up()
            self._closed.wait(UNBLOCK_EVERY)
