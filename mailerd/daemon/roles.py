"""
What the daemon's processes do, as callables handed in; the processes know no Redis, HTTP or mail.

``wiring.py`` fills a ``Roles``; main, the supervisor and the workers call it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Protocol

from mailerd.board import Board, Death, Slot
from mailerd.clock import Stop
from mailerd.config import Config
from mailerd.daemon.gate import Gate


class Server(Protocol):
    """The HTTP server, running in threads of its own."""

    def last_tick(self) -> float:
        """When its loop last went round (CLOCK_MONOTONIC seconds)."""

    def drain(self, deadline: float) -> None:
        """Take no new connections, end the open ones, cut what is left at the deadline."""

    def failed(self) -> BaseException | None:
        """What ended its loop, if anything did."""


# A worker's life: it ends with 0 when the first stop told it to (finish what is in hand, give the rest back)
# or with 75 when it wants a successor; the second stop means to abandon at the next safe point.
Work = Callable[[Slot, Stop, Stop], int]


@dataclass(frozen=True, slots=True)
class Roles:
    """
    The work of each process.

    ``prepare`` runs in the supervisor before any worker is forked, and again for each new configuration; it
    does what all workers would do first, leaves no thread and no connection behind, and returns a worker's
    life. It raises ``ConfigurationError``. ``serve`` starts the HTTP threads in main. ``probe`` blocks in
    main until Redis is there or ``stop`` is raised, and calls back once when it has to wait; it raises
    ``RedisNotReachable`` or ``RedisRefused``. ``housekeep`` is the janitor's thread in main: it settles
    every death it is handed, calls ``Board.forget`` for each, and, once ``stop`` is raised, which a None in
    the queue announces, returns as soon as the queue is empty. ``describe`` is a few words for the service
    manager and must not block. ``reload`` reads the configuration again and raises ``ConfigurationError``.
    """

    prepare: Callable[[Config], Work]
    serve: Callable[[Config, socket.socket, Gate, Board], Server]
    probe: Callable[[Config, Stop, Callable[[], None]], None]
    housekeep: Callable[[Config, Stop, SimpleQueue[Death | None]], None]
    describe: Callable[[], str]
    reload: Callable[[], Config]
