"""What the board tells, as values; pure data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from mailerd.outcome import Kind, Outcome


class SlotState(IntEnum):
    """What the worker of a slot is doing."""

    EMPTY = 0
    BOOTING = 1
    IDLE = 2
    WORKING = 3
    SENDING = 4
    WAITING = 5
    LEAVING = 6


class Phase(IntEnum):
    """How far one recipient of the group in hand has come."""

    CLAIMED = 1
    HANDED_OVER = 2
    OUTCOME = 3


@dataclass(frozen=True, slots=True)
class Group:
    """The recipients that a worker takes in hand together."""

    client_id: str
    batch_id: str
    contact_ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class RecipientRemains:
    """How far one recipient had come; ``outcome`` is there in the phase OUTCOME only."""

    contact_id: str
    phase: Phase
    outcome: Outcome | None


@dataclass(frozen=True, slots=True)
class GroupRemains:
    """The group that was in hand."""

    client_id: str
    batch_id: str
    recipients: tuple[RecipientRemains, ...]


@dataclass(frozen=True, slots=True)
class Answered:
    """
    What claims of one batch came to: sent, unknown, withheld (has no mail), or None without an answer yet.

    ``at`` is when (seconds since the epoch).
    """

    at: float
    incarnation: str
    client_id: str
    batch_id: str
    outcomes: tuple[tuple[str, Kind | None], ...]


@dataclass(frozen=True, slots=True)
class Remains:
    """What a dead incarnation left: the group that it had in hand, if any."""

    incarnation: str
    group: GroupRemains | None

    @property
    def got_anywhere(self) -> bool:
        """Whether somebody was handed over: then neither job nor worker was stuck, the job got shorter."""
        group = self.group
        return group is not None and any(one.phase is not Phase.CLAIMED for one in group.recipients)

    def answered(self, now: float) -> Answered | None:
        """The same for the ring, as the last word of this incarnation: nobody is in its hand any more."""
        group = self.group
        if group is None:
            return None
        outcomes = tuple((one.contact_id, _last_word(one)) for one in group.recipients)
        return Answered(now, self.incarnation, group.client_id, group.batch_id, outcomes)


@dataclass(frozen=True, slots=True)
class Death:
    """The end of a worker: ``how`` says it in words (``exit code 0``, ``killed by SIGKILL``)."""

    slot: int
    incarnation: str
    remains: Remains
    how: str


def _last_word(one: RecipientRemains) -> Kind:
    if one.phase is Phase.HANDED_OVER:
        return Kind.UNKNOWN
    kind = one.outcome.kind if one.outcome else Kind.WITHHELD
    return kind if kind in (Kind.SENT, Kind.UNKNOWN) else Kind.WITHHELD


def remains_from(kept: dict[str, Any]) -> Remains:
    """The remains that ``dataclasses.asdict`` and JSON have made of them."""
    group = kept["group"]
    if group is None:
        return Remains(kept["incarnation"], None)
    recipients = tuple(_recipient_from(recipient) for recipient in group["recipients"])
    return Remains(kept["incarnation"], GroupRemains(group["client_id"], group["batch_id"], recipients))


def _recipient_from(kept: dict[str, Any]) -> RecipientRemains:
    outcome = kept["outcome"]
    return RecipientRemains(
        contact_id=kept["contact_id"],
        phase=Phase(kept["phase"]),
        outcome=outcome and Outcome(Kind(outcome["kind"]), outcome["reason"], outcome["provider_id"]),
    )
