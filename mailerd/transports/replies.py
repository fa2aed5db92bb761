"""
What an SMTP server's reply means for the recipient, the route, or neither.

Pure policy; opens no connection. ``reply_table.py`` has the rows, here is how they are applied: to the
server's words without the addresses, so that no recipient's address is taken for words of the server's. Used
by ``smtp.py``, and by ``mailerd classify`` to explain.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from mailerd.config import SmtpReply
from mailerd.message import Message
from mailerd.outcome import Kind, Outcome
from mailerd.transports.reply_table import BUILT_IN, Meaning, Rule

TRY_ELSEWHERE = frozenset(
    {421, 503}
)  # the connection closes, or the server lost its place in the conversation

_LINE = re.compile(r"([2-5]\d\d)(?:[ -](.*))?")
# Where RFC 2034 puts it; some write a # before it.
_ENHANCED = re.compile(r"#?([245]\.\d{1,3}\.\d{1,3})(?![\d.])")
_PROVIDER_ID = re.compile(r"queued as <?([\w.-]+)|^Ok:? ([\w.-]{8,})$", re.IGNORECASE)
_LONGEST_REASON = 500

KINDS = {
    Meaning.DEFERRED: Kind.DEFERRED,
    Meaning.FAILED: Kind.FAILED,
    Meaning.THROTTLE: Kind.THROTTLED,
    Meaning.QUOTA: Kind.OVER_QUOTA,
    Meaning.ROUTE: Kind.REFUSED,
    Meaning.OUTAGE: Kind.BLOCKED,
}
# Before it has heard of the recipient, what the server says is said to every mail.
_OF_THE_SENDER = {Meaning.DEFERRED: Meaning.OUTAGE, Meaning.FAILED: Meaning.ROUTE}


class At(StrEnum):
    """What the server replied to."""

    SENDER = "sender"  # MAIL FROM
    RECIPIENT = "recipient"  # RCPT TO, and DATA
    MAIL = "mail"  # the final dot


@dataclass(frozen=True, slots=True)
class Reply:
    """An SMTP reply: its code and its text on one line."""

    code: int
    text: str

    def __str__(self) -> str:
        """The reply in the server's own words."""
        return f"{self.code} {self.text}".rstrip()

    @classmethod
    def parse(cls, text: str) -> Reply | None:
        """A reply as it stands in a log, on one line or on several; None if it is none."""
        lines = [_LINE.fullmatch(line.strip()) for line in text.strip().splitlines()]
        if not lines or not all(lines):
            return None
        words = " ".join(line[2] or "" for line in lines if line)
        return cls(int(text.strip()[:3]), " ".join(words.split()))

    @property
    def positive(self) -> bool:
        """Whether it says yes (2xx)."""
        return 200 <= self.code < 300  # noqa: PLR2004 - RFC 5321 4.2.1

    @property
    def negative(self) -> bool:
        """Whether it says no (4xx, 5xx); what is neither is no SMTP at this point."""
        return 400 <= self.code < 600  # noqa: PLR2004 - RFC 5321 4.2.1

    @property
    def enhanced(self) -> str:
        """Its enhanced status code (RFC 3463), if it has one."""
        found = _ENHANCED.match(self.text)
        return found[1] if found else ""

    @property
    def words(self) -> str:
        """Its text in small letters, without the enhanced code, which a server repeats on every line."""
        text = self.text.replace(self.enhanced, " ") if self.enhanced else self.text
        return " ".join(text.lower().split())


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a refusal means, and the row that says so; ``own`` where that is one of ``smtp.replies``."""

    meaning: Meaning
    rule: Rule
    own: bool

    @property
    def kind(self) -> Kind:
        """What it makes of the attempt."""
        return KINDS[self.meaning]


class ReplyTable:
    """The rows that hold here: those of the configuration, then the built-in ones."""

    def __init__(self, own: Iterable[SmtpReply] = ()) -> None:
        self._own = tuple(_rule(row) for row in own)

    def verdict(self, reply: Reply, at: At) -> Verdict:
        """What a negative reply means; its text must be without addresses, as ``anonymous`` makes it."""
        code, enhanced, words = reply.code, reply.enhanced, reply.words
        for rules, own in ((self._own, True), (BUILT_IN, False)):
            for rule in rules:
                if rule.fits(code, enhanced, words):
                    meaning = rule.meaning
                    return Verdict(
                        _OF_THE_SENDER.get(meaning, meaning) if at is At.SENDER else meaning, rule, own
                    )
        raise ValueError(f"{code} is no refusal")

    def refused(self, reply: Reply, message: Message, at: At) -> Outcome:
        """The outcome of a negative reply."""
        said = anonymous(reply, message)
        verdict = self.verdict(said, at)
        return Outcome(verdict.kind, str(said)[:_LONGEST_REASON], wait=verdict.rule.wait)


def accepted(reply: Reply, message: Message) -> Outcome:
    """The outcome of a positive reply to the final dot; with the server's own id where it tells one."""
    told = _PROVIDER_ID.search(reply.text)
    return Outcome(Kind.SENT, reason(reply, message), (told[1] or told[2]) if told else "")


def reason(reply: Reply, message: Message) -> str:
    """The server's own words as people may read them: one line, without the addresses."""
    return str(anonymous(reply, message))[:_LONGEST_REASON]


def anonymous(reply: Reply, message: Message) -> Reply:
    """The reply with ``<recipient>`` and ``<sender>`` in place of their addresses."""
    words = reply.text
    for address, shown in ((message.recipient, "<recipient>"), (message.sender, "<sender>")):
        # Every mail has a pattern of its own to compile, and few replies name an address.
        if address.lower() in words.lower():
            words = re.sub(rf"<?{re.escape(address)}>?", shown, words, flags=re.IGNORECASE)
    return Reply(reply.code, words)


def _rule(row: SmtpReply) -> Rule:
    words = (" ".join(row.text.lower().split()),) if row.text else ()
    return Rule(
        Meaning(row.means),
        "the configuration says so",
        "smtp.replies",
        row.code,
        row.enhanced,
        words,
        row.wait,
    )
