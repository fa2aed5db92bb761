"""
What can be said of a batch before any of its mails is made: its template's parts, its sender, its signature.

Pure; asks no DNS. Called by ``examine.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from email.utils import parseaddr

from mailerd.config import Config
from mailerd.message import MailSettings
from mailerd.preflight.findings import Remark, Severity
from mailerd.render import TemplateSource

_BULK = 5000  # mails a day from which on Gmail and Yahoo ask for one-click unsubscribing
_SHORT = 3  # letters of the com in com.au
# Their owners tell everybody (DMARC) to refuse mail in their name that they did not send.
_FREE_MAIL = frozenset(
    {"gmail.com", "googlemail.com", "yahoo.com", "outlook.com", "hotmail.com", "live.com", "aol.com"}
    | {"icloud.com", "gmx.de", "gmx.net", "web.de", "mail.ru"}
)

Said = Iterator[tuple[Remark, str]]


def _warning(about: str, what: str, advice: str) -> Remark:
    return Remark(Severity.WARNING, about, what, advice)


DISCARDED = _warning(
    "transport.none", "mail.transport is none: jobs are logged and nobody gets mail", "set mail.transport"
)
REDIRECTED = _warning(
    "mail.redirected",
    "mail.redirect_to is set: every mail goes to that one address",
    "take it out of the configuration before the real batch",
)
SUBJECT_LINES = _warning(
    "subject.lines",
    "subject.txt has several lines, which become one with a space between them",
    "keep the first, or write it in one line",
)
DERIVED = Remark(
    Severity.NOTE,
    "text.derived",
    "there is no body.txt: the text part is made of the HTML",
    "read it in a mail to yourself (transport outbox); a body.txt takes its place",
)
NO_UNSUBSCRIBE = _warning(
    "unsubscribe.missing",
    f"there is no List-Unsubscribe: from {_BULK:,} mails a day on Gmail and Yahoo ask for it",
    'mail.toml: [headers] List-Unsubscribe = "<https://example.com/u/{{ token }}>" and '
    'List-Unsubscribe-Post = "List-Unsubscribe=One-Click"',
)
NOT_ONE_CLICK = Remark(
    Severity.NOTE,
    "unsubscribe.one_click",
    "List-Unsubscribe stands without List-Unsubscribe-Post: readers have no one-click button",
    'mail.toml: List-Unsubscribe-Post = "List-Unsubscribe=One-Click", once that link answers a POST',
)
NO_FROM = _warning("from.missing", "there is no sender: neither mail.from nor from in mail.toml", "set one")
FREE_MAIL = _warning(
    "from.free_mail",
    "the From is at a free-mail provider, in whose name other servers' mail is refused (DMARC)",
    "send from a domain of your own",
)
UNALIGNED = _warning(
    "from.unaligned",
    "neither the envelope sender nor a DKIM key is of the From's domain: DMARC fails unless a relay signs",
    "give a [[mail.dkim]] key for the From's domain, or a mail.envelope_from in it",
)
UNSIGNED = Remark(
    Severity.NOTE,
    "from.unsigned",
    "no DKIM key is for the From's domain: the mail is unsigned unless a relay signs it",
    "give a [[mail.dkim]] key for that domain",
)


def remarks_on_settings(config: Config) -> Said:
    """What there is to say of the configuration, whatever the template; each with the value that is meant."""
    if config.mail.transport == "none":
        yield DISCARDED, ""
    if config.mail.redirect_to:
        yield REDIRECTED, config.mail.redirect_to


def remarks_on(config: Config, source: TemplateSource, settings: MailSettings, recipients: int) -> Said:
    """What there is to say of the template and its sender."""
    if len(source.files["subject.txt"].strip().splitlines()) > 1:
        yield SUBJECT_LINES, source.files["subject.txt"].strip().replace("\n", " / ")
    if "body.txt" not in source.files:
        yield DERIVED, ""
    yield from _unsubscribe(settings, recipients)
    yield from _from(config, settings)


def _unsubscribe(settings: MailSettings, recipients: int) -> Said:
    names = {name.lower() for name in (*settings.headers, *settings.varying)}
    if "list-unsubscribe" not in names:
        if recipients >= _BULK:
            yield NO_UNSUBSCRIBE, ""
    elif "list-unsubscribe-post" not in names:
        yield NOT_ONE_CLICK, ""


def _from(config: Config, settings: MailSettings) -> Said:
    mail = config.mail
    sender = settings.from_ or mail.from_
    domain = _domain(sender)
    if not domain:
        yield NO_FROM, ""
        return
    if domain in _FREE_MAIL:
        yield FREE_MAIL, domain
    # SES signs by itself, and the envelope is its own.
    if mail.transport == "ses" or any(key.covers(sender) for key in mail.dkim):
        return
    envelope = _domain(mail.envelope_from or sender)
    if not aligned(envelope, domain):
        yield UNALIGNED, f"From {domain}, envelope {envelope}"
    elif mail.transport == "smtp":
        yield UNSIGNED, domain


def aligned(one: str, other: str) -> bool:
    """Whether DMARC (relaxed) takes two domains for the same owner's."""
    below = f".{one}".endswith(f".{other}") or f".{other}".endswith(f".{one}")
    return below or _organisation(one) == _organisation(other)


def _organisation(domain: str) -> str:
    # A close guess at the public suffix list: of two short labels at the end (co.uk) the one before counts.
    labels = domain.split(".")
    suffix = 2 if len(labels[-1]) == 2 and len(labels[-2:][0]) <= _SHORT else 1  # noqa: PLR2004 - a country's
    return ".".join(labels[-suffix - 1 :])


def _domain(mailbox: str) -> str:
    return parseaddr(mailbox)[1].rpartition("@")[2].lower()
