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

from mailerd.board import Death, Slot
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


@dataclass(frozen=True, slots=True)
class Roles:
    """
    The work of each process.

    ``warm_up`` runs once in the supervisor, before any worker is forked; it must leave no thread and no
    connection behind. ``work`` is a worker's life: it ends with 0 when ``stop`` told it to (finish what is
    in hand, give the rest back) or with 75 when it wants a successor; ``hurry`` means to abandon at the
    next safe point. ``serve`` starts the HTTP threads in main. ``probe`` blocks in main until Redis is
    there or ``stop`` is raised; it raises ``RedisNotReachable`` or ``RedisRefused``. ``housekeep`` is the
    janitor's thread in main: it settles every death it is handed, calls ``Board.forget`` for each, and,
    once ``stop`` is raised, which a None in the queue announces, returns as soon as the queue is empty.
    ``describe`` is a few words for the service manager and must not block. ``reload`` reads the
    configuration again and raises ``ConfigurationError``.
    """

    warm_up: Callable[[Config], None]
    work: Callable[[Config, Slot, Stop, Stop], int]
    serve: Callable[[Config, socket.socket, Gate], Server]
    probe: Callable[[Config, Stop], None]
    housekeep: Callable[[Config, Stop, SimpleQueue[Death | None]], None]
    describe: Callable[[], str]
    reload: Callable[[], Config]
