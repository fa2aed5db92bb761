"""What a contact is, and what a source of contacts promises; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mailerd.outcome import Outcome

NO_SUCH_CONTACT = "no such contact: "  # how the reason begins where nobody has that id


@dataclass(frozen=True, slots=True)
class Contact:
    """
    One contact as the batch names it.

    ``email`` is a valid SMTP address in ASCII; ``fields`` are the columns of its row but for ``suppressed``,
    with ``id`` as the batch spells it; ``suppressed`` means: must not be written to.
    """

    id: str
    email: str
    fields: Mapping[str, Any]
    suppressed: bool = False

    def variables(self, common: Mapping[str, Any], client_id: str, batch_id: str) -> dict[str, Any]:
        """What its mail's template may use; ``common`` are the batch's own variables."""
        fields = dict(self.fields)
        return {**common, **fields, "batch_id": batch_id, "client_id": client_id, "contact": fields}


class ContactSource(Protocol):
    """Where contacts come from; for one thread at a time."""

    def lookup(self, contact_ids: Sequence[str]) -> Mapping[str, Contact | Outcome]:
        """
        An entry for every id asked: the contact, or the outcome of not being one.

        Raises ``ContactsUnavailable`` where nobody can tell now.
        """

    def close(self) -> None:
        """Let go of the database; the source can be used again."""
