"""
Who a contact id is: by a named query of the configuration, or an address that is its own contact.

A contact that is missing or has no usable address is that contact's outcome; a database that is away, wedged
or asked the wrong question is ``ContactsUnavailable``, nobody's fault. Called by ``delivery``.
"""

from __future__ import annotations

from mailerd.config import Config
from mailerd.contacts.addresses import AddressContacts
from mailerd.contacts.source import NO_SUCH_CONTACT, Contact, ContactSource

__all__ = ["NO_SUCH_CONTACT", "Contact", "ContactSource", "open_contacts"]


def open_contacts(config: Config) -> ContactSource:
    """
    The source that the configuration asks for; connects to nothing yet.

    Raises ``ConfigurationError`` where it cannot be used. What is not used is not imported.
    """
    if config.contacts is None:
        return AddressContacts()
    from mailerd.contacts.sql import SqlContacts  # noqa: PLC0415 - see above

    return SqlContacts(config.contacts)
