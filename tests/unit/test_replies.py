"""What replies of real servers mean."""

from __future__ import annotations

import pytest

from mailerd.message import Message
from mailerd.outcome import Kind
from mailerd.transports.replies import Reply, accepted, refused

MESSAGE = Message("news@example.com", "user@example.org", b"", "<1@example.com>", "batch-1")


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        (450, "4.2.0 <user@example.org>: Recipient address rejected: Greylisted", Kind.DEFERRED),
        (451, "4.7.1 try again later", Kind.DEFERRED),
        (452, "4.2.2 The email account that you tried to reach is over quota", Kind.DEFERRED),
        (421, "4.7.28 our system has detected an unusual rate of unsolicited mail", Kind.DEFERRED),
        (454, "4.7.1 <user@example.org>: Relay access denied", Kind.DEFERRED),
        (454, "Throttling failure: Maximum sending rate exceeded.", Kind.REFUSED),
        (454, "Throttling failure: Daily message quota exceeded.", Kind.REFUSED),
        (550, "5.1.1 The email account that you tried to reach does not exist", Kind.FAILED),
        (550, "5.7.515 Access denied, sending domain does not meet the required level", Kind.FAILED),
        (552, "5.2.2 mailbox full", Kind.FAILED),
        (553, "5.1.3 bad address syntax", Kind.FAILED),
        (554, "5.7.1 Message rejected as spam", Kind.FAILED),
        (554, "5.3.4 message too big", Kind.FAILED),
        (530, "5.7.0 Must issue a STARTTLS command first", Kind.REFUSED),
        (530, "5.7.57 Client not authenticated to send mail", Kind.REFUSED),
        (535, "5.7.8 authentication credentials invalid", Kind.REFUSED),
        (550, "5.7.8 sign in first", Kind.REFUSED),
        (550, "Authentication required", Kind.REFUSED),
        (550, "5.7.80 no enhanced code of ours", Kind.FAILED),
    ],
)
@pytest.mark.covers("mail-22", "mail-25")
def test_a_refusal_burns_only_whom_it_concerns(code: int, text: str, kind: Kind) -> None:
    """4xx waits, 5xx fails, and what concerns our login or our rate is our own matter."""
    assert refused(Reply(code, text), MESSAGE).kind is kind


def test_the_reason_is_the_servers_words_without_addresses() -> None:
    """The reason keeps code and words; the addresses are gone, however they are spelled."""
    said = "5.1.1 <USER@example.org>: no user@example.org here, says news@example.com"
    outcome = refused(Reply(550, said), MESSAGE)

    assert outcome.reason == "550 5.1.1 <recipient>: no <recipient> here, says <sender>"


def test_a_reply_without_text_is_a_reason_still() -> None:
    """A bare code is a reason; endless text is cut."""
    assert refused(Reply(550, ""), MESSAGE).reason == "550"
    assert len(refused(Reply(550, "x" * 10_000), MESSAGE).reason) <= 500


@pytest.mark.parametrize(
    ("text", "provider_id"),
    [
        ("2.0.0 Ok: queued as 4F2bXk1zGqz1y", "4F2bXk1zGqz1y"),
        ("Ok 010201976c0a8b1d-7f3e-000000", "010201976c0a8b1d-7f3e-000000"),
        ("OK", ""),
        ("2.0.0 accepted for delivery", ""),
    ],
)
def test_the_servers_own_id_is_kept(text: str, provider_id: str) -> None:
    """Postfix and Amazon SES tell their id for the mail; others do not."""
    outcome = accepted(Reply(250, text), MESSAGE)

    assert (outcome.kind, outcome.provider_id) == (Kind.SENT, provider_id)
    assert outcome.reason == f"250 {text}"
