"""
Short jobs of one batch of which nothing is handed over, and what the script that discards them is told.

Where all about them is plain, it opens, admits, books and acks them in one step, with the next take. Else it
leaves them in hand, and they go the long way of every job. Pure; called by ``claims``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from mailerd.job import EmailJob
from mailerd.outcome import Kind, Outcome
from mailerd.queue.keys import INLINE_ROWS, Keys
from mailerd.queue.scripts import Argument

# Rows that one script may write: long scripts hold up everybody else.
MOST_ROWS = 500
DISCARDED = Outcome(Kind.DISCARDED, 'mail.transport is "none": the job was logged and nothing sent')
ASIDE = b"aside"
DONE = b"done"


@dataclass(frozen=True, slots=True)
class Discard:
    """
    Jobs that say the same of a batch as ``job``: of each its bytes, its id and how many recipients it brings.

    They were taken in that ``era`` of Redis. ``contacts`` are the recipients of all, each once. ``done`` is
    called when they are discarded, with the seconds since one of them was enqueued over HTTP, where it was.
    """

    job: EmailJob
    era: str
    jobs: Sequence[tuple[bytes, str, int]]
    contacts: Collection[str]
    done: Callable[[float | None], None]

    def arguments(self) -> list[Argument]:
        """The batch's part of the script's ARGV."""
        job = self.job
        arguments: list[Argument] = [job.client_id, job.batch_id, job.template_id, job.variables_json()]
        arguments += [job.expires_ms(), len(self.jobs), len(self.contacts)]
        for each in self.jobs:
            arguments += each
        arguments += [f":{contact}" for contact in self.contacts]
        return arguments


class Discards:
    """Those that wait for the next take."""

    def __init__(self) -> None:
        self._waiting: list[Discard] = []

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, discard: Discard) -> bool:
        """Have it wait; False where one script cannot do it with the others, or its rows lie elsewhere."""
        rows = len(discard.contacts) + sum(len(each.contacts) for each in self._waiting)
        if rows > MOST_ROWS or any(brings > INLINE_ROWS for _, _, brings in discard.jobs):
            return False
        self._waiting.append(discard)
        return True

    def keep(self, era: str) -> None:
        """Forget those of another life of Redis: what of them is in hand in this one is found there."""
        self._waiting = [each for each in self._waiting if each.era == era]

    def keys(self, keys: Keys) -> list[str]:
        """Their part of the script's KEYS."""
        names = [keys.ended, keys.clients, keys.batches]
        for job in (each.job for each in self._waiting):
            tag = f"{job.client_id}/{job.batch_id}"
            names += [keys.batch(tag), keys.tombstone(tag), keys.batches_of(job.client_id)]
        return names

    def arguments(self) -> list[Argument]:
        """Their part of the script's ARGV."""
        return [argument for each in self._waiting for argument in each.arguments()]

    def hear(self, answer: list[bytes]) -> list[bytes]:
        """What the script says of each, which then waits no longer; the rest of the answer."""
        waiting, self._waiting = self._waiting, []
        for each, word in zip(waiting, answer, strict=False):
            if word != ASIDE:
                each.done(None if word == DONE else int(word) / 1000)
        return answer[len(waiting) :]
