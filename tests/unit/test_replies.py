"""What replies of real servers mean, and what the configuration may say of them."""

from __future__ import annotations

import time
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailerd.config import SmtpReply
from mailerd.message import Message
from mailerd.outcome import Kind
from mailerd.transports.replies import KINDS, At, Reply, ReplyTable, accepted
from mailerd.transports.reply_table import BUILT_IN, Meaning

MESSAGE = Message("news@example.com", "user@example.org", b"", "<1@example.com>", "batch-1")
TABLE = ReplyTable()


def kind_of(code: int, text: str, at: At = At.MAIL, table: ReplyTable = TABLE) -> Kind:
    return table.refused(Reply(code, text), MESSAGE, at).kind


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        (450, "4.2.0 <user@example.org>: Recipient address rejected: Greylisted", Kind.DEFERRED),
        (450, "mailbox busy", Kind.DEFERRED),
        (450, "4.2.1 The user you are trying to contact is receiving mail too quickly", Kind.DEFERRED),
        (451, "4.7.1 try again later", Kind.DEFERRED),
        (452, "4.2.2 The email account that you tried to reach is over quota", Kind.DEFERRED),
        (421, "4.7.28 our system has detected an unusual rate of unsolicited mail", Kind.DEFERRED),
        (421, "4.7.0 [TSS04] Messages temporarily deferred due to user complaints", Kind.DEFERRED),
        (454, "4.7.1 <user@example.org>: Relay access denied", Kind.DEFERRED),
        (454, "Throttling failure: Maximum sending rate exceeded.", Kind.THROTTLED),
        (454, "Throttling failure: Daily message quota exceeded.", Kind.OVER_QUOTA),
        (450, "4.2.1 Peak SMTP relay limit exceeded for customer.", Kind.THROTTLED),
        (550, "5.7.1 Daily SMTP relay limit exceeded for customer.", Kind.OVER_QUOTA),
        (550, "5.4.5 Daily user sending limit exceeded", Kind.OVER_QUOTA),
        (554, "Message rejected: Sending suspended for this account.", Kind.REFUSED),
        (554, "Message rejected: Email address is not verified. Failed: news@example.com", Kind.REFUSED),
        (554, "Message rejected: Email address is not verified. Failed: user@example.org", Kind.FAILED),
        (554, "Message rejected: Email address is not verified. Failed: example.com", Kind.REFUSED),
        (450, "4.1.8 <news@example.com>: Sender address rejected: Domain not found", Kind.BLOCKED),
        (553, "5.7.1 <news@example.com>: Sender address rejected: not owned by user shop", Kind.REFUSED),
        (550, "5.1.1 The email account that you tried to reach does not exist", Kind.FAILED),
        (550, "5.2.1 The user you are trying to contact is receiving mail at a rate that", Kind.DEFERRED),
        (550, "5.2.1 The mailbox is disabled", Kind.FAILED),
        (550, "5.7.515 Access denied, sending domain does not meet the required level", Kind.FAILED),
        (550, "5.7.26 This mail is unauthenticated: all senders must authenticate", Kind.FAILED),
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
@pytest.mark.covers("mail-6", "mail-22", "mail-25")
def test_a_refusal_burns_only_whom_it_concerns(code: int, text: str, kind: Kind) -> None:
    """4xx waits, 5xx fails, and what concerns our login, sender, account or rate is our own matter."""
    assert kind_of(code, text) is kind


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (454, "4.7.1 <throttling+message-quota@example.org>: Relay access denied"),
        (554, "5.7.1 <sending+suspended@example.org> is not here"),
        (550, '5.1.1 <"authentication required"@example.org>: no such user'),
    ],
)
@pytest.mark.covers("mail-20")
def test_no_address_is_taken_for_the_servers_words(code: int, text: str) -> None:
    """A contact whose address reads like a refusal of the route does not stop the route."""
    address = text.partition("<")[2].partition(">")[0]
    message = Message("news@example.com", address, b"", "<1@example.com>", "batch-1")

    assert TABLE.refused(Reply(code, text), message, At.RECIPIENT).kind in (Kind.DEFERRED, Kind.FAILED)


@pytest.mark.parametrize(("code", "kind"), [(451, Kind.BLOCKED), (550, Kind.REFUSED), (535, Kind.REFUSED)])
def test_a_refused_sender_is_nobodys_fault(code: int, kind: Kind) -> None:
    """What is said to MAIL FROM is said to every mail: the route waits, and no recipient is touched."""
    assert kind_of(code, "no", At.SENDER) is kind


@pytest.mark.parametrize(
    ("code", "text", "wait"),
    [
        (421, "4.7.28 an unusual rate of mail", 600.0),
        (451, "4.7.500 Server busy", 600.0),
        (451, "4.7.1 Greylisting in action", 0.0),
        (450, "4.2.2 mailbox full", 0.0),
    ],
)
def test_a_provider_that_holds_us_back_is_left_alone(code: int, text: str, wait: float) -> None:
    """Whoever speaks of our rate or reputation gets ten minutes of silence; others are asked again sooner."""
    assert TABLE.refused(Reply(code, text), MESSAGE, At.MAIL).wait == wait


# The table


@given(
    st.integers(400, 599),
    st.text(max_size=80),
    st.sampled_from(list(At)),
)
def test_every_refusal_means_something(code: int, text: str, at: At) -> None:
    """Whatever a server says: there is a row; 4xx fails nobody, but for words that are our own matter."""
    verdict = TABLE.verdict(Reply(code, text), at)

    assert verdict.rule in BUILT_IN
    assert (verdict.meaning, code < 500) != (Meaning.FAILED, True)


def test_every_row_says_why_and_whence() -> None:
    """Each row has its reason and its source, and looks at something; its words are in small letters."""
    for rule in BUILT_IN:
        assert rule.because
        assert rule.source
        assert rule.looks_at
        assert all(word == word.lower() for word in rule.words)
        assert not rule.wait or rule.meaning is Meaning.DEFERRED


def test_no_row_is_hidden_by_an_earlier_one() -> None:
    """Each row fits a reply that no earlier one fits."""
    for rule in BUILT_IN:
        code = int(rule.code.ljust(3, "9"))
        reply = Reply(code, f"{rule.enhanced}.0.0"[:5] if rule.enhanced.count(".") < 2 else rule.enhanced)
        reply = Reply(code, f"{reply.text if rule.enhanced else ''} {' '.join(rule.words)}".strip())
        assert TABLE.verdict(reply, At.MAIL).rule == rule, rule


def test_every_meaning_has_its_kind_and_its_word() -> None:
    """The configuration offers the meanings that there are."""
    assert set(KINDS) == set(Meaning)
    assert set(get_args(SmtpReply.model_fields["means"].annotation)) == set(Meaning)


# Rows of the configuration


@pytest.mark.parametrize(
    ("row", "fits", "not_fits"),
    [
        ({"code": 554}, "554 no", "550 no"),
        ({"code": 55}, "552 no", "541 no"),
        ({"enhanced": "5.7"}, "550 5.7.1 no", "550 5.71.1 no"),
        ({"enhanced": "5.7.1"}, "550 #5.7.1 no", "550 5.7.11 no"),
        ({"text": "Relay  Access"}, "550 5.7.1 RELAY access denied", "550 relayaccess"),
        ({"code": 550, "text": ".*"}, "550 what .* ever", "550 what ever"),
        ({"code": 550, "enhanced": "5.7", "text": "denied"}, "550 5.7.1 denied", "550 5.1.1 denied"),
    ],
)
def test_a_row_of_the_configuration_comes_first(row: dict[str, object], fits: str, not_fits: str) -> None:
    """It fits where all hold that it names, and its text is no pattern; what it does not fit is as before."""
    table = ReplyTable([SmtpReply.model_validate({**row, "means": "outage"})])
    yes, no = Reply.parse(fits), Reply.parse(not_fits)

    assert yes
    assert no
    assert (table.verdict(yes, At.MAIL).own, table.verdict(yes, At.MAIL).kind) == (True, Kind.BLOCKED)
    assert table.verdict(no, At.MAIL) == TABLE.verdict(no, At.MAIL)


def test_the_first_row_that_fits_holds() -> None:
    """The order of the configuration decides, and a row's wait is the recipient's."""
    rows = [
        SmtpReply(code="45", text="busy", means="deferred", wait=3600),
        SmtpReply(code="4", means="failed"),
    ]
    table = ReplyTable(rows)

    busy = table.refused(Reply(451, "busy"), MESSAGE, At.RECIPIENT)
    assert (busy.kind, busy.wait) == (Kind.DEFERRED, 3600)
    assert kind_of(451, "other", table=table) is Kind.FAILED


def test_endless_words_cost_nothing() -> None:
    """A megabyte of text and a hundred rows are looked through in no time, whatever they are made of."""
    table = ReplyTable([SmtpReply(code="5", text="a" * 100 + str(n), means="route") for n in range(100)])
    began = time.process_time()

    table.refused(Reply(550, "5.7." * 5 + "a" * 1_000_000), MESSAGE, At.MAIL)

    assert time.process_time() - began < 5


# Words


def test_words_on_several_lines_are_read_as_one() -> None:
    """A reply of several lines repeats its codes; a text that goes over two lines is found all the same."""
    reply = Reply.parse(
        "421-4.7.28 an unusual rate\r\n421-4.7.28 of mail\r\n421 4.7.28 see the guidelines\r\n"
    )

    assert reply == Reply(421, "4.7.28 an unusual rate 4.7.28 of mail 4.7.28 see the guidelines")
    assert (reply.enhanced, reply.words) == ("4.7.28", "an unusual rate of mail see the guidelines")


@pytest.mark.parametrize("text", ["", "hello", "55 no", "5500 no", "150 no", "550no", "550 a\nb", "650 no"])
def test_what_is_no_reply(text: str) -> None:
    """Text without a code from 200 to 599 on each line is none."""
    assert Reply.parse(text) is None


def test_the_reason_is_the_servers_words_without_addresses() -> None:
    """The reason keeps code and words; the addresses are gone, however they are spelled."""
    said = "5.1.1 <USER@example.org>: no user@example.org here, says news@example.com"
    outcome = TABLE.refused(Reply(550, said), MESSAGE, At.RECIPIENT)

    assert outcome.reason == "550 5.1.1 <recipient>: no <recipient> here, says <sender>"


def test_a_reply_without_text_is_a_reason_still() -> None:
    """A bare code is a reason; endless text is cut."""
    assert TABLE.refused(Reply(550, ""), MESSAGE, At.MAIL).reason == "550"
    assert len(TABLE.refused(Reply(550, "x" * 10_000), MESSAGE, At.MAIL).reason) <= 500


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
