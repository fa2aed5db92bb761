"""The SMTP transport against Postfix's own sink, with the faults that it plays on purpose."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mailerd.clock import SystemClock
from mailerd.config import Smtp
from mailerd.message import Message
from mailerd.outcome import Kind, Outcome
from mailerd.transports.smtp import SmtpTransport
from rigs.hand_overs import Mails
from rigs.smtp_sink import StartSink, smtp_sinks

pytestmark = pytest.mark.slow


@pytest.fixture
def smtp_sink() -> Iterator[StartSink]:
    """Starts one with such options; its port."""
    with smtp_sinks() as start:
        yield start


def send(port: int, count: int, **settings: Any) -> dict[int, Outcome]:
    """What so many mails come to, over three connections; with the route out of order not all are taken."""
    given = {"host": "127.0.0.1", "port": port, "tls": "none", "helo_name": "me.test", **settings}
    session = SmtpTransport(Smtp.model_validate(given), SystemClock()).session(3)
    content = b"Subject: x\r\n\r\nbody\r\n"
    mails = Mails(
        [
            Message("news@example.com", f"user{number}@example.org", content, f"<{number}@x>", "b")
            for number in range(count)
        ]
    )
    session.deliver(mails)
    session.close()
    assert set(mails.answers) == set(mails.taken)
    return mails.answers


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ("-q CONNECT", Kind.BLOCKED),
        ("-Q CONNECT", Kind.BLOCKED),
        ("-r CONNECT", Kind.BLOCKED),
        ("-f CONNECT", Kind.BLOCKED),
        ("-q EHLO", Kind.BLOCKED),
        ("-r EHLO,HELO", Kind.BLOCKED),
        ("-f EHLO,HELO", Kind.BLOCKED),
        ("-q MAIL", Kind.BLOCKED),
        ("-Q MAIL", Kind.BLOCKED),
        ("-r MAIL", Kind.BLOCKED),
        ("-f MAIL", Kind.REFUSED),
        ("-q RCPT", Kind.BLOCKED),
        ("-Q RCPT", Kind.BLOCKED),
        ("-r RCPT", Kind.DEFERRED),
        ("-f RCPT", Kind.FAILED),
        ("-r DATA", Kind.DEFERRED),
        ("-f DATA", Kind.FAILED),
        ("-q .", Kind.UNKNOWN),
        ("-r .", Kind.DEFERRED),
        ("-f .", Kind.FAILED),
        ("-Q .", Kind.DEFERRED),
        ("-W RCPT:9", Kind.BLOCKED),
        ("-W .:9", Kind.UNKNOWN),
    ],
)
@pytest.mark.covers("mail-16", "mail-22", "mail-27")
def test_each_fault_has_its_outcome(smtp_sink: StartSink, options: str, kind: Kind) -> None:
    """Refused for now or for good, hung up on or kept waiting at each step: no other outcome than its own."""
    outcome = send(smtp_sink(*options.split()), 1, command_timeout=0.5, data_timeout=0.5)[0]

    assert outcome.kind is kind
    assert outcome.reason


@pytest.mark.parametrize("options", ["-e", "-p", "-E", "-8", "-P", "-f RSET", "-q QUIT"])
def test_whatever_it_does_not_offer_mail_goes_out(smtp_sink: StartSink, options: str) -> None:
    """Without ESMTP, pipelining, enhanced codes or manners at the end, each of 250 mails is taken."""
    assert Counter(outcome.kind for outcome in send(smtp_sink(*options.split()), 250).values()) == {
        Kind.SENT: 250
    }


def test_one_that_dies_under_a_crowd(smtp_sink: StartSink, tmp_path: Path) -> None:
    """Its own files say who has the mail: everybody who is sent, and nobody who is not sent or unknown."""
    (tmp_path / "mails").mkdir()
    port = smtp_sink("-M", "120", "-d", f"{tmp_path}/mails/m.")
    kinds = {number: outcome.kind for number, outcome in send(port, 300).items()}

    files = [path.read_text() for path in (tmp_path / "mails").iterdir()]
    whole = [file for file in files if file.endswith("\nbody\n\n")]
    taken = Counter(re.findall(r"X-Rcpt-Args: <user(\d+)@", "".join(whole)))
    have = set(map(int, taken))
    sent = {number for number, kind in kinds.items() if kind is Kind.SENT}
    unknown = {number for number, kind in kinds.items() if kind is Kind.UNKNOWN}
    assert (len(whole), max(taken.values())) == (120, 1)
    assert sent <= have <= sent | unknown
    assert len(unknown) <= 3
