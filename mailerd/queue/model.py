"""The values that the queue hands to the API, the commands and the workers; pure data, no Redis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from mailerd.outcome import State


class Admission(StrEnum):
    """What became of an attempt to enqueue."""

    QUEUED = "queued"
    REPLAYED = "replayed"  # the same batch with the same content is known; nothing was queued
    CONFLICT = "conflict"  # the batch is known with other content
    FOREIGN = "foreign"  # the batch is known from a job that another program pushed
    FULL = "full"  # queue.max_length is reached


@dataclass(frozen=True, slots=True)
class Enqueued:
    """The answer to an enqueue: what happened, and how many distinct contacts the batch has."""

    admission: Admission
    recipients: int


class BatchState(StrEnum):
    """The state of a whole batch, derived from its recipients' states."""

    QUEUED = "queued"
    SENDING = "sending"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    NEEDS_ATTENTION = "needs_attention"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class BatchView:
    """
    One batch as users see it, from one read of its counters.

    ``counts`` holds every state that occurs; its sum is ``recipients``. Times are seconds since 1970 by
    the server's clock; ``finished_at`` is None while a recipient is open. ``waiting_for`` says in words
    what holds it up, where something does.
    """

    batch_id: str
    client_id: str
    template_id: str
    state: BatchState
    recipients: int
    counts: Mapping[State, int]
    created_at: float
    finished_at: float | None
    waiting_for: str | None

    def to_json(self) -> dict[str, Any]:
        """The batch in the fields that the API and the commands show, ready for JSON."""
        return {
            "batch_id": self.batch_id,
            "client_id": self.client_id,
            "template_id": self.template_id,
            "state": self.state,
            "recipients": self.recipients,
            "counts": self.counts,
            "created_at": rfc_3339(self.created_at),
            "finished_at": None if self.finished_at is None else rfc_3339(self.finished_at),
            "waiting_for": self.waiting_for,
        }


def rfc_3339(seconds: float) -> str:
    """A time (seconds since 1970) as JSON shows it: RFC 3339, in UTC, with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class RecipientView:
    """
    One recipient as users see it; ``time`` is when its state was last set (seconds since 1970).

    ``message_id`` is that of its mail, None as long as none was made.
    """

    contact_id: str
    state: State
    reason: str
    time: float
    message_id: str | None

    def to_json(self) -> dict[str, Any]:
        """The recipient in the fields that the API and the commands show, ready for JSON."""
        return {
            "contact_id": self.contact_id,
            "state": self.state,
            "reason": self.reason,
            "message_id": self.message_id,
            "time": rfc_3339(self.time),
        }


@dataclass(frozen=True, slots=True)
class BatchPage:
    """Some batches, the newest first; ``next`` is the cursor of the next page, None at the end."""

    batches: tuple[BatchView, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class RecipientPage:
    """Some recipients, in no order; ``next`` is the cursor of the next page, None at the end."""

    recipients: tuple[RecipientView, ...]
    next: str | None


class Action(StrEnum):
    """What an operator may do with a whole batch."""

    CANCEL = "cancel"
    PAUSE = "pause"
    RESUME = "resume"
    RETRY = "retry"


class Effect(StrEnum):
    """What an operator's word came to."""

    DONE = "done"
    NOTHING = "nothing"  # there was nothing to do
    UNKNOWN = "unknown"  # no such batch


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A job that nobody will work on any more: the producer's bytes, and why."""

    letter_id: str
    reason: str
    died_at: float
    raw: bytes


@dataclass(frozen=True, slots=True)
class UnknownRecipient:
    """A recipient whose mail was handed over and whose answer is lost; ``message_id`` as mailerd wrote it."""

    client_id: str
    batch_id: str
    contact_id: str
    since: float
    message_id: str | None


class Resolution(StrEnum):
    """What an operator found out about a recipient of unknown outcome."""

    SENT = "sent"
    FAILED = "failed"
    RESEND = "resend"


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """The queue at one moment: jobs waiting, put aside until due, dead, and the workers that live."""

    length: int
    put_aside: int
    dead: int
    workers: tuple[WorkerView, ...]


@dataclass(frozen=True, slots=True)
class WorkerView:
    """A registered incarnation: where it runs, whether its lease lives, how many jobs it holds."""

    incarnation: str
    host: str
    pid: int
    alive: bool
    in_hand: int
