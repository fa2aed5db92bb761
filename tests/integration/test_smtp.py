"""The SMTP transport against servers that misbehave, that want TLS and a login, and that others wrote."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword

from mailerd.clock import SystemClock
from mailerd.config import Smtp
from mailerd.errors import ConfigurationError
from mailerd.message import Message
from mailerd.outcome import Kind, Outcome
from mailerd.transports.smtp import SmtpTransport
from mailerd.transports.smtp_session import SmtpSession
from rigs.hand_overs import deliver
from rigs.ports import free_port
from rigs.scripted_smtp import ScriptedServer as Server
from rigs.smtp_sink import StartSink, smtp_sinks
from rigs.waiting import wait_until

CONTENT = b"Subject: x\r\n\r\n.dot\r\nbody\r\n"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.fixture
def opened() -> Iterator[Callable[..., SmtpSession]]:
    sessions: list[SmtpSession] = []

    def make(port: int, **settings: Any) -> SmtpSession:
        given = {"host": "127.0.0.1", "port": port, "tls": "none", "command_timeout": 5, **settings}
        sessions.append(SmtpTransport(Smtp.model_validate(given), SystemClock()).session(1))
        return sessions[-1]

    yield make
    for session in sessions:
        session.close()


Open = Callable[..., SmtpSession]


def mail(recipient: str = "user@example.org", content: bytes = CONTENT) -> Message:
    return Message("news@example.com", recipient, content, "<1@example.com>", "batch-1")


def send(session: SmtpSession, recipient: str = "user@example.org", content: bytes = CONTENT) -> Outcome:
    return deliver(session, mail(recipient, content), lambda: True)


# One conversation


def test_a_mail_is_sent_in_the_servers_words(server: Server, opened: Open) -> None:
    """SENT carries the server's reply and its id; dots and bytes arrive as they were."""
    outcome = send(opened(server.port), content=b".first\r\n..\r\n.\r\nlast\r\n")

    assert outcome == Outcome(Kind.SENT, "250 2.0.0 Ok: queued as ABC123", "ABC123")
    assert server.mails == [b".first\r\n..\r\n.\r\nlast\r\n"]


@pytest.mark.parametrize(
    ("moment", "reply", "kind"),
    [
        ("RCPT", "450 4.2.0 greylisted", Kind.DEFERRED),
        ("RCPT", "550 5.1.1 <user@example.org> unknown", Kind.FAILED),
        ("RCPT", "530 5.7.0 login first", Kind.REFUSED),
        ("DATA", "451 4.3.0 later", Kind.DEFERRED),
        ("DATA", "554 5.5.1 no valid recipients", Kind.FAILED),
        ("DOT", "452 4.3.1 disk full", Kind.DEFERRED),
        ("DOT", "554 5.7.1 spam", Kind.FAILED),
        ("DOT", "454 Throttling failure: Maximum sending rate exceeded.", Kind.THROTTLED),
        ("MAIL", "550 5.7.1 not your domain", Kind.REFUSED),
        ("MAIL", "451 4.3.2 out of order", Kind.BLOCKED),
    ],
)
@pytest.mark.covers("mail-29", "mail-22")
def test_a_refusal_concerns_this_mail_only(
    server: Server, opened: Open, moment: str, reply: str, kind: Kind
) -> None:
    """A refusal at any moment has its outcome and words; the next mail goes out on the same connection."""
    server.script[moment] = [reply]
    session = opened(server.port)

    outcome = send(session)
    following = send(session, "next@example.org")

    assert outcome.kind is kind
    assert reply.replace("<user@example.org>", "<recipient>") in outcome.reason
    assert following.kind is Kind.SENT
    assert server.connections == 1
    assert server.seen("RSET") == (moment != "DOT")


def test_begin_is_asked_right_before_the_mail_goes_out(server: Server, opened: Open) -> None:
    """``begin`` stands between DATA and the mail; a refused recipient never begins, and no hangs up."""
    session = opened(server.port)
    asked: list[str] = []

    def begin() -> bool:
        asked.append(server.commands[-1])
        return len(asked) > 1

    server.script["RCPT"] = ["550 no"]
    assert deliver(session, mail(), begin).kind is Kind.FAILED
    assert deliver(session, mail(), begin).kind is Kind.WITHHELD
    assert deliver(session, mail(), begin).kind is Kind.SENT

    assert asked == ["DATA"] * 2
    assert (server.connections, len(server.mails)) == (2, 1)
    assert server.seen("RSET") == 1


@pytest.mark.covers("mail-30")
def test_the_connection_is_kept_and_renewed_in_time(server: Server, opened: Open) -> None:
    """A connection carries ``mails_per_connection`` mails, then says QUIT; a close says QUIT too."""
    session = opened(server.port, mails_per_connection=3)

    kinds = [send(session).kind for _ in range(7)]
    session.close()

    assert kinds == [Kind.SENT] * 7
    assert server.connections == 3
    assert server.seen("QUIT") == 3


# Connections that end


@pytest.mark.parametrize("moment", ["MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize("deed", ["cut", "421 4.7.0 too many mails in this connection", "503 need MAIL"])
@pytest.mark.covers("mail-27")
def test_a_connection_that_ends_early_is_replaced(
    server: Server, opened: Open, moment: str, deed: str
) -> None:
    """What ends before ``begin`` goes on with a new connection: no failed attempt, ``begin`` asked once."""
    session = opened(server.port)
    send(session)
    server.script[moment] = [deed]
    asked: list[int] = []

    outcome = deliver(session, mail(), lambda: not asked.append(1))

    assert outcome.kind is Kind.SENT
    assert (server.connections, len(server.mails), len(asked)) == (2, 2, 1)


@pytest.mark.covers("mail-28")
def test_a_kept_connection_that_the_server_gave_up_is_replaced(server: Server, opened: Open) -> None:
    """A server that hangs up on an idle connection costs nothing."""
    session = opened(server.port)
    send(session)
    server.cut_all()

    assert send(session).kind is Kind.SENT
    assert server.connections == 2


@pytest.mark.parametrize("deed", ["cut", "421 closing", "hang"])
def test_a_server_that_keeps_ending_early_blocks_the_route(server: Server, opened: Open, deed: str) -> None:
    """Cut off twice before ``begin``, the route is blocked, says where, and ``begin`` was never asked."""
    server.script["RCPT"] = [deed, deed]
    asked: list[int] = []

    session = opened(server.port, command_timeout=0.3)
    outcome = deliver(session, mail(), lambda: not asked.append(1))

    assert outcome.kind is Kind.BLOCKED
    assert f"127.0.0.1:{server.port}" in outcome.reason
    assert (server.connections, asked) == (2, [])


@pytest.mark.parametrize("deed", ["cut", "421 not for this one"])
def test_a_recipient_at_whom_the_server_hangs_up_does_not_keep_the_route_blocked(
    server: Server, opened: Open, deed: str
) -> None:
    """Cut off at the same recipient in the next try as well, it is that recipient who waits, and no route."""
    server.script["RCPT"] = [deed] * 4
    session = opened(server.port)

    assert send(session).kind is Kind.BLOCKED
    deferred = send(session)

    assert deferred.kind is Kind.DEFERRED
    assert deferred.reason.startswith(f"the server hangs up at this recipient: 127.0.0.1:{server.port}")
    assert send(session).kind is Kind.SENT


def test_a_connection_cut_before_the_dot_is_a_mail_not_delivered(server: Server, opened: Open) -> None:
    """Cut off after ``begin`` and before the dot: deferred, the server is there and may mind this mail."""
    server.script["CONTENT"] = ["cut"]
    big = CONTENT + b"x" * 70 + b"\r\n" + (b"y" * 70 + b"\r\n") * 200_000
    session = opened(server.port)

    outcome = send(session, content=big)

    assert outcome.kind is Kind.DEFERRED
    assert "cut off before the mail was complete" in outcome.reason
    assert send(session).kind is Kind.SENT
    assert len(server.mails) == 1


def test_a_server_that_goes_down_under_a_mail_is_a_blocked_route(server: Server, opened: Open) -> None:
    """Cut off before the dot and not to be reached any more: nobody's attempt, the route is blocked."""
    server.script["CONTENT"] = ["cut"]
    session = opened(server.port)

    def begin() -> bool:
        server.stop_listening()
        return True

    big = CONTENT + (b"y" * 70 + b"\r\n") * 200_000
    outcome = deliver(session, mail(content=big), begin)

    assert outcome.kind is Kind.BLOCKED
    assert "refused" in outcome.reason


@pytest.mark.parametrize("deed", ["cut", "hang", "nonsense"])
@pytest.mark.covers("mail-16")
def test_an_answer_lost_after_the_dot_is_unknown(server: Server, opened: Open, deed: str) -> None:
    """After the final dot without an answer nobody knows; the next mail goes out on a new connection."""
    server.script["DOT"] = [deed]
    session = opened(server.port, data_timeout=0.3)

    outcome = send(session)

    assert outcome.kind is Kind.UNKNOWN
    assert f"127.0.0.1:{server.port}" in outcome.reason
    assert send(session).kind is Kind.SENT
    assert server.connections == 2


@pytest.mark.covers("mail-29")
def test_a_reply_that_comes_too_late_is_nobodys(server: Server, opened: Open) -> None:
    """A connection that timed out is never read again: a late 550 cannot become the next mail's answer."""
    server.script["DOT"] = ["hang"]
    session = opened(server.port, data_timeout=0.2)
    assert send(session).kind is Kind.UNKNOWN

    with suppress(OSError):
        server._open[0].sendall(b"550 late\r\n")

    assert send(session, "next@example.org").kind is Kind.SENT


# Connections that do not come about


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ({"GREETING": ["554 no service"]}, "greeting: 554 no service"),
        ({"GREETING": ["cut"]}, "closed"),
        ({"GREETING": ["hang"]}, "no answer within 0.3 s"),
        ({"EHLO": ["502 what"], "HELO": ["550 go away"]}, "HELO: 550 go away"),
    ],
)
def test_a_server_that_lets_nobody_in_blocks_the_route(
    server: Server, opened: Open, script: dict[str, list[str]], says: str
) -> None:
    """Whatever keeps a connection from coming about blocks the route, and says where and what."""
    server.script.update(script)

    outcome = send(opened(server.port, command_timeout=0.3))

    assert outcome.kind is Kind.BLOCKED
    assert f"127.0.0.1:{server.port}" in outcome.reason
    assert says in outcome.reason


def test_a_server_that_is_not_there_blocks_the_route_and_comes_back(opened: Open) -> None:
    """A refused connection and an unknown host block the route; the same session goes on once it answers."""
    port = free_port()
    session = opened(port)

    assert "refused" in send(session).reason
    assert send(opened(port, host="nowhere.invalid")).kind is Kind.BLOCKED
    assert send(opened(port, host="x" * 70 + ".invalid")).kind is Kind.BLOCKED
    server = Controller(Keep(), hostname="127.0.0.1", port=port)
    server.start()
    try:
        assert send(session).kind is Kind.SENT
    finally:
        server.stop()


# From another thread


def aborted(session: SmtpSession, ready: Callable[[], bool]) -> Outcome:
    outcomes: list[Outcome] = []
    thread = threading.Thread(target=lambda: outcomes.append(send(session)))
    thread.start()
    wait_until(ready, 5, "the hand-over did not get there")
    session.abort()
    thread.join(5)
    assert not thread.is_alive()
    return outcomes[0]


@pytest.mark.parametrize(
    ("moment", "kind"),
    [
        ("GREETING", Kind.WITHHELD),
        ("RCPT", Kind.WITHHELD),
        ("DATA", Kind.WITHHELD),
        ("DOT", Kind.UNKNOWN),
    ],
)
def test_abort_ends_a_hand_over_at_once_and_honestly(
    server: Server, opened: Open, moment: str, kind: Kind
) -> None:
    """Aborted before the dot a mail is withheld, after it unknown; the session then hands nothing over."""
    server.script[moment] = ["hang"]
    session = opened(server.port, command_timeout=60, data_timeout=60)
    reached = {"GREETING": lambda: server.connections == 1, "DOT": lambda: bool(server.mails)}

    outcome = aborted(session, reached.get(moment, lambda: server.seen(moment) == 1))

    assert outcome.kind is kind
    assert send(session).kind is Kind.WITHHELD
    assert server.connections == 1


# TLS and login, against aiosmtpd


class Keep:
    """Keeps what arrives."""

    def __init__(self) -> None:
        self.mails: list[Envelope] = []

    async def handle_DATA(self, _server: object, _session: object, envelope: Envelope) -> str:  # noqa: N802 # aiosmtpd's
        self.mails.append(envelope)
        return "250 OK"


def login(
    _server: object, _session: object, _envelope: object, mechanism: str, data: LoginPassword
) -> AuthResult:
    good = (data.login, data.password) == (b"mailerd", "pässword".encode())
    return AuthResult(success=good and mechanism in ("PLAIN", "LOGIN"), handled=False)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return tmp_path / "ca.pem"


@pytest.fixture
def secured(authority: trustme.CA) -> Iterator[Callable[..., Controller]]:
    running: list[Controller] = []

    def make(*, implicit: bool = False, name: str = "localhost", **settings: Any) -> Controller:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(context)
        given = {"ssl_context": context} if implicit else {"tls_context": context, "require_starttls": True}
        running.append(Controller(Keep(), hostname="localhost", port=free_port(), **given, **settings))
        running[-1].start()
        return running[-1]

    yield make
    for controller in running:
        controller.stop()


Secured = Callable[..., Controller]


@pytest.mark.parametrize("implicit", [True, False])
def test_mail_goes_out_over_verified_tls(
    secured: Secured, opened: Open, ca_file: Path, implicit: bool
) -> None:
    """Implicit TLS and STARTTLS with a certificate of the configured authority carry mail, and are kept."""
    server = secured(implicit=implicit)
    tls = "implicit" if implicit else "starttls"
    session = opened(server.port, host="localhost", tls=tls, ca_file=ca_file)

    assert [send(session).kind for _ in range(3)] == [Kind.SENT] * 3
    assert len(server.handler.mails) == 3


def test_a_mail_larger_than_any_buffer_arrives_whole_over_tls(
    secured: Secured, opened: Open, ca_file: Path
) -> None:
    """However often the socket has to be waited for, each byte is written once."""
    server = secured()
    content = CONTENT + b"".join(b"%08d %s\r\n" % (line, b"y" * 60) for line in range(60_000))

    sent = send(opened(server.port, host="localhost", tls="starttls", ca_file=ca_file), content=content)

    assert sent.kind is Kind.SENT
    assert server.handler.mails[0].original_content == content


@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize("name", ["localhost", "elsewhere.example"])
def test_a_certificate_that_is_not_trusted_blocks_the_route(
    secured: Secured, opened: Open, ca_file: Path, implicit: bool, name: str
) -> None:
    """An unknown authority or another host's name is no server of ours: nothing is sent to it."""
    server = secured(implicit=implicit, name=name)
    trusted = {"ca_file": ca_file} if name == "elsewhere.example" else {}
    tls = "implicit" if implicit else "starttls"

    outcome = send(opened(server.port, host="localhost", tls=tls, **trusted))

    assert outcome.kind is Kind.BLOCKED
    assert f"localhost:{server.port}: its certificate is not trusted" in outcome.reason
    assert server.handler.mails == []


def test_a_server_without_starttls_gets_nothing(server: Server, opened: Open) -> None:
    """Where STARTTLS is wanted and not offered, no mail and no password leaves."""
    session = opened(server.port, tls="starttls", username="mailerd", password="secret")

    outcome = send(session)

    assert outcome.kind is Kind.BLOCKED
    assert "does not offer STARTTLS" in outcome.reason
    assert "smtp.tls" in outcome.reason
    assert not server.seen("AUTH")
    assert not server.seen("MAIL")


def test_a_server_that_speaks_no_tls_blocks_the_route(server: Server, opened: Open) -> None:
    """Implicit TLS against a plain port is a TLS failure that says so."""
    outcome = send(opened(server.port, tls="implicit"))

    assert outcome.kind is Kind.BLOCKED
    assert "TLS failed" in outcome.reason


@pytest.mark.parametrize("excluded", [["LOGIN"], ["PLAIN"]])
def test_a_login_works_by_plain_and_by_login(
    secured: Secured, opened: Open, ca_file: Path, excluded: list[str]
) -> None:
    """AUTH PLAIN and AUTH LOGIN both work, with a password beyond ASCII."""
    server = secured(authenticator=login, auth_required=True, auth_exclude_mechanism=excluded)
    session = opened(
        server.port,
        host="localhost",
        tls="starttls",
        ca_file=ca_file,
        username="mailerd",
        password="pässword",
    )

    assert send(session).kind is Kind.SENT


@pytest.mark.covers("mail-21")
def test_a_refused_login_blocks_the_route_without_showing_the_password(
    secured: Secured, opened: Open, ca_file: Path
) -> None:
    """A wrong password burns nobody; the reason holds the server's words and no secret."""
    server = secured(authenticator=login, auth_required=True)
    session = opened(
        server.port, host="localhost", tls="starttls", ca_file=ca_file, username="mailerd", password="wr0ng"
    )

    outcome = send(session)

    assert outcome.kind is Kind.REFUSED
    assert "535" in outcome.reason
    assert "wr0ng" not in outcome.reason


def test_a_server_without_login_blocks_the_route(server: Server, opened: Open) -> None:
    """A user name for a server that offers no login is a blocked route that says so."""
    outcome = send(opened(server.port, username="mailerd", password="x"))

    assert outcome.kind is Kind.BLOCKED
    assert "offers no login" in outcome.reason


def test_a_ca_file_without_certificates_is_a_fault_of_the_configuration(tmp_path: Path) -> None:
    """A missing or empty ``smtp.ca_file`` is told at once, with its key."""
    (tmp_path / "empty.pem").write_text("")
    for file in ("empty.pem", "missing.pem"):
        with pytest.raises(ConfigurationError, match=r"smtp\.ca_file"):
            SmtpTransport(
                Smtp.model_validate({"host": "localhost", "ca_file": tmp_path / file}), SystemClock()
            )


# Postfix's own sink


@pytest.fixture
def postfix_sink() -> Iterator[StartSink]:
    with smtp_sinks() as start:
        yield start


def test_postfix_takes_many_mails_on_few_connections(postfix_sink: StartSink, opened: Open) -> None:
    """Two hundred and fifty mails go to Postfix's sink, all accepted, on renewed connections."""
    session = opened(postfix_sink())

    assert {send(session, f"user{number}@example.org").kind for number in range(250)} == {Kind.SENT}


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        (["-r", "RCPT"], Kind.DEFERRED),
        (["-f", "RCPT"], Kind.FAILED),
        (["-r", "."], Kind.DEFERRED),
        (["-f", "."], Kind.FAILED),
        (["-Q", "RCPT"], Kind.BLOCKED),
        (["-q", "RCPT"], Kind.BLOCKED),
        (["-q", "DATA"], Kind.DEFERRED),
        (["-q", "."], Kind.UNKNOWN),
    ],
)
def test_postfix_misbehaving_on_purpose(
    postfix_sink: StartSink, opened: Open, options: list[str], kind: Kind
) -> None:
    """Each fault that Postfix's sink can play has its outcome."""
    assert send(opened(postfix_sink(*options))).kind is kind
