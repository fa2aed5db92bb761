"""What the ledger is told and what it answers, as values; pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mailerd.outcome import Outcome
from mailerd.queue.keys import Batch


class Opening(StrEnum):
    """What opening a batch can come to, besides a lost lease."""

    OPEN = "ok"
    GONE = "gone"  # a slice of a batch that nobody knows
    ENDED = "ended"  # the batch ended long ago and was deleted


class Halt(StrEnum):
    """Why nobody of a batch is to be handed over now."""

    NONE = ""
    PAUSED = "paused"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class OpenBatch:
    """
    A batch as its workers need it. ``agrees``: the job has the batch's template and variables.

    ``pinned`` is the digest of the template that it is sent with, empty until its first claim; ``deaths``
    is how many workers in a row died with this job in hand and nobody settled; ``waited`` is how long ago it
    was enqueued (seconds), where this is the job that it was enqueued with; ``policy``, hold or resend, is
    what it was pinned to for unknown outcomes; ``jobs`` is how many were opened together.
    """

    batch: Batch
    template_id: str
    variables_json: str
    pinned: str
    deaths: int
    agrees: bool
    halt: Halt = Halt.NONE
    waited: float | None = None
    policy: str = ""
    jobs: int = 1


class Claimed(StrEnum):
    """The ledger's answer for one recipient who is to be claimed."""

    CLAIMED = "claimed"
    SETTLED = "settled"
    DEFERRED = "deferred"  # it has a small job of its own
    BUSY = "busy"  # another living incarnation has it in hand
    UNKNOWN = "unknown"  # a dead one had it in hand, or the answer was lost
    MISSING = "missing"  # no row: the batch was deleted under a forged or ancient slice


@dataclass(frozen=True, slots=True)
class ClaimAnswer:
    """``attempts`` and ``age`` (seconds since the first deferral) are for the claimed."""

    claimed: Claimed
    attempts: int = 0
    age: int = 0


@dataclass(frozen=True, slots=True)
class Booking:
    """What is to be booked for one recipient; ``delay`` (seconds) is for the deferred."""

    contact_id: str
    outcome: Outcome
    delay: float = 0.0
