"""
What the door needs from the rest of the house, in the door's own words.

Pure declarations; ``wiring.py`` hands in what fulfils them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mailerd.board import Slot
from mailerd.job import EmailJob
from mailerd.outcome import State
from mailerd.queue.figures import QueueFigures
from mailerd.queue.limit_views import LimitView
from mailerd.queue.model import Action, BatchPage, BatchState, BatchView, Effect, Enqueued, RecipientPage


class Enqueuer(Protocol):
    """
    Where jobs go.

    ``request`` is a token unique to this HTTP request: a second try inside it is no replay. Raises
    ``RedisUnavailable`` or ``RedisRefused`` within a few seconds where Redis does not do it.
    """

    def enqueue(self, job: EmailJob, request: str) -> Enqueued:
        """Queue the job, or say why not."""

    def foretell(self, job: EmailJob) -> Enqueued:
        """What ``enqueue`` would say now; nothing is queued. Raises as that does."""

    def enqueue_all(self, jobs: Sequence[EmailJob], request: str) -> Sequence[Enqueued]:
        """Queue jobs of distinct batches, all or none: none where one is neither queued nor replayed."""


class Batches(Protocol):
    """
    Where batches are looked up.

    Raises ``RedisUnavailable`` or ``RedisRefused`` within a few seconds where Redis does not answer, and
    ``ValueError`` with a sentence where a cursor is none that an earlier page gave.
    """

    def find(self, batch_id: str, client_id: str | None) -> list[BatchView]:
        """The batches of that id, of one client or of all."""

    def page(self, client_id: str | None, state: BatchState | None, cursor: str, limit: int) -> BatchPage:
        """Some batches, of one client or of all, in one state or in any."""

    def page_of_recipients(
        self, client_id: str, batch_id: str, state: State | None, cursor: str, limit: int
    ) -> RecipientPage:
        """Some recipients of a batch."""


class Actions(Protocol):
    """Where a whole batch is told what to do."""

    def act(self, action: Action, client_id: str, batch_id: str) -> Effect:
        """Carry it out. Raises ``RedisUnavailable`` or ``RedisRefused``."""


class Gate(Protocol):
    """What the daemon says about itself; read by many threads, set by one."""

    @property
    def ready(self) -> bool:
        """Whether the daemon has started."""

    @property
    def draining(self) -> bool:
        """Whether the daemon was told to stop; what is accepted is still safe in Redis."""

    @property
    def reason(self) -> str:
        """Why it is not ready, in words for users."""


# The report, for JSON, on a batch that is not queued: within some seconds, whatever contacts and template do.
# None while it is busy with another one.
Preflight = Callable[[EmailJob], Mapping[str, Any] | None]


@dataclass(frozen=True, slots=True)
class Sources:
    """
    Where ``/metrics`` has its numbers from.

    ``queue`` and ``limits`` raise ``RedisUnavailable`` or ``RedisRefused``; ``slots`` are the board's;
    ``memory`` tells the private bytes of a process; ``events`` is what the janitor counted.
    """

    queue: Callable[[], QueueFigures]
    slots: Iterable[Slot]
    memory: Callable[[int], int]
    events: Callable[[], Mapping[str, int]]
    limits: Callable[[], Sequence[LimitView]]


@dataclass(frozen=True, slots=True)
class Ports:
    """All of them; ``reachable`` tells whether Redis answers right now, within a few seconds."""

    enqueuer: Enqueuer
    batches: Batches
    actions: Actions
    gate: Gate
    reachable: Callable[[], bool]
    sources: Sources
    preflight: Preflight
