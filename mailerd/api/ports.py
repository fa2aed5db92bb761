"""
What the door needs from the rest of the house, in the door's own words.

Pure declarations; ``wiring.py`` hands in what fulfils them.
"""

from __future__ import annotations

from typing import Protocol

from mailerd.job import EmailJob
from mailerd.queue.model import BatchView, Enqueued


class Enqueuer(Protocol):
    """Where jobs go."""

    def enqueue(self, job: EmailJob, request: str) -> Enqueued:
        """
        Queue the job, or say why not.

        ``request`` is a token unique to this HTTP request: a second try inside it is no replay. Raises
        ``RedisUnavailable`` or ``RedisRefused`` within a few seconds where Redis does not do it.
        """


class Batches(Protocol):
    """Where batches are looked up."""

    def find(self, batch_id: str, client_id: str | None) -> list[BatchView]:
        """
        The batches of that id, of one client or of all.

        Raises ``RedisUnavailable`` or ``RedisRefused`` within a few seconds where Redis does not answer.
        """


class Gate(Protocol):
    """What the daemon says about itself; read by many threads, set by one."""

    @property
    def ready(self) -> bool:
        """Whether jobs can be taken: started, and Redis is there."""

    @property
    def draining(self) -> bool:
        """Whether the daemon was told to stop; what is accepted is still safe in Redis."""

    @property
    def reason(self) -> str:
        """Why it is not ready, in words for users."""
