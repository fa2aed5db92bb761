"""What Amazon SES's refusals mean."""

from __future__ import annotations

import pytest

from mailerd.message import Message
from mailerd.outcome import Kind
from mailerd.transports.ses_answers import KINDS, Cause, Refusal, cause_of, refused

TO = "user@example.org"
MESSAGE = Message("news@example.com", TO, b"", "<1@example.com>", "batch-1")
UNVERIFIED = "Email address is not verified. The following identities failed the check in region EU-WEST-1: "


@pytest.mark.parametrize(
    ("status", "code", "text", "cause"),
    [
        (429, "TooManyRequestsException", "Maximum sending rate exceeded.", Cause.THROTTLE),
        (429, "TooManyRequestsException", "", Cause.THROTTLE),
        (400, "ThrottlingException", "Rate exceeded", Cause.THROTTLE),
        (503, "SlowDown", "", Cause.THROTTLE),
        (429, "429", "", Cause.THROTTLE),
        (429, "TooManyRequestsException", "Daily message quota exceeded.", Cause.QUOTA),
        (400, "LimitExceededException", "", Cause.QUOTA),
        (400, "AccountSuspendedException", "", Cause.ROUTE),
        (400, "SendingPausedException", "Email sending is disabled.", Cause.ROUTE),
        (400, "MailFromDomainNotVerifiedException", "", Cause.ROUTE),
        (404, "NotFoundException", "Configuration set <x> does not exist.", Cause.ROUTE),
        (400, "BadRequestException", "Configuration set x does not exist.", Cause.ROUTE),
        (403, "AccessDeniedException", "User is not authorized to perform: ses:SendRawEmail", Cause.ROUTE),
        (403, "InvalidSignatureException", "", Cause.ROUTE),
        (403, "ExpiredTokenException", "", Cause.ROUTE),
        (404, "404", "<html>", Cause.ROUTE),
        (301, "301", "", Cause.ROUTE),
        (400, "MessageRejected", "Sending suspended for this account.", Cause.ROUTE),
        (400, "MessageRejected", UNVERIFIED + "news@example.com", Cause.ROUTE),
        (400, "MessageRejected", UNVERIFIED + f"News <news@example.com>, {TO}", Cause.ROUTE),
        (400, "MessageRejected", "Email address is not verified.", Cause.ROUTE),
        (400, "MessageRejected", UNVERIFIED + "USER@example.org", Cause.RECIPIENT),
        (400, "MessageRejected", "Address blacklisted.", Cause.RECIPIENT),
        (400, "BadRequestException", "Missing final '@domain'", Cause.RECIPIENT),
        (400, "BadRequestException", "Local address contains control or whitespace", Cause.RECIPIENT),
        (400, "BadRequestException", "Domain contains illegal character", Cause.RECIPIENT),
        (400, "MessageRejected", "Message length is more than 41943040 bytes long", Cause.MESSAGE),
        (400, "BadRequestException", "The input you provided is invalid.", Cause.MESSAGE),
        (413, "413", "", Cause.MESSAGE),
        (503, "ServiceUnavailable", "", Cause.OUTAGE),
        (503, "503", "<html>", Cause.OUTAGE),
        (500, "InternalFailure", "", Cause.UNKNOWN),
        (502, "502", "", Cause.UNKNOWN),
        (504, "504", "", Cause.UNKNOWN),
    ],
)
def test_whose_matter_a_refusal_is(status: int, code: str, text: str, cause: Cause) -> None:
    """Every error that SES documents, what AWS says of any service, and what stands in between."""
    assert cause_of(Refusal(status, code, text), TO) is cause


def test_only_recipient_and_message_are_final() -> None:
    """Whatever is ours or SES's matter costs no recipient anything; what may have been sent is unknown."""
    final = {cause for cause, kind in KINDS.items() if kind is Kind.FAILED}

    assert set(KINDS) == set(Cause)
    assert final == {Cause.RECIPIENT, Cause.MESSAGE}
    assert [cause for cause, kind in KINDS.items() if kind is Kind.UNKNOWN] == [Cause.UNKNOWN]


def test_the_reason_is_ses_own_words_without_addresses() -> None:
    """On one line, and nobody's address in it."""
    text = UNVERIFIED + f"News\n <NEWS@example.com>,\n {TO}"

    outcome = refused(Refusal(400, "MessageRejected", text), MESSAGE)

    assert outcome.reason.startswith("Amazon SES: MessageRejected: Email address is not verified. ")
    assert outcome.reason.endswith("EU-WEST-1: News <<sender>>, <recipient>")
