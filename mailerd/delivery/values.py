"""
What ``delivery`` is given and what it gives back: the letter, the recipients, how the pass ended.

Values and what follows from them alone; knows no ledger and no transport. Used by ``delivery`` and ``work``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from mailerd.contacts import Contact
from mailerd.errors import RenderFailed
from mailerd.message import Composer, Message
from mailerd.outcome import OUT_OF_ORDER, Kind, Outcome, RetryPolicy
from mailerd.queue.keys import Batch
from mailerd.queue.limiter import Limiter
from mailerd.queue.limits import Wait
from mailerd.render import Template
from mailerd.transports import Session


class End(Enum):
    """How a pass over some recipients ended."""

    DONE = auto()
    STOPPED = auto()  # told to stop, or not sure of the lease: the rest is untouched
    PAUSED = auto()  # the batch was paused: the rest is untouched
    CANCELLED = auto()  # the batch was cancelled: nobody of the rest is handed over any more
    BLOCKED = auto()  # the route or the contact database is out of order: the rest is untouched
    REFUSED = auto()  # the same, and asking again may make it worse
    LIMITED = auto()  # the fleet has handed over what the route gets for now: the rest is untouched


# Outcomes of attempts in which nothing was handed over.
NO_HAND_OVER = OUT_OF_ORDER | {Kind.WITHHELD}


def end_of(kind: Kind) -> End:
    """How an attempt that found the route out of order ends a pass: the two have one name."""
    return End[kind.name]


@dataclass(frozen=True, slots=True)
class Pass:
    """
    The end of a pass.

    ``reason`` says what blocked it, for so many ``seconds`` where that is known; ``busy`` are in another
    worker's hand; ``held_up`` wait for a limit of their client or their domain, each with what it is.
    """

    end: End
    reason: str = ""
    busy: tuple[str, ...] = ()
    seconds: float = 0.0
    held_up: tuple[tuple[str, Wait], ...] = ()


@dataclass(frozen=True, slots=True)
class Way:
    """How mails leave: over a session of so many connections, as fast as the limiter lets the fleet."""

    session: Session
    connections: int
    limiter: Limiter


@dataclass(frozen=True, slots=True)
class Letter:
    """What a batch sends: its template as pinned, its composer, its variables, its retry policy."""

    template: Template
    composer: Composer
    variables: Mapping[str, object]
    policy: RetryPolicy
    batch: Batch

    def message(self, contact: Contact, now: float) -> Message | Outcome:
        """The mail to one contact, or why it gets none."""
        variables = contact.variables(self.variables, self.batch.client_id, self.batch.batch_id)
        try:
            rendered = self.template.render(variables)
        except RenderFailed as failure:
            return Outcome(Kind.FAILED, str(failure))
        return self.composer.compose(contact.id, contact.email, rendered, now)


@dataclass(frozen=True, slots=True)
class Work:
    """
    Recipients of one batch who are to get the letter.

    ``retry``: they were deferred and are due. ``called``: they stood in line for a limit.
    """

    letter: Letter
    jid: str
    contact_ids: tuple[str, ...]
    retry: bool
    called: bool


def variables_of(variables_json: str) -> dict[str, object]:
    """A batch's template variables from the form in which the ledger keeps them."""
    variables: dict[str, object] = json.loads(variables_json)
    return variables
