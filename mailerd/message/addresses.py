"""
What an address is, and how it stands in a header.

The room of email-validator. Pure. Nobody's text becomes a second address, or a header, here.
"""

from __future__ import annotations

import re
from email.utils import getaddresses

import email_validator

from mailerd.message.headers import encoded_words, is_plain

# Mail to root@localhost and to intranets ending in .local is real; this list is the library's own switch.
email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()

# What nearly all are: the library takes each of these as it is, for a twentieth of a mail's whole time.
ORDINARY = re.compile(
    r"(?=[^@]{1,64}@)[a-z0-9_+-]+(?:\.[a-z0-9_+-]+)*"
    r"@(?:(?!..--)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}"
)
LONGEST = 254  # RFC 5321


def address(text: str) -> str:
    """
    ``text`` as an SMTP address (RFC 5321): ASCII, an international domain in its xn-- form.

    Raises ``ValueError`` with a sentence where it is none; a local part beyond ASCII is none, since only some
    servers (SMTPUTF8) could take it.
    """
    if len(text) <= LONGEST and ORDINARY.fullmatch(text):
        return text
    return checked_address(text)


def checked_address(text: str) -> str:
    """The same, by email-validator alone."""
    checked = email_validator.validate_email(
        text, check_deliverability=False, allow_smtputf8=False, globally_deliverable=False
    )
    if checked.ascii_email is None:
        raise ValueError("the address cannot be written in ASCII")
    return checked.ascii_email


def mailbox(text: str) -> tuple[bytes, str]:
    """
    ``Name <user@host>`` as the value of a header, and its address.

    Raises ``ValueError`` where it is no single mailbox.
    """
    ((name, found), *more) = getaddresses([text]) or [("", "")]
    if not found or more or not text.isprintable():
        raise ValueError(f'must be an address, such as "News <news@example.com>", not {text!r}')
    bare = address(found)
    if not name:
        return bare.encode(), bare
    if not is_plain(name):
        return encoded_words(name) + f"\r\n <{bare}>".encode(), bare
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}" <{bare}>'.encode(), bare
