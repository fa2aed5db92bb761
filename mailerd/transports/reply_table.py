"""
What refusals of SMTP servers mean, as data: one row each, the first that fits holds.

Pure, and no policy but these rows: RFC 5321, 3463 and 4954, and what large providers say of their own
replies. A row names what it looks at (code, enhanced code, words of the text) and where that is known from.
The rows of ``smtp.replies`` come before these. Used by ``replies.py`` and shown by ``mailerd classify``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Meaning(StrEnum):
    """Whose matter a refusal is, and for how long; ``smtp.replies`` uses the same words."""

    DEFERRED = "deferred"  # this recipient, for now
    FAILED = "failed"  # this recipient or this mail, for good
    THROTTLE = "throttle"  # we send too fast
    QUOTA = "quota"  # we have sent too much, for hours
    ROUTE = "route"  # our login, sender or account: every mail would fare the same
    OUTAGE = "outage"  # the same, and not for long


@dataclass(frozen=True, slots=True)
class Rule:
    """
    One row. It fits where all hold that it names.

    ``code`` and ``enhanced`` are beginnings: "5" fits 550, "5.7" fits 5.7.1 but not 5.71. ``words`` stand in
    the text, in small letters, in any order. ``wait`` is how long a deferred recipient is left alone at least
    (seconds). ``source`` says where this is known from.
    """

    meaning: Meaning
    because: str
    source: str
    code: str = ""
    enhanced: str = ""
    words: tuple[str, ...] = ()
    wait: float = 0.0

    def fits(self, code: int, enhanced: str, text: str) -> bool:
        """Whether it says what this reply means; ``text`` in small letters."""
        return (
            str(code).startswith(self.code)
            and f"{enhanced}.".startswith(f"{self.enhanced}." if self.enhanced else "")
            and all(word in text for word in self.words)
        )

    @property
    def looks_at(self) -> str:
        """What it names, for people."""
        parts = [
            f"code {self.code}" if self.code else "",
            f"enhanced {self.enhanced}" if self.enhanced else "",
        ]
        return ", ".join(filter(None, [*parts, *(f'"{word}"' for word in self.words)]))


_TEN_MINUTES = 600.0  # the silence that Gmail asks for
_RFC_AUTH = "RFC 4954 6"
_RFC_CODES = "RFC 3463 3"
_AWS = "Amazon SES, SMTP response codes"
_GOOGLE = "Google, Gmail SMTP errors and codes"
_MICROSOFT = "Microsoft, NDR codes of Exchange Online"
_LOGIN = "the server wants a login, or TLS before it"
_SENDER = "the server does not take mail from this sender"
_DAY = "what may be sent in a day is used up"

_US = (
    Rule(Meaning.ROUTE, _LOGIN, f"{_RFC_AUTH}, RFC 3207 4", "530"),
    Rule(Meaning.ROUTE, "this way to log in is too weak", _RFC_AUTH, "534"),
    Rule(Meaning.ROUTE, "the login is refused", _RFC_AUTH, "535"),
    Rule(Meaning.ROUTE, "this way to log in needs TLS", _RFC_AUTH, "538"),
    Rule(Meaning.ROUTE, "the login is refused", _RFC_AUTH, "5", "5.7.8"),
    Rule(Meaning.ROUTE, "this way to log in is too weak", _RFC_AUTH, "5", "5.7.9"),
    Rule(Meaning.ROUTE, "this way to log in needs TLS", _RFC_AUTH, "5", "5.7.11"),
    Rule(Meaning.ROUTE, _LOGIN, _MICROSOFT, "5", "5.7.57"),
    Rule(Meaning.ROUTE, _LOGIN, "common wording", "5", words=("authentication required",)),
    Rule(Meaning.ROUTE, _LOGIN, "common wording", "5", words=("authentication is required",)),
    Rule(Meaning.QUOTA, _DAY, _AWS, "454", words=("message quota",)),
    Rule(
        Meaning.THROTTLE, "more mails in a second than allowed", _AWS, "454", words=("maximum sending rate",)
    ),
    Rule(Meaning.THROTTLE, "more mails in a second than allowed", _AWS, "454", words=("throttling failure",)),
    Rule(Meaning.ROUTE, "the account is suspended", _AWS, "554", words=("sending suspended",)),
    Rule(Meaning.ROUTE, "the account is paused", _AWS, "554", words=("sending paused",)),
    Rule(Meaning.ROUTE, _SENDER, _AWS, "554", words=("address is not verified", "<sender>")),
    Rule(
        Meaning.FAILED,
        "an account in the sandbox writes to verified addresses only",
        _AWS,
        "554",
        words=("address is not verified", "<recipient>"),
    ),
    Rule(Meaning.ROUTE, _SENDER, _AWS, "554", words=("address is not verified",)),
    Rule(Meaning.QUOTA, _DAY, _GOOGLE, "5", "5.4.5"),
    Rule(Meaning.QUOTA, _DAY, _GOOGLE, "5", words=("daily smtp relay limit",)),
    Rule(Meaning.THROTTLE, "more mails than the relay takes", _GOOGLE, "4", words=("peak smtp relay limit",)),
    Rule(Meaning.QUOTA, _DAY, _MICROSOFT, "5", "5.1.90"),
    Rule(Meaning.QUOTA, _DAY, _MICROSOFT, "5", "5.7.232"),
    Rule(Meaning.QUOTA, _DAY, _MICROSOFT, "5", "5.7.233"),
    Rule(Meaning.ROUTE, "the account may not send as this sender", _MICROSOFT, "5", "5.7.60"),
    Rule(Meaning.ROUTE, "the account is blocked for what it sent", _MICROSOFT, "5", "5.7.705"),
    # Postfix says at RCPT what it thinks of MAIL FROM.
    Rule(
        Meaning.OUTAGE,
        _SENDER,
        "Postfix, smtpd_delay_reject",
        "4",
        words=("<sender>: sender address rejected",),
    ),
    Rule(
        Meaning.ROUTE,
        _SENDER,
        "Postfix, smtpd_delay_reject",
        "5",
        words=("<sender>: sender address rejected",),
    ),
)

_FOR_NOW = (
    Rule(
        Meaning.DEFERRED,
        "greylisting: a stranger is asked to come again",
        "RFC 6647",
        "4",
        words=("greylist",),
    ),
    Rule(
        Meaning.DEFERRED,
        "the provider holds back our mail for its rate or its reputation",
        "Google, Yahoo, Microsoft: 421 4.7.x",
        "421",
        "4.7",
        wait=_TEN_MINUTES,
    ),
    Rule(
        Meaning.DEFERRED,
        "the provider holds back our mail for its rate or its reputation",
        "Google, Yahoo, Microsoft: 451 4.7.x",
        "451",
        "4.7",
        wait=_TEN_MINUTES,
    ),
    Rule(
        Meaning.DEFERRED,
        "the provider holds back our mail for complaints of its users",
        "Yahoo, TS codes",
        "4",
        words=("[ts0",),
        wait=_TEN_MINUTES,
    ),
    Rule(
        Meaning.DEFERRED,
        "the provider holds back our mail for complaints of its users",
        "Yahoo, TSS codes",
        "4",
        words=("[tss0",),
        wait=_TEN_MINUTES,
    ),
    Rule(
        Meaning.DEFERRED,
        "the provider holds back our mail for its rate",
        "Comcast, RL codes",
        "4",
        words=("rl0000",),
        wait=_TEN_MINUTES,
    ),
    Rule(Meaning.DEFERRED, "the mailbox is full or gets too much at once", f"{_RFC_CODES}.3", "4", "4.2"),
    Rule(Meaning.DEFERRED, "the server is busy, full or being looked after", f"{_RFC_CODES}.4", "4", "4.3"),
    Rule(Meaning.DEFERRED, "the next server cannot be reached", f"{_RFC_CODES}.5", "4", "4.4"),
    Rule(Meaning.DEFERRED, "a policy, for now", f"{_RFC_CODES}.8", "4", "4.7"),
    Rule(Meaning.DEFERRED, "a refusal for now", "RFC 5321 4.2.1", "4"),
)

_FOR_GOOD = (
    Rule(Meaning.DEFERRED, "the mailbox gets too much at once", _GOOGLE, "5", "5.2.1", ("too quickly",)),
    Rule(Meaning.DEFERRED, "the mailbox gets too much at once", _GOOGLE, "5", "5.2.1", ("at a rate",)),
    Rule(Meaning.FAILED, "there is no such mailbox", f"{_RFC_CODES}.2", "5", "5.1.1"),
    Rule(Meaning.FAILED, "there is no such domain", f"{_RFC_CODES}.2", "5", "5.1.2"),
    Rule(Meaning.FAILED, "the address is none", f"{_RFC_CODES}.2", "5", "5.1.3"),
    Rule(Meaning.FAILED, "the mailbox has moved", f"{_RFC_CODES}.2", "5", "5.1.6"),
    Rule(Meaning.FAILED, "the domain takes no mail", "RFC 7505 4.1", "5", "5.1.10"),
    Rule(Meaning.FAILED, "something about an address", f"{_RFC_CODES}.2", "5", "5.1"),
    Rule(Meaning.FAILED, "the mailbox is closed", f"{_RFC_CODES}.3", "5", "5.2.1"),
    Rule(Meaning.FAILED, "the mailbox is full", f"{_RFC_CODES}.3", "5", "5.2.2"),
    Rule(Meaning.FAILED, "the mail is too large", f"{_RFC_CODES}.4", "5", "5.3.4"),
    Rule(Meaning.FAILED, "something in the mail itself", f"{_RFC_CODES}.7", "5", "5.6"),
    Rule(Meaning.FAILED, "the mail is not authenticated: SPF, DKIM, DMARC", _GOOGLE, "5", "5.7.26"),
    Rule(Meaning.FAILED, "the mail is not authenticated: SPF, DKIM, DMARC", _MICROSOFT, "5", "5.7.515"),
    Rule(Meaning.FAILED, "a policy: content, reputation or permission", f"{_RFC_CODES}.8", "5", "5.7"),
    Rule(Meaning.FAILED, "taken for spam", "common wording", "5", words=("spam",)),
    Rule(
        Meaning.FAILED,
        "the address is written in a way that the server does not take",
        "RFC 5321 4.2.3",
        "501",
    ),
    Rule(Meaning.FAILED, "there is no such mailbox, or a policy", "RFC 5321 4.2.3", "550"),
    Rule(Meaning.FAILED, "the mailbox or the mail is too large", "RFC 5321 4.2.3", "552"),
    Rule(Meaning.FAILED, "the address is none", "RFC 5321 4.2.3", "553"),
    Rule(Meaning.FAILED, "a refusal for good", "RFC 5321 4.2.1", "5"),
)

# Every reply from 400 to 599 fits one of them: the last row of each half fits all of it.
BUILT_IN = _US + _FOR_NOW + _FOR_GOOD
