"""What a template's ``mail.toml`` says about its mails, looked at before the first of them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from mailerd.message.addresses import mailbox
from mailerd.message.headers import fits

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,75}")
_OURS = re.compile(
    "(from|to|cc|bcc|sender|subject|date|message-id|reply-to|return-path|received|mime-version"
    "|dkim-signature|content-.*|resent-.*|x-mailerd-.*)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class MailSettings:
    """
    What is the template's own; empty means: as in the configuration.

    ``headers`` stand in every mail as they are, ``varying`` are templates, rendered for each contact. Raises
    ``ValueError`` with a sentence about the first thing that cannot stand in a mail.
    """

    from_: str = ""
    reply_to: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    varying: Mapping[str, str] = field(default_factory=dict)
    unknown: Literal["", "hold", "resend"] = ""

    def __post_init__(self) -> None:
        for key, value in (("from", self.from_), ("reply_to", self.reply_to)):
            if value:
                _check_mailbox(key, value)
        for name in (*self.headers, *self.varying):
            _check_name(name)
        for name, value in self.headers.items():
            _check_value(name, value)
        names = [name.lower() for name in (*self.headers, *self.varying)]
        if len(set(names)) < len(names):
            raise ValueError("headers: one of them stands twice")
        if "list-unsubscribe-post" in names and "list-unsubscribe" not in names:
            raise ValueError("headers: List-Unsubscribe-Post needs the List-Unsubscribe that it speaks of")


def _check_mailbox(key: str, value: str) -> None:
    try:
        mailbox(value)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(f"headers: {name!r} cannot be the name of a header")
    if _OURS.fullmatch(name):
        raise ValueError(f"headers: {name} is written by mailerd itself")


def _check_value(name: str, value: str) -> None:
    if not value.isprintable() or not value.strip():
        raise ValueError(f"headers: the value of {name} must be one line of text")
    if not fits(name, value):
        raise ValueError(f"headers: {name} is too long for one line")
