"""
What became of one recipient: the values that the senders return and the ledger keeps.

Pure data and the rules between states; knows no transport and no Redis. ``State`` is what users see in
counts and listings, ``Outcome`` is what one attempt to deliver came to.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """The state of a recipient, as the ledger counts it."""

    QUEUED = "queued"
    SENDING = "sending"
    DEFERRED = "deferred"
    UNKNOWN = "unknown"
    SENT = "sent"
    FAILED = "failed"
    INVALID = "invalid"
    SUPPRESSED = "suppressed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    DISCARDED = "discarded"


OPEN = frozenset({State.QUEUED, State.SENDING, State.DEFERRED})
FINAL = frozenset(State) - OPEN - {State.UNKNOWN}


class Kind(StrEnum):
    """What one attempt came to."""

    SENT = "sent"  # the server took it
    DEFERRED = "deferred"  # refused for now: counts as an attempt, tried again later
    FAILED = "failed"  # refused for good
    INVALID = "invalid"  # there is no such contact, or its address cannot be one
    SUPPRESSED = "suppressed"  # must not be written to
    EXPIRED = "expired"  # its time was over before it was sent
    DISCARDED = "discarded"  # transport "none": the job was logged, nothing was sent
    UNKNOWN = "unknown"  # handed over, and the answer is lost
    WITHHELD = "withheld"  # not handed over (stop, lapsed lease): as if never tried
    BLOCKED = "blocked"  # the route is out of order: as if never tried, and the route pauses


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    What one attempt to deliver to one recipient came to.

    ``reason`` is never empty and is what users read: the server's own words where there are any, on one
    line, without the recipient's address. ``provider_id`` is the id that the transport's server gave.
    """

    kind: Kind
    reason: str
    provider_id: str = ""

    def __post_init__(self) -> None:
        if not self.reason:
            raise ValueError("an outcome says why")
