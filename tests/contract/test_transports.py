"""What every transport promises, over every transport that hands mails over."""

from __future__ import annotations

import email
import email.policy
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mailerd.config import Config
from mailerd.message import Composer, MailSettings, Message, Rendered
from mailerd.outcome import Kind
from mailerd.transports import Transport, open_transport
from rigs.fake_ses import ENVIRONMENT, FakeSes
from rigs.hand_overs import Mails, deliver, deliver_all
from rigs.sink import Sink

CONNECTIONS = 3


@dataclass
class Route:
    """A transport, and what arrived through it."""

    transport: Transport
    arrived: Callable[[], list[bytes]]


@pytest.fixture(params=["outbox", "smtp", "ses"])
def route(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Route]:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with Sink(tmp_path / "sink") as sink, FakeSes() as fake:
        config = Config.model_validate(
            {
                "mail": {"transport": request.param, "from": "a@example.com", "outbox": tmp_path / "out"},
                "smtp": {"host": "127.0.0.1", "port": sink.port, "tls": "none"},
                "ses": fake.settings,
            }
        )
        transport = open_transport(config)
        assert transport is not None
        arrived: dict[str, Callable[[], list[bytes]]] = {
            "outbox": lambda: [file.read_bytes() for file in sorted((tmp_path / "out").rglob("*.eml"))],
            "smtp": lambda: [mail.content for mail in sink.mails()],
            "ses": lambda: [mail.sending.content for mail in fake.mails()],
        }
        yield Route(transport, arrived[request.param])


def mail_to(contact: str, rendered: Rendered | None = None) -> Message:
    mail = Config.model_validate({"mail": {"from": "News <news@example.com>"}}).mail
    composer = Composer(mail, MailSettings(), client_id="shop", batch_id="batch-1", template_id="welcome")
    return composer.compose(contact, f"{contact}@example.org", rendered or Rendered("Hi", "text"), 1.7e9)


def test_a_mail_arrives_byte_for_byte_once_begun(route: Route) -> None:
    """Leading dots, long lines, NUL and UTF-8 arrive as composed; ``begin`` is asked exactly once, before."""
    asked: list[int] = []
    body = ".\n..\n.leading\nFrom me\n" + "x" * 2000 + "\n\x00 trailing \nGrüße\n."
    message = mail_to("user1", Rendered("Grüße", body, "<p>.</p>\n.\n"))
    session = route.transport.session(CONNECTIONS)

    outcome = deliver(session, message, lambda: not asked.append(len(route.arrived())))
    session.close()

    assert outcome.kind is Kind.SENT
    assert asked == [0]
    assert route.arrived() == [message.content]


def test_a_mail_that_must_not_begin_is_withheld(route: Route) -> None:
    """A ``begin`` that says no: WITHHELD, nothing handed over, and the session goes on."""
    session = route.transport.session(CONNECTIONS)

    withheld = deliver(session, mail_to("user1"), lambda: False)
    before = route.arrived()
    sent = deliver(session, mail_to("user2"), lambda: True)
    session.close()

    assert (withheld.kind, sent.kind) == (Kind.WITHHELD, Kind.SENT)
    assert before == []
    assert [email.message_from_bytes(mail)["To"] for mail in route.arrived()] == ["user2@example.org"]


def test_a_closed_session_opens_again(route: Route) -> None:
    """A session that was closed while idle takes the next mail."""
    session = route.transport.session(CONNECTIONS)
    deliver(session, mail_to("user1"), lambda: True)
    session.close()

    outcome = deliver(session, mail_to("user2"), lambda: True)
    session.close()
    session.close()

    assert outcome.kind is Kind.SENT
    assert len(route.arrived()) == 2


def test_many_mails_arrive_each_once(route: Route) -> None:
    """A hundred and fifty mails of one group arrive, each once, and each has its own answer."""
    session = route.transport.session(CONNECTIONS)
    outcomes = deliver_all(session, [mail_to(f"user{number}") for number in range(150)])
    session.close()

    assert {outcome.kind for outcome in outcomes} == {Kind.SENT}
    to = Counter(
        email.message_from_bytes(mail, policy=email.policy.default)["To"] for mail in route.arrived()
    )
    assert to == Counter(f"user{number}@example.org" for number in range(150))


def test_whom_the_caller_keeps_back_is_not_asked_for(route: Route) -> None:
    """Nobody is handed over whom ``next`` does not give; a ``begin`` that says no concerns its own mail."""
    session = route.transport.session(CONNECTIONS)
    mails = Mails([mail_to(f"user{number}") for number in range(9)], lambda index: index % 2 == 0)
    session.deliver(mails)
    session.close()

    sent = [index for index, outcome in sorted(mails.answers.items()) if outcome.kind is Kind.SENT]
    assert sent == [0, 2, 4, 6, 8]
    assert {mails.answers[index].kind for index in (1, 3, 5, 7)} == {Kind.WITHHELD}
    assert len(route.arrived()) == 5
