"""
What became of one recipient: the values that the senders return and the ledger keeps.

Pure data and the rules between states; knows no transport and no Redis. ``State`` is what users see in
counts and listings, ``Outcome`` is what one attempt to deliver came to, ``RetryPolicy`` says what follows
from it.
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


# The part of a pause between two attempts that chance takes away at most.
SPREAD = 0.05

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
    REFUSED = "refused"  # the route wants nothing from us (login, sender): likewise, and for longer
    THROTTLED = "throttled"  # refused for our rate: as if never tried, and the fleet slows down
    OVER_QUOTA = "over_quota"  # refused for what we have sent today: likewise, and the fleet waits


# Outcomes that say that the route is out of order.
OUT_OF_ORDER = frozenset({Kind.BLOCKED, Kind.REFUSED})
# Outcomes that say how much the route takes.
SLOWER = frozenset({Kind.THROTTLED, Kind.OVER_QUOTA})


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    What one attempt to deliver to one recipient came to.

    ``reason`` is never empty and is what users read: the server's own words where there are any, on one
    line, without the recipient's address. ``provider_id`` is the id that the transport's server gave.
    ``wait``: whom the server puts off for long need not be tried sooner (seconds). ``in_doubt``: it may have
    the mail although it is to be sent again, since the answer was lost.
    """

    kind: Kind
    reason: str
    provider_id: str = ""
    wait: float = 0.0
    in_doubt: bool = False

    def __post_init__(self) -> None:
        if not self.reason:
            raise ValueError("an outcome says why")

    @property
    def lasting(self) -> Kind:
        """What a Redis that forgets it is told: sent, unknown, or withheld (there is no mail of it)."""
        if self.in_doubt:
            return Kind.UNKNOWN
        return self.kind if self.kind in (Kind.SENT, Kind.UNKNOWN) else Kind.WITHHELD


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a provider grants our account: 0 is any number. ``sent``: in the last 24 hours, by anybody."""

    per_second: float = 0.0
    per_day: int = 0
    sent: int = 0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """
    What follows from an outcome. All times in seconds.

    ``delays``: the pause after the first, second, ... deferral, the last one for all further ones; each is
    shortened by up to a twentieth, so that those who were deferred in one moment do not all come back in one.
    ``max_age``: how long after its first deferral a recipient is still tried. ``resend``: those whose answer
    was lost are sent again, under the same Message-ID, instead of being held for somebody to look at.
    """

    delays: tuple[float, ...]
    max_age: float
    resend: bool

    def after(self, outcome: Outcome, attempts: int, age: float, chance: float) -> tuple[Outcome, float]:
        """
        What is to be booked, and when a deferred recipient is due again.

        ``attempts`` before this one; ``age`` since the first deferral, 0 if there was none. ``chance``, from
        0 to 1, shortens the pause; recipients with the same one share a job. Whose answer was lost does not
        expire: it is due again, or unknown.
        """
        if outcome.kind is Kind.UNKNOWN and self.resend:
            reason = f"sent again, as mail.unknown says: {outcome.reason}"
            again = Outcome(Kind.DEFERRED, reason, in_doubt=True)
            booked, pause = self.after(again, attempts, age, chance)
            return (again, pause) if booked is again else (outcome, 0.0)
        if outcome.kind is not Kind.DEFERRED:
            return outcome, 0.0
        delay = max(self.delays[min(attempts, len(self.delays) - 1)], outcome.wait)
        if age + delay > self.max_age:
            return Outcome(Kind.EXPIRED, f"given up after {attempts + 1} attempts: {outcome.reason}"), 0.0
        return outcome, max(delay * (1 - SPREAD * chance), outcome.wait)
