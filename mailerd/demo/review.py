"""
Whether what arrived is what was sent: every mail once, whole, with the right headers.

Reads the catcher's files with the standard library's parser, which shares no code with ``message.py``. Pure
but for reading; called by ``cli/demo.py``.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from mailerd.demo.people import Person
from mailerd.demo.stage import SENDER

MAX_LINE = 998  # RFC 5322, 2.1.1
_ONCE = ("From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Reply-To", "List-Id")
_LONG_LINE = "".join(f"{number} tulips, " for number in range(1, 201)) + "and no more."
_TEXT = ("\n.dotted\n", "\n.\n", _LONG_LINE)

JOB: Mapping[str, Any] = {
    "client_id": "demo",
    "template_id": "spring",
    "variables": {
        "shop": "Blümchen & Söhne",
        "season": "Spring",
        "offers": [
            {"flower": "Tulips “Queen of the Night”", "price": "4,90 €"},
            {"flower": "Narcissi «Tête-à-tête»", "price": "3,50 €"},
            {"flower": "向日葵 (sunflowers)", "price": "¥ 980"},
        ],
    },
}


def complaints(mails: Path, batch_id: str, people: Sequence[Person]) -> list[str]:
    """What is wrong with the mails of this batch, one sentence each; nothing where all arrived intact."""
    by_address = {person.email: person for person in people}
    arrived: dict[str, str] = {}
    found = []
    for path in sorted(mails.glob("*.eml")):
        raw = path.read_bytes()
        mail = message_from_bytes(raw, policy=policy.default)
        if batch_id not in _part(mail, "plain"):
            continue
        address = str(mail["Delivered-To"])
        if address in arrived:
            found.append(f"{address} got a second mail: {path.name}")
        arrived[address] = str(mail["Message-ID"])
        if address not in by_address:
            found.append(f"{address} should have got nothing: {path.name}")
        else:
            found += [f"{path.name}: {wrong}" for wrong in _faults(raw, mail, by_address[address])]
    found += [f"{address} got nothing" for address in by_address if address not in arrived]
    if len(set(arrived.values())) != len(arrived):
        found.append("two mails have the same Message-ID")
    return found


def _faults(raw: bytes, mail: EmailMessage, person: Person) -> Iterator[str]:
    if any(len(line) > MAX_LINE for line in raw.split(b"\r\n")):
        yield f"has a line over {MAX_LINE} bytes"
    if mail.defects or any(part.defects for part in mail.walk()):
        yield "is no well-formed mail"
    for name in _ONCE:
        if len(mail.get_all(name, [])) != 1:
            yield f"has {len(mail.get_all(name, []))} headers {name}"
    yield from (f"{name} is {mail[name]}" for name, value in _headers(person) if str(mail[name]) != value)
    text, page = _part(mail, "plain"), html.unescape(_part(mail, "html"))
    for piece in (*_words(person), *_TEXT):
        if piece not in text:
            yield f"the text lacks {piece[:40]!r}"
    for piece in (*_words(person), _LONG_LINE):
        if piece not in page:
            yield f"the page lacks {piece[:40]!r}"


def _headers(person: Person) -> tuple[tuple[str, str], ...]:
    variables = JOB["variables"]
    return (
        ("From", SENDER),
        ("To", person.email),
        ("Subject", f"{variables['season']} at {variables['shop']}: 10 % off for {person.name} 🌷"),
    )


def _words(person: Person) -> tuple[str, ...]:
    offers = JOB["variables"]["offers"]
    return (
        f"Dear {person.name},",
        person.city,
        *(offer[key] for offer in offers for key in ("flower", "price")),
    )


def _part(mail: EmailMessage, subtype: str) -> str:
    part = mail.get_body((subtype,))
    return part.get_content().replace("\r\n", "\n") if part else ""
