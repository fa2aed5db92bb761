"""
The jobs in a worker's hand, parsed once, and which of them go together. Pure; called by worker and handler.

Short jobs of one batch that lie side by side are opened, admitted and delivered together: to the ledger they
are a few recipients more, and each stays a claim of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from mailerd.errors import JobRejected
from mailerd.job import EmailJob
from mailerd.queue.claims import Claim
from mailerd.queue.payloads import Slice, Ticket, parse

Payload = EmailJob | Ticket | Slice | JobRejected
# The claims of jobs that are worked off together, the oldest first.
Together = tuple[Claim, ...]


@dataclass(frozen=True, slots=True)
class Held:
    """A job in hand and what it says; ``contacts`` are a producer's job's recipients, each once."""

    claim: Claim
    payload: Payload
    contacts: tuple[str, ...] = ()

    @classmethod
    def of(cls, claim: Claim, longest: int) -> Held:
        """The job of a claim; what is none, or has more than ``longest`` bytes, says why."""
        try:
            payload = parse(claim.raw, longest)
        except JobRejected as rejected:
            return cls(claim, rejected)
        return cls(claim, payload, payload.distinct() if isinstance(payload, EmailJob) else ())

    def goes_with(self, first: EmailJob) -> bool:
        """Whether it says the same of the same batch."""
        mine = self.payload
        return (
            isinstance(mine, EmailJob)
            and mine.batch_id == first.batch_id
            and mine.client_id == first.client_id
            and mine.template_id == first.template_id
            and (mine.variables or {}) == (first.variables or {})
            and mine.expires_at == first.expires_at
        )


def together(held: deque[Held], first: EmailJob, most: int) -> list[Held]:
    """
    Take the first job from ``held``, and those behind it that go with it: ``most`` recipients in all.

    The same bytes twice are two jobs, each worked off for itself.
    """
    taken = [held.popleft()]
    recipients, jids = len(taken[0].contacts), {taken[0].claim.jid}
    while held and held[0].goes_with(first) and recipients + len(held[0].contacts) <= most:
        if held[0].claim.jid in jids:
            break
        recipients += len(held[0].contacts)
        jids.add(held[0].claim.jid)
        taken.append(held.popleft())
    return taken


def claims_of(taken: Sequence[Held]) -> Together:
    """Their claims."""
    return tuple(each.claim for each in taken)


def everybody(taken: Sequence[Held]) -> dict[str, None]:
    """The recipients of these jobs, each once."""
    return dict.fromkeys(contact for each in taken for contact in each.contacts)
