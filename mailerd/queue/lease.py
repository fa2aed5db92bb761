"""
The lease of one incarnation: what proves to everybody else that this worker lives.

Registered once, renewed by the keeper's thread, never revived once lapsed: then the worker drops what it
holds and takes a new incarnation. The deadline kept here is counted from *before* the renewal was sent, on
this host's monotonic clock, so it ends no later than the server's.
"""

from __future__ import annotations

import json
import os
import socket

import redis

from mailerd.clock import Clock
from mailerd.queue.copies import run_confirmed
from mailerd.queue.keys import Keys
from mailerd.queue.scripts import run


class Lease:
    """One incarnation and how long it may still hand anything over."""

    def __init__(self, incarnation: str, seconds: float, clock: Clock, valid_until: float) -> None:
        self.incarnation = incarnation
        self.seconds = seconds
        self._clock = clock
        self._valid_until = valid_until
        self._where = whereabouts()

    @property
    def milliseconds(self) -> int:
        """The lease's length as scripts take it."""
        return int(self.seconds * 1000)

    def lives(self) -> bool:
        """Whether it certainly lives, by this host's clock; asked before each hand-over."""
        return self._clock.monotonic() < self._valid_until

    def renew(self, client: redis.Redis, keys: Keys) -> bool:
        """Prolong it; False when it has lapsed. Raises ``RedisUnavailable``."""
        sent = self._clock.monotonic()
        arguments: list[str | bytes | int] = [self.milliseconds, self.incarnation, self._where]
        if not run(client, "renew", [keys.lease(self.incarnation), keys.workers], arguments):
            self._valid_until = 0.0
            return False
        self._valid_until = sent + self.seconds
        return True

    def confirm(self, client: redis.Redis, keys: Keys, replicas: int) -> bool:
        """Prolong it, confirmed by so many replicas. Raises ``TooFewCopies``, a ``RedisUnavailable``."""
        lease = [keys.lease(self.incarnation), keys.workers]
        return bool(
            run_confirmed(
                client, "renew", lease, [self.milliseconds, self.incarnation, self._where], replicas
            )
        )


def register(client: redis.Redis, keys: Keys, seconds: float, clock: Clock, era: str = "") -> Lease:
    """
    Take a new incarnation. Raises ``RedisUnavailable``.

    ``era``: the life of Redis that its worker has met and told all (``eras.py``).
    """
    sent = clock.monotonic()
    number = run(
        client,
        "register",
        [keys.incarnation, keys.workers, keys.unused, keys.arrivals, keys.graves],
        [keys.lease_prefix, int(seconds * 1000), whereabouts(), era],
    )
    return Lease(number.decode(), seconds, clock, sent + seconds)


def whereabouts() -> str:
    """This process, as ``mailerd status`` shows it."""
    return json.dumps({"host": socket.gethostname(), "pid": os.getpid()})


def leave(client: redis.Redis, keys: Keys, lease: Lease) -> None:
    """End the lease in order; a job still in hand is left to the janitor. Raises ``RedisUnavailable``."""
    name = lease.incarnation
    run(client, "leave", [keys.lease(name), keys.hand(name), keys.workers, keys.graves], [name])
