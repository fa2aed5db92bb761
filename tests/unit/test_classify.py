"""``mailerd classify``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mailerd.cli import run

CONFIG = """
[mail]
transport = "smtp"
from = "Shop <news@example.com>"
retry_delays = [60, 7200]
max_age = 86400
[smtp]
host = "mail.example.com"
[[smtp.replies]]
code = 554
enhanced = "5.7"
text = "relay access denied"
means = "route"
[[smtp.replies]]
text = "out of office hours"
means = "deferred"
wait = 3600
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.toml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    assert run(["classify", "--json", *arguments]) == 0
    answer: dict[str, object] = json.loads(capsys.readouterr().out)
    return answer


@pytest.mark.parametrize(
    ("reply", "at", "outcome", "source"),
    [
        ("550 5.1.1 no such user", "mail", "failed", "RFC 3463 3.2"),
        ("451 4.3.0 later", "mail", "deferred", "RFC 3463 3.4"),
        ("451 4.3.0 later", "sender", "outage", "RFC 3463 3.4"),
        ("554 5.7.1 <a@example.org>: Relay access denied", "recipient", "route", "smtp.replies"),
        ("554 5.7.1 no", "recipient", "failed", "RFC 3463 3.8"),
        (
            "454 Throttling failure: Maximum sending rate exceeded.",
            "mail",
            "throttle",
            "Amazon SES, SMTP response codes",
        ),
        (
            "553 5.7.1 <News@example.com>: Sender address rejected: not yours",
            "recipient",
            "route",
            "Postfix, smtpd_delay_reject",
        ),
        ("550-5.1.1 no\n550 5.1.1 user", "mail", "failed", "RFC 3463 3.2"),
        ("250 2.0.0 Ok", "mail", "sent", ""),
        ("250 2.1.5 Ok", "recipient", "accepted", ""),
        ("354 go ahead", "mail", "unknown", ""),
        ("421 4.3.2 closing", "recipient", "connection", ""),
        ("421 4.3.2 closing", "mail", "deferred", "RFC 3463 3.4"),
    ],
)
def test_a_reply_is_explained(
    capsys: pytest.CaptureFixture[str], reply: str, at: str, outcome: str, source: str
) -> None:
    """What it means at this moment of the conversation, and where that is known from."""
    answer = told(capsys, reply, "--at", at)

    assert (answer["outcome"], answer["source"], answer["at"]) == (outcome, source, at)
    assert answer["because"]
    assert answer["recipient"]
    assert answer["route"]


def test_people_read_what_follows(capsys: pytest.CaptureFixture[str]) -> None:
    """The reply, the outcome, why, what becomes of the recipient and of the route, and the row."""
    assert run(["classify", "550 5.7.1 come back out of Office Hours"]) == 0

    assert capsys.readouterr().out.splitlines() == [
        "reply       550 5.7.1 come back out of Office Hours",
        "outcome     deferred",
        "because     the configuration says so",
        "recipient   deferred: an attempt, tried again after 1 h 0 min, 2 h 0 min, for 24 h 0 min in all",
        "route       goes on with the others",
        'row         "out of office hours"',
        "source      smtp.replies",
    ]


def test_a_route_that_pauses_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """A refused login: nobody is touched, and the route is tried again."""
    assert run(["classify", "535 5.7.8 no"]) == 0
    out = capsys.readouterr().out

    assert "recipient   is left as it is: this is no attempt\n" in out
    assert (
        "route       pauses: nobody is handed over; tried again after 1 s, then ever later, up to 60 s\n"
        in out
    )


def test_no_reply_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """2, and what a reply looks like."""
    assert run(["classify", "hello"]) == 2
    assert "this is no reply of a mail server, such as '550 5.1.1 no such user'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ('means = "route"', "smtp.replies.0: needs a code, an enhanced code or a text to know the reply by"),
        (
            'code = 250\nmeans = "route"',
            (
                "smtp.replies.0.code: must be a code that refuses, such as 550, or its beginning: 55 or 5, "
                "not 250"
            ),
        ),
        (
            'enhanced = 5.7\nmeans = "route"',
            (
                'smtp.replies.0.enhanced: must be an enhanced code that refuses, such as "5.7.1", '
                'or its beginning: "5.7", not 5.7'
            ),
        ),
        (
            'code = 450\nenhanced = "5.7"\nmeans = "route"',
            "smtp.replies.0: fits nothing: code and enhanced begin with the same digit",
        ),
        (
            'code = 550\nmeans = "gone"',
            (
                "smtp.replies.0.means: must be 'deferred', 'failed', 'throttle', 'quota', 'route' or "
                "'outage', not 'gone'"
            ),
        ),
        ("code = 550", "smtp.replies.0.means: is missing"),
        (
            'code = 550\nmeans = "route"\nwait = 5',
            'smtp.replies.0: has a wait, which is for means = "deferred" only',
        ),
        (
            'code = 550\nmeans = "route"\nregex = "x"',
            (
                "smtp.replies.0.regex: is nothing that one of smtp.replies has: "
                "code, enhanced, text, means, wait"
            ),
        ),
    ],
)
def test_a_wrong_row_is_told_at_the_start(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, row: str, problem: str
) -> None:
    """Each mistake has its sentence, with the place."""
    (tmp_path / "config.toml").write_text(
        f"[smtp]\nhost='x'\n[[smtp.replies]]\n{row}\n[mail]\ntransport='none'"
    )

    assert run(["check"]) == 78
    assert capsys.readouterr().err == f"mailerd: {problem}\n"


def test_the_rows_on_one_line_are_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable or a credential has no tables; check --show tells the rows in force."""
    name = "MAILERD_SMTP__REPLIES"
    monkeypatch.setenv(name, '[{"code": 554, "text": "no, thanks", "means": "deferred", "wait": 60}]')
    assert told(capsys, "554 No, thanks")["source"] == "smtp.replies"
    assert run(["check", "--show"]) == 0
    assert 'replies = ["554 \\"no, thanks\\": deferred, 60 s"]' in capsys.readouterr().out

    monkeypatch.setenv(name, "554=route")
    assert run(["check"]) == 78
    assert "smtp.replies: must be JSON on one line: [{" in capsys.readouterr().err
