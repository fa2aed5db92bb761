"""
The composer: makes the mails of one batch from what is prepared once and what differs.

Everything that can end up in a header passes ``mailbox``, ``header`` or ``line``, so that nobody's text adds
a header of its own. Called by ``delivery``, and by ``work`` once per batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache

from mailerd.config import Mail
from mailerd.errors import ConfigurationError, Problem
from mailerd.message.addresses import mailbox
from mailerd.message.body import body
from mailerd.message.dkim import Signer
from mailerd.message.headers import header, line
from mailerd.message.rendered import Rendered
from mailerd.message.settings import MailSettings


@dataclass(frozen=True, slots=True)
class Message:
    """
    A finished mail to one recipient.

    ``sender`` and ``recipient`` are the envelope's addresses, ASCII without brackets; ``content`` is the
    whole mail with CRLF, ending in CRLF, 7-bit, no line over 998. Where it belongs: ``batch_id``,
    and for providers that report on a mail by what it was tagged with, ``client_id`` and ``contact_id``.
    """

    sender: str
    recipient: str
    content: bytes
    message_id: str
    batch_id: str
    client_id: str = ""
    contact_id: str = ""


class Composer:
    """
    Makes the mails of one batch.

    With ``mail.redirect_to`` each goes there instead of to its recipient, who is named in a header only.
    Raises ``ConfigurationError`` where ``mail.from``, ``mail.envelope_from`` or ``mail.redirect_to`` cannot
    stand in a mail.
    """

    def __init__(
        self,
        mail: Mail,
        settings: MailSettings,
        *,
        client_id: str,
        batch_id: str,
        template_id: str,
        signer: Signer | None = None,
    ) -> None:
        from_line, from_address = _configured("mail.from", settings.from_ or mail.from_)
        self._client_id = client_id
        self._batch_id = batch_id
        self._domain = message_id_domain(mail, settings)
        self._signer = (signer or Signer()).on_behalf_of(from_address)
        self._sender = from_address
        if mail.envelope_from:
            self._sender = _configured("mail.envelope_from", mail.envelope_from)[1]
        self._redirect_to = ""
        if mail.redirect_to:
            self._redirect_to = _configured("mail.redirect_to", mail.redirect_to)[1]
        standing = {
            "MIME-Version": b"1.0",
            "Auto-Submitted": b"auto-generated",  # RFC 3834: no holiday notes back
            "Feedback-ID": f"{batch_id}:{template_id}:{client_id}:mailerd".encode(),
        }
        if settings.reply_to:
            standing["Reply-To"] = mailbox(settings.reply_to)[0]
        self._from = b"From: " + from_line + b"\r\nTo: "
        self._standing = b"\r\n" + _lines(standing, settings)

    def compose(self, contact_id: str, recipient: str, rendered: Rendered, now: float) -> Message:
        """The mail to ``recipient`` (as ``address`` gives it); ``now`` in seconds since 1970."""
        identity = message_id(self._client_id, self._batch_id, contact_id, self._domain)
        addressee = self._redirect_to or recipient
        meant = b"\r\nX-Mailerd-Original-To: " + recipient.encode("ascii") if self._redirect_to else b""
        described, content = body(rendered)
        lines = (
            self._from,
            addressee.encode("ascii"),
            meant,
            b"\r\nSubject: ",
            header(rendered.subject),
            b"\r\nDate: ",
            _date(int(now)),
            b"\r\nMessage-ID: ",
            identity.encode(),
            self._standing,
            _each(rendered.headers),
            described,
        )
        head = b"".join(lines)
        whole = b"".join((self._signer.signatures(head, content, now), head, b"\r\n", content))
        batch, client = self._batch_id, self._client_id
        return Message(self._sender, addressee, whole, identity, batch, client, contact_id)


def message_id_domain(mail: Mail, settings: MailSettings) -> str:
    """The domain of a template's Message-IDs: its sender's. Raises ``ConfigurationError`` as ``Composer``."""
    return _configured("mail.from", settings.from_ or mail.from_)[1].rpartition("@")[2]


def message_id(client_id: str, batch_id: str, contact_id: str, domain: str) -> str:
    """The Message-ID, with its brackets: the same for every attempt to send this contact this batch."""
    key = f"{client_id}\n{batch_id}\n{contact_id}"
    return f"<{hashlib.sha256(key.encode()).hexdigest()[:40]}@{domain}>"


@lru_cache(maxsize=1)
def _date(seconds: int) -> bytes:
    # Many mails are made within one second.
    return format_datetime(datetime.fromtimestamp(seconds, UTC)).encode()


def _configured(key: str, value: str) -> tuple[bytes, str]:
    try:
        return mailbox(value)
    except ValueError as error:
        raise ConfigurationError([Problem(key, str(error))]) from None


def _lines(standing: Mapping[str, bytes], settings: MailSettings) -> bytes:
    # The template may replace Auto-Submitted and Feedback-ID; a header never stands twice.
    replaced = {name.lower() for name in (*settings.headers, *settings.varying)}
    kept = [(name, value) for name, value in standing.items() if name.lower() not in replaced]
    return b"".join(f"{name}: ".encode() + value + b"\r\n" for name, value in kept) + _each(settings.headers)


def _each(headers: Mapping[str, str]) -> bytes:
    # One that is empty for this contact is left out: a header needs a value.
    return b"".join([line(name, value) + b"\r\n" for name, value in headers.items() if value])
