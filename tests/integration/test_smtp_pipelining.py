"""Many mails at once over few connections, to a server that takes several commands at once and misbehaves."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mailerd.clock import SystemClock
from mailerd.config import Smtp
from mailerd.message import Message
from mailerd.outcome import Kind
from mailerd.transports.smtp import SmtpTransport
from mailerd.transports.smtp_session import SmtpSession
from rigs.hand_overs import Mails, deliver_all
from rigs.scripted_smtp import ScriptedServer
from rigs.waiting import wait_until


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as running:
        running.script["EHLO"] = ["250-here\r\n250 PIPELINING"] * 99
        yield running


@pytest.fixture
def opened(server: ScriptedServer) -> Iterator[Callable[..., SmtpSession]]:
    sessions: list[SmtpSession] = []

    def make(connections: int = 1, **settings: Any) -> SmtpSession:
        given = {"host": "127.0.0.1", "port": server.port, "tls": "none", "command_timeout": 5, **settings}
        sessions.append(SmtpTransport(Smtp.model_validate(given), SystemClock()).session(connections))
        return sessions[-1]

    yield make
    for session in sessions:
        session.close()


Open = Callable[..., SmtpSession]


def mails(count: int) -> list[Message]:
    return [
        Message("news@example.com", f"u{n}@example.org", b"mail %d\r\n" % n, f"<{n}@x>", "b1")
        for n in range(count)
    ]


def got(server: ScriptedServer) -> Counter[bytes]:
    return Counter(server.mails)


def test_all_arrive_once_and_connections_are_renewed(server: ScriptedServer, opened: Open) -> None:
    """Thirty mails over three connections of ten each; nobody needs a connection of its own."""
    outcomes = deliver_all(opened(3, mails_per_connection=10), mails(30))

    assert {outcome.kind for outcome in outcomes} == {Kind.SENT}
    assert got(server) == Counter(message.content for message in mails(30))
    assert 3 <= server.connections <= 6


@pytest.mark.parametrize("deed", ["cut", "421 4.7.0 enough", "hang"])
@pytest.mark.parametrize("moment", ["MAIL", "RCPT", "DATA"])
@pytest.mark.covers("mail-27", "mail-28")
def test_what_was_not_begun_goes_out_on_a_new_connection(
    server: ScriptedServer, opened: Open, moment: str, deed: str
) -> None:
    """Whatever ends a pipelined envelope costs nobody an attempt, and nobody gets two mails."""
    server.script[moment] = ["354 go" if moment == "DATA" else "250 ok"] * 2 + [deed]

    outcomes = deliver_all(opened(command_timeout=0.3), mails(6))

    assert {outcome.kind for outcome in outcomes} == {Kind.SENT}
    assert got(server) == Counter(message.content for message in mails(6))


@pytest.mark.parametrize("deed", ["cut", "hang", "nonsense"])
@pytest.mark.covers("mail-16")
def test_an_answer_lost_after_the_dot_concerns_one_mail(
    server: ScriptedServer, opened: Open, deed: str
) -> None:
    """The mail behind it in the same write had not begun: it goes out once, on a new connection."""
    server.script["DOT"] = ["250 ok", "250 ok", deed]

    outcomes = deliver_all(opened(data_timeout=0.3), mails(6))

    kinds = [outcome.kind for outcome in outcomes]
    assert kinds == [Kind.SENT, Kind.SENT, Kind.UNKNOWN, Kind.SENT, Kind.SENT, Kind.SENT]
    assert got(server) == Counter(message.content for message in mails(6))


@pytest.mark.covers("mail-22", "mail-29")
def test_each_refusal_is_its_own_recipients(server: ScriptedServer, opened: Open) -> None:
    """Refused at RCPT, at DATA and at the dot, with the next envelope on its way already."""
    server.script["RCPT"] = ["250 ok", "250 ok", "550 5.1.1 <u2@example.org> unknown"]
    server.script["DATA"] = ["354 go", "354 go", "554 no valid recipients", "354 go", "451 4.3.0 later"]
    server.script["DOT"] = ["250 ok", "552 5.2.2 full"]

    outcomes = deliver_all(opened(), mails(6))

    kinds = [Kind.SENT, Kind.FAILED, Kind.FAILED, Kind.SENT, Kind.DEFERRED, Kind.SENT]
    assert [outcome.kind for outcome in outcomes] == kinds
    assert "5.2.2" in outcomes[1].reason
    assert "<recipient> unknown" in outcomes[2].reason
    assert got(server) == Counter(mails(6)[n].content for n in (0, 1, 3, 5))
    assert server.connections == 1


def test_a_server_that_takes_one_connection_only_is_used_with_one(
    server: ScriptedServer, opened: Open
) -> None:
    """Where further connections are refused the mails go out over those that came about."""
    server.script["GREETING"] = ["220 hello", *["421 4.7.0 too many connections"] * 9]

    outcomes = deliver_all(opened(4), mails(12))

    assert {outcome.kind for outcome in outcomes} == {Kind.SENT}
    assert len(server.mails) == 12


def test_who_needs_a_new_connection_gets_one_also_where_there_are_fewer(
    server: ScriptedServer, opened: Open
) -> None:
    """A cut at one of two, right after a third did not come about, leaves nobody waiting."""
    server.script["GREETING"] = ["220 hello", "220 hello", "421 4.7.0 too many connections"]
    session = opened(3)
    deliver_all(session, mails(3))
    server.script["MAIL"] = ["cut"]

    outcomes = deliver_all(session, mails(2))

    assert {outcome.kind for outcome in outcomes} == {Kind.SENT}


def once(server: ScriptedServer, condition: Callable[[], bool]) -> threading.Thread:
    """Let the server say what is late once this holds."""
    thread = threading.Thread(target=lambda: wait_until(condition) and server.go_on.set())
    thread.start()
    return thread


def test_a_kept_connection_is_not_left_for_one_that_is_being_opened(
    server: ScriptedServer, opened: Open
) -> None:
    """Two of three were cut and are being opened again: the third has no need to make room."""
    session = opened(3)
    server.script["GREETING"] = ["220 hello", "late", "late"]
    start = once(server, lambda: server.connections == 3)
    deliver_all(session, mails(9))
    start.join()
    before, answered = server.connections, server.answered
    server.go_on.clear()
    server.script["MAIL"], server.script["GREETING"] = ["cut", "cut"], ["late", "late"]
    again = once(server, lambda: server.answered == answered + 1)

    outcomes = deliver_all(session, mails(3))
    again.join()
    outcomes += deliver_all(session, mails(3))

    assert {outcome.kind for outcome in outcomes} == {Kind.SENT}
    assert (before, server.connections) == (3, 5)


def test_one_refused_login_is_enough(server: ScriptedServer, opened: Open) -> None:
    """While no connection stands, one is tried for all; whoever had to wait for it is not begun."""
    server.script["GREETING"] = ["554 no"] * 9
    given = Mails(mails(8))

    opened(4).deliver(given)

    assert {outcome.kind for outcome in given.answers.values()} == {Kind.BLOCKED}
    assert (server.connections, given.begun) == (1, [])


def test_abort_ends_all_connections_at_once_and_honestly(server: ScriptedServer, opened: Open) -> None:
    """Of three at the dot each is unknown, the others were never begun and are withheld."""
    server.script["DOT"] = ["hang"] * 3
    session, given = opened(3, data_timeout=60), Mails(mails(9))
    thread = threading.Thread(target=session.deliver, args=(given,), daemon=True)
    thread.start()
    wait_until(lambda: len(server.mails) == 3, 5, "three are at the dot")
    session.abort()
    thread.join(5)

    assert not thread.is_alive()
    assert Counter(outcome.kind for outcome in given.answers.values()) == {Kind.UNKNOWN: 3, Kind.WITHHELD: 6}
    assert len(given.begun) == 3


def test_who_is_left_waits_for_a_connection_that_was_begun_for_somebody_else(
    server: ScriptedServer, opened: Open
) -> None:
    """The one that it was begun for went out elsewhere, and ended the only wire: nobody is left untaken."""
    server.script["GREETING"] = ["220 hello", "late"]
    session = opened(2)

    def not_the_second(index: int) -> bool:
        if index == 1:
            server.go_on.set()
        return index != 1

    outcomes = deliver_all(session, mails(4), not_the_second)

    assert [outcome.kind for outcome in outcomes] == [Kind.SENT, Kind.WITHHELD, Kind.SENT, Kind.SENT]


@pytest.mark.parametrize("ends", ["told to stop", "after a deadline"])
def test_an_answer_that_has_come_is_read_before_a_connection_is_given_up(
    server: ScriptedServer, opened: Open, ends: str
) -> None:
    """A worker that stood still while the server answered does not call that mail unknown."""
    session = opened(2, data_timeout=0.2 if ends == "after a deadline" else 5)
    begun: list[int] = []

    def stand_still_at_the_second(index: int) -> bool:
        begun.append(index)
        if len(begun) == 1:
            return True
        wait_until(lambda: server.answered == 1, 5, "the first is answered")
        if ends == "told to stop":
            session.abort()
        else:
            threading.Event().wait(0.3)
        return False

    outcomes = deliver_all(session, mails(2), stand_still_at_the_second)

    assert Counter(outcome.kind for outcome in outcomes) == {Kind.SENT: 1, Kind.WITHHELD: 1}
