"""Several relays: another one is asked where no hand-over can have begun, and nobody gets two mails."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mailerd.config import Smtp
from mailerd.message import Message
from mailerd.outcome import Kind, Outcome
from mailerd.transports.smtp import SmtpTransport
from mailerd.transports.smtp_session import SmtpSession
from rigs.hand_clock import HandClock, PushedClock
from rigs.hand_overs import deliver
from rigs.ports import free_port
from rigs.scripted_smtp import ScriptedServer

REFUSED_LOGIN = {"EHLO": ["250-me\r\n250 AUTH PLAIN"] * 9, "AUTH": ["535 5.7.8 no"] * 9}
CONTENT = b"Subject: x\r\n\r\nbody\r\n"


@pytest.fixture
def servers() -> Iterator[tuple[ScriptedServer, ScriptedServer]]:
    with ScriptedServer() as first, ScriptedServer() as second:
        yield first, second


Servers = tuple[ScriptedServer, ScriptedServer]


class Way:
    """A transport over two relays, its clock and its sessions."""

    def __init__(self, ports: tuple[int, int], clock: HandClock, **settings: Any) -> None:
        self.clock = clock
        relays = [{"port": ports[1], "host": "127.0.0.1"}]
        given = {"host": "127.0.0.1", "port": ports[0], "tls": "none", "relays": relays, "command_timeout": 5}
        self.transport = SmtpTransport(Smtp.model_validate({**given, **settings}), self.clock)
        self.sessions: list[SmtpSession] = []
        self.session = self.another()

    def another(self) -> SmtpSession:
        self.sessions.append(self.transport.session(1))
        return self.sessions[-1]

    def send(self, session: SmtpSession | None = None) -> Outcome:
        message = Message("news@example.com", "user@example.org", CONTENT, "<1@example.com>", "batch-1")
        return deliver((session or self.session), message, lambda: True)


@pytest.fixture
def way(servers: Servers) -> Iterator[Callable[..., Way]]:
    made: list[Way] = []

    def make(first: int = servers[0].port, clock: HandClock | None = None, **settings: Any) -> Way:
        made.append(Way((first, servers[1].port), clock or HandClock(), **settings))
        return made[-1]

    yield make
    for each in made:
        for session in each.sessions:
            session.close()


Make = Callable[..., Way]


def taken(servers: Servers) -> tuple[int, int]:
    return len(servers[0].mails), len(servers[1].mails)


def test_the_first_relay_is_preferred_and_the_others_never_bothered(servers: Servers, way: Make) -> None:
    """As long as the first one takes mail, nobody connects to the second."""
    going = way(mails_per_connection=1)

    assert [going.send().kind for _ in range(3)] == [Kind.SENT] * 3
    assert (taken(servers), servers[1].connections) == ((3, 0), 0)


def test_a_relay_that_is_down_is_left_and_come_back_to(servers: Servers, way: Make) -> None:
    """The second takes over within the same mail; the first has its mails again once back."""
    going = way()
    servers[0].script["GREETING"] = ["cut", "421 full"]
    sent = [going.send() for _ in range(3)]
    going.clock.at += 6
    sent.append(going.send())  # the first one is asked, and is still out of order
    assert (taken(servers), servers[0].connections) == ((0, 4), 2)
    troubles = list(going.transport.troubles().values())
    assert "421 full" in troubles[0]
    assert troubles[1] == ""

    going.clock.at += 6  # of the ten seconds that it is left alone now
    sent.append(going.send())
    assert servers[0].connections == 2
    going.clock.at += 5
    sent += [going.send() for _ in range(2)]

    assert {outcome.kind for outcome in sent} == {Kind.SENT}
    assert taken(servers) == (2, 5)
    assert set(going.transport.troubles().values()) == {""}


def test_a_relay_that_greets_nobody_is_left_as_one_that_cannot_be_reached(
    servers: Servers, way: Make
) -> None:
    """Its greeting has no longer than connecting may take, not the minutes that an only server has for it."""
    going = way(connect_timeout=0.2, command_timeout=60)
    servers[0].script["GREETING"] = ["hang"]
    began = time.monotonic()

    assert going.send().kind is Kind.SENT
    assert time.monotonic() - began < 10
    assert taken(servers) == (0, 1)
    assert "no answer within 0.2 s" in next(iter(going.transport.troubles().values()))


def test_a_relay_that_greets_and_is_then_silent_is_left_likewise(servers: Servers, way: Make) -> None:
    """No step of an opening has longer than connecting while others may be had; and it is remembered."""
    going = way(connect_timeout=0.2, command_timeout=60)
    servers[0].script["EHLO"] = ["hang"] * 9
    began = time.monotonic()

    assert [going.send().kind for _ in range(3)] == [Kind.SENT] * 3
    assert (taken(servers), servers[0].connections) == ((0, 3), 1)
    going.clock.at += 6
    assert [going.send().kind for _ in range(3)] == [Kind.SENT] * 3
    assert time.monotonic() - began < 10
    assert (taken(servers), servers[0].connections) == ((0, 6), 2)
    assert "no answer within 0.2 s" in next(iter(going.transport.troubles().values()))


def test_a_relay_that_lets_us_in_and_is_then_silent_is_asked_again_briefly(
    servers: Servers, way: Make
) -> None:
    """The first time a command has its time; from then on nobody waits longer for one than for connecting."""
    going = way(clock=PushedClock(), connect_timeout=0.1, command_timeout=0.4)
    servers[0].script["MAIL"] = ["hang"] * 2

    assert [going.send().kind for _ in range(2)] == [Kind.SENT] * 2
    assert "no answer within 0.4 s" in next(iter(going.transport.troubles().values()))
    going.clock.at += 6
    assert going.send().kind is Kind.SENT
    assert "no answer within 0.1 s" in next(iter(going.transport.troubles().values()))
    assert (taken(servers), servers[0].seen("MAIL")) == ((0, 3), 2)
    going.clock.at += 11
    assert [going.send().kind for _ in range(2)] == [Kind.SENT] * 2
    assert (taken(servers)[0], set(going.transport.troubles().values())) == (2, {""})


def test_an_only_server_may_take_its_time_to_greet(servers: Servers, way: Make) -> None:
    """As long as for any command: RFC 5321 grants it five minutes (4.5.3.2.1)."""
    going = way(connect_timeout=0.1, command_timeout=0.4, relays=[])
    servers[0].script["GREETING"] = ["hang"]

    assert "no answer within 0.4 s" in going.send().reason


def test_every_session_comes_back_to_the_first_relay(servers: Servers, way: Make) -> None:
    """Once it has taken a mail again, no other session stays with the second one."""
    going = way()
    servers[0].script["GREETING"] = ["cut"]
    other = going.another()
    for session in (going.session, other):
        going.send(session)
    going.clock.at += 6
    for session in (going.session, other):
        going.send(session)

    assert taken(servers) == (2, 2)


@pytest.mark.covers("mail-21")
def test_a_login_that_is_refused_is_not_hammered_while_another_relay_is_used(
    servers: Servers, way: Make
) -> None:
    """Ten minutes of mails, one a second, ask the relay that refuses our login a dozen times."""
    servers[0].script.update({"EHLO": ["250-me\r\n250 AUTH PLAIN"] * 99, "AUTH": ["535 5.7.8 no"] * 99})
    relays = [{"host": "127.0.0.1", "port": servers[1].port, "username": ""}]
    going = way(username="shop", password="hunter2", relays=relays)

    for _ in range(600):
        assert going.send().kind is Kind.SENT
        going.clock.at += 1

    assert taken(servers) == (0, 600)
    assert 10 <= servers[0].seen("AUTH") <= 14


def test_only_when_all_are_out_of_order_is_the_route_blocked(servers: Servers, way: Make) -> None:
    """Then the reason names each with its trouble; and whichever is back first takes the mail at once."""
    port = free_port()
    going = way(first=port)
    servers[1].script["GREETING"] = ["554 no service"]

    outcome = going.send()

    assert outcome.kind is Kind.BLOCKED
    assert f"127.0.0.1:{port}" in outcome.reason
    assert "554 no service" in outcome.reason
    assert going.send().kind is Kind.SENT


def test_two_refused_logins_are_a_refused_route(servers: Servers, way: Make) -> None:
    """Neither is asked again before its pause is over, however often a mail is tried."""
    for server in servers:
        server.script.update(REFUSED_LOGIN)
    going = way(username="shop", password="hunter2")

    outcomes = [going.send() for _ in range(20)]

    assert {outcome.kind for outcome in outcomes} == {Kind.REFUSED}
    assert all("535" in outcome.reason and "hunter2" not in outcome.reason for outcome in outcomes)
    assert [server.seen("AUTH") for server in servers] == [1, 1]


@pytest.mark.covers("mail-16")
def test_an_answer_lost_at_one_relay_is_never_asked_of_the_other(servers: Servers, way: Make) -> None:
    """A mail whose final dot went out is unknown, and the other relay hears nothing of it."""
    servers[0].script["DOT"] = ["cut"]
    going = way()

    assert going.send().kind is Kind.UNKNOWN
    assert (len(servers[0].mails), servers[1].connections) == (1, 0)


def test_a_begun_mail_that_a_relay_refuses_for_the_account_is_begun_anew(servers: Servers, way: Make) -> None:
    """It is nobody's attempt and blocks no route: given back, it goes through the other relay."""
    servers[0].script["DOT"] = ["530 5.7.0 Authentication required"]
    going = way()

    given_back, sent = going.send(), going.send()

    assert (given_back.kind, sent.kind) == (Kind.WITHHELD, Kind.SENT)
    assert "530" in given_back.reason
    assert len(servers[1].mails) == 1


@pytest.mark.parametrize(
    ("moment", "deed"),
    [
        ("MAIL", "cut"),
        ("MAIL", "451 4.3.2 out of order"),
        ("MAIL", "530 5.7.0 login first"),
        ("DATA", "cut"),
        ("DATA", "530 5.7.0 login first"),
    ],
)
def test_a_relay_that_lets_us_in_and_takes_no_envelope_is_left(
    servers: Servers, way: Make, moment: str, deed: str
) -> None:
    """Nothing was begun there: the same mail goes through the other one, and the next ones as well."""
    servers[0].script[moment] = [deed] * 9
    going = way()

    assert [going.send().kind for _ in range(2)] == [Kind.SENT] * 2
    assert (taken(servers), servers[0].seen(moment)) == ((0, 2), 1)


def test_a_relay_that_dies_under_a_mail_costs_its_recipient_no_attempt(servers: Servers, way: Make) -> None:
    """Cut off before the dot by a relay that is gone, the mail is given back for the other one."""
    servers[0].script["CONTENT"] = ["cut"]
    going = way()
    content = CONTENT + (b"y" * 70 + b"\r\n") * 200_000  # more than the system takes at once
    message = Message("news@example.com", "user@example.org", content, "<1@example.com>", "batch-1")

    def begin() -> bool:
        servers[0].stop_listening()
        return True

    assert deliver(going.session, message, begin).kind is Kind.WITHHELD
    assert going.send().kind is Kind.SENT
    assert taken(servers) == (0, 1)


def test_the_route_has_trouble_only_where_all_relays_have(servers: Servers, way: Make) -> None:
    """Asked for trouble, each is tried; as long as one lets us in there is none."""
    transport = way(first=free_port()).transport

    assert transport.trouble() == ""
    assert servers[1].seen("QUIT") == 1
    servers[1].stop_listening()
    assert transport.trouble().count("refused") == 2
