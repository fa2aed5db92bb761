"""Contacts without a database: an id that is an address is its own contact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mailerd.contacts.source import NO_SUCH_CONTACT, Contact
from mailerd.message import address
from mailerd.outcome import Kind, Outcome


class AddressContacts:
    """Without ``[contacts]``: a contact id that is an address is its own contact."""

    def lookup(self, contact_ids: Sequence[str]) -> Mapping[str, Contact | Outcome]:
        """See ``ContactSource``."""
        return {contact_id: self._contact(contact_id) for contact_id in contact_ids}

    def close(self) -> None:
        """See ``ContactSource``; there is nothing to let go of."""

    def _contact(self, contact_id: str) -> Contact | Outcome:
        try:
            email = address(contact_id)
        except ValueError:
            reason = "without [contacts] in the configuration an id must be an address"
            return Outcome(Kind.INVALID, NO_SUCH_CONTACT + reason)
        return Contact(contact_id, email, {"id": contact_id, "email": email})
