"""The machinery of the tests itself: what it claims must be true before it may judge the daemon."""

from __future__ import annotations

import smtplib
import socket
from collections.abc import Callable

import pytest
import sqlalchemy

from rigs.postgres import PostgreSQL
from rigs.redis_server import RedisServer
from rigs.sink import Sink
from rigs.waiting import wait_until

RedisServers = Callable[..., RedisServer]
MAIL = b"Subject: hello\r\nMessage-ID: <1@test>\r\n\r\n..dots\r\n"


def test_sink_keeps_what_it_accepted(sink: Sink) -> None:
    """An accepted mail is on record with its envelope and its exact bytes, and its hand-over is answered."""
    with smtplib.SMTP("127.0.0.1", sink.port) as client:
        client.sendmail("from@test", ["a@test"], MAIL)

    (mail,) = sink.wait_for(1)

    assert (mail.sender, mail.recipient, mail.content) == ("from@test", "a@test", MAIL)
    assert mail.message_id == "<1@test>"
    assert sink.open() == []


def test_sink_refuses_as_told_and_no_more_than_told(sink: Sink) -> None:
    """A rule holds for its recipients and as often as it says; a refused mail is not on record."""
    rules = [
        {"at": "rcpt", "match": "^bad@", "do": "550 5.1.1 no such user"},
        {"at": "dot", "match": "^later@", "do": "450 4.2.0 later", "times": 1},
    ]
    sink.behave(rules=rules)
    with smtplib.SMTP("127.0.0.1", sink.port) as client:
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            client.sendmail("from@test", ["bad@test"], MAIL)
        with pytest.raises(smtplib.SMTPDataError):
            client.sendmail("from@test", ["later@test"], MAIL)
        client.sendmail("from@test", ["later@test"], MAIL)

    assert [mail.recipient for mail in sink.wait_for(1)] == ["later@test"]
    assert [hand_over.reply[:3] for hand_over in sink.hand_overs()] == ["450", "250"]


def test_sink_knows_the_open_hand_overs(sink: Sink) -> None:
    """A mail whose final dot was read counts as accepted and open until it is answered, even for ever."""
    sink.behave(rules=[{"at": "dot", "do": "hang"}])
    with socket.create_connection(("127.0.0.1", sink.port)) as client:
        said = client.makefile("rb")
        for command in (b"HELO t", b"MAIL FROM:<from@test>", b"RCPT TO:<a@test>", b"DATA"):
            said.readline()
            client.sendall(command + b"\r\n")
        client.sendall(MAIL + b".\r\n")
        sink.wait_for(1)

        assert [hand_over.recipient for hand_over in sink.open()] == ["a@test"]
        said.close()


@pytest.mark.parametrize(("moment", "accepted"), [("before_dot", 0), ("dot", 1)])
def test_sink_hangs_up_as_told(sink: Sink, moment: str, accepted: int) -> None:
    """It can cut the connection on either side of the final dot, and only behind it the mail is accepted."""
    sink.behave(rules=[{"at": moment, "do": "hang_up"}])
    with smtplib.SMTP("127.0.0.1", sink.port) as client, pytest.raises((smtplib.SMTPException, OSError)):
        client.sendmail("from@test", ["a@test"], MAIL)

    wait_until(sink.hand_overs, message="the DATA is not on record")
    assert len(sink.mails()) == accepted


def test_append_only_server_keeps_its_data(redis_servers: RedisServers) -> None:
    """An append-only server that was stopped or killed comes back on its port with what it had."""
    server = redis_servers(append_only=True, settings=("--appendfsync", "always")).start()
    client = server.client()
    client.set("kept", "yes")
    server.stop()
    server.start()
    assert client.get("kept") == b"yes"

    client.set("kept", "again")
    server.kill()
    server.start()

    assert client.get("kept") == b"again"
    client.close()


def test_postgres_makes_fresh_databases(postgres: PostgreSQL) -> None:
    """Each database is new and can be reached by the URL that it gives."""
    first = postgres.database("CREATE TABLE contacts (id int); INSERT INTO contacts VALUES (7)")
    second = postgres.database()
    engine = sqlalchemy.create_engine(first)
    with engine.connect() as connection:
        assert connection.execute(sqlalchemy.text("SELECT id FROM contacts")).scalar() == 7
    engine.dispose()

    assert first != second
