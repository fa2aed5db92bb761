"""
What an SMTP server's reply means for the recipient, the route, or neither.

Pure policy; opens no connection. The table is that of RFC 5321 and 3463 with what large providers make of
it: refusals that concern our login or our sending rate are nobody's fault: it is we who are refused. Used by
``smtp.py``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mailerd.message import Message
from mailerd.outcome import Kind, Outcome

TRY_ELSEWHERE = frozenset(
    {421, 503}
)  # the connection closes, or the server lost its place in the conversation

_LOGIN_CODES = frozenset({530, 534, 535, 538})
_LOGIN_TEXT = re.compile(r"\b5\.7\.(8|9|11)\b|authentication (is )?required", re.IGNORECASE)
# Amazon SES says these two with 454, after the whole mail: the account's rate or day is used up.
_THROTTLED = re.compile(r"throttl|maximum sending rate|message quota", re.IGNORECASE)
_PROVIDER_ID = re.compile(r"queued as <?([\w.-]+)|^Ok:? ([\w.-]{8,})$", re.IGNORECASE)
_LONGEST_REASON = 500


@dataclass(frozen=True, slots=True)
class Reply:
    """An SMTP reply: its code and its text on one line."""

    code: int
    text: str

    def __str__(self) -> str:
        """The reply in the server's own words."""
        return f"{self.code} {self.text}".rstrip()

    @property
    def positive(self) -> bool:
        """Whether it says yes (2xx)."""
        return 200 <= self.code < 300  # noqa: PLR2004 - RFC 5321 4.2.1

    @property
    def negative(self) -> bool:
        """Whether it says no (4xx, 5xx); what is neither is no SMTP at this point."""
        return 400 <= self.code < 600  # noqa: PLR2004 - RFC 5321 4.2.1


def accepted(reply: Reply, message: Message) -> Outcome:
    """The outcome of a positive reply to the final dot; with the server's own id where it tells one."""
    told = _PROVIDER_ID.search(reply.text)
    return Outcome(Kind.SENT, reason(reply, message), (told[1] or told[2]) if told else "")


def refused(reply: Reply, message: Message) -> Outcome:
    """The outcome of a negative reply to RCPT, DATA or the final dot."""
    return Outcome(_kind(reply), reason(reply, message))


def reason(reply: Reply, message: Message) -> str:
    """The server's own words as people may read them: one line, without the addresses."""
    words = str(reply)
    for address, shown in ((message.recipient, "<recipient>"), (message.sender, "<sender>")):
        words = re.sub(rf"<?{re.escape(address)}>?", shown, words, flags=re.IGNORECASE)
    return words[:_LONGEST_REASON]


def _kind(reply: Reply) -> Kind:
    if reply.code in _LOGIN_CODES or (reply.code >= 500 and _LOGIN_TEXT.search(reply.text)):  # noqa: PLR2004 - 5xx
        return Kind.REFUSED
    if reply.code == 454 and _THROTTLED.search(reply.text):  # noqa: PLR2004 - see _THROTTLED
        return Kind.REFUSED
    return Kind.DEFERRED if reply.code < 500 else Kind.FAILED  # noqa: PLR2004 - RFC 5321 4.2.1
