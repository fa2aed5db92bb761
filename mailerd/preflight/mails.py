"""One mail as it would be sent, judged. Pure; called by ``examine.py`` for each recipient."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mailerd.message import MailSettings, Rendered
from mailerd.preflight import links
from mailerd.preflight.findings import Remark, Severity

_CLIPPED = 102 * 1024  # bytes of HTML of which Gmail shows the beginning
_LARGE = 10_240_000  # Postfix's default message_size_limit
_SES_LARGE = 40 * 2**20
_LONG_SUBJECT = 78
_HTTPS = re.compile(r"<https://[^<>\s]+>")

LONG_SUBJECT = Remark(
    Severity.NOTE,
    "subject.long",
    f"the subject has more than {_LONG_SUBJECT} characters",
    "phones show the first 30 to 60: say there what it is about",
)
PLACEHOLDER = Remark(
    Severity.WARNING,
    "mail.placeholder",
    "a placeholder is left in the words",
    "write the variable as {{ name }} in the template; what stands in a value is not rendered",
)
NO_TEXT = Remark(
    Severity.WARNING,
    "text.empty",
    "the text part is empty: filters take a mail of pictures alone for spam",
    "write a body.txt, or words into the HTML",
)
CLIPPED = Remark(
    Severity.WARNING,
    "size.clipped",
    "the HTML has more than 102 KB: Gmail clips it, and with it the unsubscribe link",
    "make it shorter; what lists make long can go behind a link",
)
LARGE = Remark(
    Severity.WARNING,
    "size.large",
    "the mail has more than 10 MB, which many servers refuse",
    "put what is large behind a link",
)
TOO_LARGE = Remark(
    Severity.PROBLEM,
    "size.too_large",
    "the mail has more than 40 MB, which Amazon SES refuses",
    "put what is large behind a link",
)
UNSUBSCRIBE = Remark(
    Severity.WARNING,
    "unsubscribe.https",
    "List-Unsubscribe has no https link: Gmail and Yahoo show no button",
    'mail.toml: List-Unsubscribe = "<https://example.com/u/{{ token }}>" and '
    'List-Unsubscribe-Post = "List-Unsubscribe=One-Click"',
)


def remarks_on(
    rendered: Rendered, settings: MailSettings, size: int, *, has_text: bool, by_ses: bool
) -> dict[Remark, str]:
    """
    What there is to say of one mail, with the piece of it that is meant.

    ``size``: the bytes of the whole, as far as known; ``has_text``: its text is the template's own.
    """
    texts = (rendered.subject, rendered.html or "", rendered.text if has_text else "")
    found: dict[Remark, str] = {}
    for remark, piece in _each(rendered, settings, size, texts, by_ses=by_ses):
        found.setdefault(remark, piece)
    return found


def _each(
    rendered: Rendered, settings: MailSettings, size: int, texts: tuple[str, ...], *, by_ses: bool
) -> Iterator[tuple[Remark, str]]:
    if len(rendered.subject) > _LONG_SUBJECT:
        yield LONG_SUBJECT, rendered.subject
    if not rendered.text.strip():
        yield NO_TEXT, ""
    if rendered.html and len(rendered.html.encode("utf-8", "replace")) > _CLIPPED:
        yield CLIPPED, f"{len(rendered.html) // 1024:,} KB"
    if size > _LARGE:
        yield (TOO_LARGE if by_ses and size > _SES_LARGE else LARGE), f"{size / 1e6:,.1f} MB"
    where_links_are = [*links.in_html(rendered.html or ""), *links.in_text(texts[-1])]
    for link in where_links_are:
        if remark := links.remark_on(link):
            yield remark, link or "(empty)"
    yield from _placeholders(texts, where_links_are)
    unsubscribe = _header("list-unsubscribe", rendered, settings)
    if unsubscribe is not None and not _HTTPS.search(unsubscribe):
        yield UNSUBSCRIBE, unsubscribe


def _placeholders(texts: tuple[str, ...], known: list[str]) -> Iterator[tuple[Remark, str]]:
    for text in texts:
        for found in links.PLACEHOLDER.finditer(text):
            piece = text[found.start() : found.start() + 40].split("\n", 1)[0]
            if not any(piece[:12] in link for link in known):  # what stands in a link is told as that
                yield PLACEHOLDER, piece


def _header(name: str, rendered: Rendered, settings: MailSettings) -> str | None:
    values = {each.lower(): value for each, value in (*settings.headers.items(), *rendered.headers.items())}
    return values.get(name)
