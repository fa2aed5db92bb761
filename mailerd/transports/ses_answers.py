"""
What Amazon SES's refusals mean: for the recipient, the message, the route, or neither.

Pure policy; knows neither boto3 nor HTTP. The codes are those of the SES v2 API (its model lists them per
operation) and those that every AWS service has; where one code means different things, its text decides. A
refusal is an answer: whatever is typed here was certainly not sent, but for ``UNKNOWN``. Used by ``ses.py``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from mailerd.message import Message
from mailerd.outcome import Kind, Outcome

_LONGEST_REASON = 500
_ADDRESS = re.compile(r"[^\s<>,:;]+@[^\s<>,:;]+")


class Cause(StrEnum):
    """Whose matter a refusal is."""

    RECIPIENT = "recipient"  # this address; nobody else's mail fares like it
    MESSAGE = "message"  # this mail's content
    ROUTE = "route"  # our account, credentials, sender or configuration: every mail would fare the same
    OUTAGE = "outage"  # the route again, and not for long: SES is not there
    THROTTLE = "throttle"  # too many in a second
    QUOTA = "quota"  # too many in 24 hours
    UNKNOWN = "unknown"  # it broke within SES, and the mail may have been taken


KINDS = {
    Cause.RECIPIENT: Kind.FAILED,
    Cause.MESSAGE: Kind.FAILED,
    Cause.ROUTE: Kind.REFUSED,
    Cause.OUTAGE: Kind.BLOCKED,
    Cause.THROTTLE: Kind.THROTTLED,
    Cause.QUOTA: Kind.OVER_QUOTA,
    Cause.UNKNOWN: Kind.UNKNOWN,
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer other than yes: HTTP status, AWS's code and text."""

    status: int
    code: str
    text: str

    def __str__(self) -> str:
        """The refusal in SES's own words."""
        return f"{self.code}: {self.text}" if self.text else self.code


@dataclass(frozen=True, slots=True)
class _Rule:
    """Holds for these codes where the text, in small letters, contains ``text``."""

    cause: Cause
    codes: frozenset[str]
    text: str = ""


def _codes(words: str) -> frozenset[str]:
    return frozenset(words.split())


_TOO_MUCH = _codes(
    "TooManyRequestsException LimitExceededException Throttling ThrottlingException ThrottledException"
    " RequestThrottled RequestThrottledException RequestLimitExceeded SlowDown"
)
_REJECTED = _codes("MessageRejected")
_BAD = _codes("BadRequestException")

# The first that fits holds.
_RULES = (
    _Rule(Cause.QUOTA, _TOO_MUCH, "quota"),
    _Rule(Cause.THROTTLE, _TOO_MUCH, "rate"),
    _Rule(Cause.QUOTA, _codes("LimitExceededException")),
    _Rule(Cause.THROTTLE, _TOO_MUCH),
    _Rule(
        Cause.ROUTE,
        _codes("AccountSuspendedException SendingPausedException MailFromDomainNotVerifiedException"),
    ),
    # Of all that a request names only the configuration set can be missing.
    _Rule(Cause.ROUTE, _codes("NotFoundException")),
    _Rule(Cause.ROUTE, _BAD, "configuration set"),
    _Rule(Cause.ROUTE, _BAD, "not verified"),
    _Rule(Cause.RECIPIENT, _BAD, "illegal address"),
    _Rule(Cause.RECIPIENT, _BAD, "local address"),
    _Rule(Cause.RECIPIENT, _BAD, "final '@domain'"),
    _Rule(Cause.RECIPIENT, _BAD, "domain contains"),
    _Rule(Cause.RECIPIENT, _BAD, "domain starts"),
    _Rule(Cause.RECIPIENT, _BAD, "domain ends"),
    _Rule(Cause.MESSAGE, _BAD),
    _Rule(Cause.ROUTE, _REJECTED, "suspended"),
    _Rule(Cause.ROUTE, _REJECTED, "paused"),
    _Rule(Cause.ROUTE, _REJECTED, "not verified"),
    _Rule(Cause.RECIPIENT, _REJECTED, "blacklisted"),
    _Rule(Cause.MESSAGE, _REJECTED),
    _Rule(Cause.MESSAGE, _codes("ValidationException ValidationError SerializationException")),
    _Rule(Cause.OUTAGE, _codes("ServiceUnavailable ServiceUnavailableException")),
    _Rule(Cause.UNKNOWN, _codes("InternalFailure InternalServiceErrorException InternalServerException")),
)


def cause_of(refusal: Refusal, recipient: str) -> Cause:
    """Whose matter the refusal of a mail to ``recipient`` is."""
    text = refusal.text.lower()
    rule = next((rule for rule in _RULES if refusal.code in rule.codes and rule.text in text), None)
    if rule is None:
        return _by_status(refusal.status)
    if rule.text == "not verified" and _names_only(recipient, text):
        # An account in the sandbox writes to verified addresses only.
        return Cause.RECIPIENT
    return rule.cause


def refused(refusal: Refusal, message: Message) -> Outcome:
    """The outcome of a refusal, in SES's own words, without the addresses."""
    cause = cause_of(refusal, message.recipient)
    words = str(refusal)
    for address, shown in ((message.recipient, "<recipient>"), (message.sender, "<sender>")):
        words = re.sub(re.escape(address), shown, words, flags=re.IGNORECASE)
    return Outcome(KINDS[cause], " ".join(f"Amazon SES: {words}".split())[:_LONGEST_REASON])


def _by_status(status: int) -> Cause:
    if status == 503:  # noqa: PLR2004 - RFC 9110: it did not take the request on
        return Cause.OUTAGE
    if status == 429:  # noqa: PLR2004 - RFC 6585
        return Cause.THROTTLE
    if status == 413:  # noqa: PLR2004 - RFC 9110: too large
        return Cause.MESSAGE
    # Any other refusal is about credentials, rights, or a server that is no SES.
    return Cause.UNKNOWN if status >= 500 else Cause.ROUTE  # noqa: PLR2004 - RFC 9110


def _names_only(recipient: str, text: str) -> bool:
    named = set(_ADDRESS.findall(text))
    return named == {recipient.lower()}
