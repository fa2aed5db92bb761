"""Contacts from a real PostgreSQL: every type of key, bad ids, a database that is away or silent."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Self

import pytest
from sqlalchemy import make_url

from mailerd.config import Contacts
from mailerd.contacts import Contact
from mailerd.contacts.sql import SqlContacts
from mailerd.errors import ContactsUnavailable
from mailerd.outcome import Kind, Outcome
from rigs.postgres import PostgreSQL

QUERY = "SELECT id, email, name, suppressed FROM contacts WHERE id IN :contact_ids"
UUID = "6fa459ea-ee8a-3ca4-894e-db77e160355e"

Open = Callable[..., SqlContacts]


def made(key: str, *ids: str) -> str:
    rows = [
        f"($${name}$$, 'user{number}@b.example', 'Jörg', {str(number == 1).lower()})"
        for number, name in enumerate(ids)
    ]
    columns = f"id {key} PRIMARY KEY, email text, name text, suppressed boolean"
    return f"CREATE TABLE contacts ({columns}); INSERT INTO contacts VALUES {', '.join(rows)};"  # noqa: S608 # our own


@pytest.fixture
def opened() -> Iterator[Open]:
    sources: list[SqlContacts] = []

    def make(url: str, query: str = QUERY, silence: float = 30.0) -> SqlContacts:
        sources.append(SqlContacts(Contacts.model_validate({"url": url, "query": query}), silence=silence))
        return sources[-1]

    yield make
    for source in sources:
        source._engine.dispose()


def found(entries: Mapping[str, Contact | Outcome]) -> set[str]:
    for entry in entries.values():
        assert isinstance(entry, Contact) or entry.kind is Kind.INVALID
    return {contact_id for contact_id, entry in entries.items() if isinstance(entry, Contact)}


@pytest.mark.parametrize(
    ("key", "ids", "others"),
    [
        ("text", ["7", "007", "o'x", "ü"], ["70", "Ü", "O'X"]),
        ("varchar(40)", ["7", "007"], ["70"]),
        ("integer", ["7", "-3"], ["007", "+7", " 7", "7.0", "seven", "99999999999", "7; DROP"]),
        ("bigint", ["7", "9007199254740993"], ["007", "9" * 30, "x"]),
        ("uuid", [UUID], ["x", UUID[:-1], UUID.replace("-", ""), "{" + UUID + "}", UUID[:-1] + "f"]),
    ],
)  # fmt: skip
def test_ids_match_as_strings_whatever_type_the_key_has(
    postgres: PostgreSQL, opened: Open, key: str, ids: list[str], others: list[str]
) -> None:
    """Each id is found in its own spelling only, and ids that cannot be cast fail alone among good ones."""
    source = opened(postgres.database(made(key, *ids)))
    asked = [entry for pair in zip(others, others[1:] + ids, strict=False) for entry in pair] + ids

    entries = source.lookup(list(dict.fromkeys(asked)))

    assert found(entries) == set(ids)
    assert set(entries) == set(asked)


def test_a_uuid_in_capitals_is_the_same(postgres: PostgreSQL, opened: Open) -> None:
    """PostgreSQL takes a UUID in capitals; so the contact is found, under the id as the batch spells it."""
    entry = opened(postgres.database(made("uuid", UUID))).lookup([UUID.upper()])[UUID.upper()]

    assert isinstance(entry, Contact)
    assert entry.id == entry.fields["id"] == UUID.upper()


def test_columns_become_fields(postgres: PostgreSQL, opened: Open) -> None:
    """The row's columns are the contact's fields; ``suppressed`` is told apart."""
    entries = opened(postgres.database(made("integer", "1", "2"))).lookup(["1", "2"])

    assert entries["1"] == Contact(
        "1", "user0@b.example", {"id": "1", "email": "user0@b.example", "name": "Jörg"}
    )
    assert getattr(entries["2"], "suppressed", None) is True


def test_bad_ids_among_many_fail_alone(postgres: PostgreSQL, opened: Open) -> None:
    """Twelve uncastable ids among 1,200 cost nobody else anything, and leave the connection usable."""
    numbers = [str(number) for number in range(1, 1201)]
    source = opened(postgres.database(made("integer", *numbers)))
    bad = [f"bad{number}" for number in range(12)]
    asked = [*numbers[:100], *bad[:5], *numbers[100:800], *bad[5:], *numbers[800:]]

    assert found(source.lookup(asked)) == set(numbers)
    assert found(source.lookup(["1"])) == {"1"}


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("SELECT id, email FROM nowhere WHERE id IN :contact_ids", "nowhere"),
        ("SELECT id, mail FROM contacts WHERE id IN :contact_ids", "mail"),
        ("SELECT id, name FROM contacts WHERE id IN :contact_ids", "no column email"),
        ("SELECT id, email, 1/0 AS x FROM contacts WHERE id IN :contact_ids", "division by zero"),
        ("DELETE FROM contacts WHERE id IN :contact_ids RETURNING id, email", "read-only"),
    ],
)
def test_a_wrong_query_is_nobodys_fault(postgres: PostgreSQL, opened: Open, query: str, says: str) -> None:
    """What the database refuses for every id makes the route wait; no contact is called invalid for it."""
    source = opened(postgres.database(made("integer", "1")), query)

    for _ in range(2):
        with pytest.raises(ContactsUnavailable, match=says):
            source.lookup(["1", "2"])


def test_a_database_that_is_away_is_an_outage_that_shows_no_password(opened: Open) -> None:
    """A refused connection is ContactsUnavailable at once; the reason names the place, not the password."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    source = opened(f"postgresql://me:s3cret@127.0.0.1:{port}/x")

    with pytest.raises(ContactsUnavailable, match="refused") as caught:
        source.lookup(["1"])
    assert f"127.0.0.1:{port}" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_kept_connection_that_died_is_replaced(postgres: PostgreSQL, opened: Open) -> None:
    """After the server has ended our connection, the next lookup just works."""
    url = postgres.database(made("integer", "1"))
    source = opened(url)
    assert found(source.lookup(["1"])) == {"1"}

    postgres.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname LIKE 'test%';", "postgres"
    )

    assert found(source.lookup(["1"])) == {"1"}


def test_a_query_that_never_ends_is_an_outage(postgres: PostgreSQL, opened: Open) -> None:
    """A query that outlasts our patience is ContactsUnavailable, not a hang."""
    query = "SELECT id, email, pg_sleep(60) FROM contacts WHERE id IN :contact_ids"
    source = opened(postgres.database(made("integer", "1")), query, silence=0.5)

    with pytest.raises(ContactsUnavailable, match="contacts from postgresql"):
        source.lookup(["1"])


@pytest.mark.slow
def test_a_server_that_falls_silent_is_an_outage(postgres: PostgreSQL, opened: Open) -> None:
    """A connection on which nothing comes any more is given up, and a new one works."""
    url = postgres.database(made("integer", "1"))
    with Wire(f"{postgres.folder}/.s.PGSQL.5432") as wire:
        name = make_url(url).database
        place = f"postgresql://mailerd@127.0.0.1:{wire.port}/{name}?connect_timeout=2"
        source = opened(place, silence=0.5)
        assert found(source.lookup(["1"])) == {"1"}

        wire.silent = True
        with pytest.raises(ContactsUnavailable):
            source.lookup(["1"])
        wire.silent = False

        assert found(source.lookup(["1"])) == {"1"}


class Wire:
    """A TCP port in front of a server's socket that can swallow everything."""

    def __init__(self, server: str) -> None:
        self.silent = False
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        for end in (self._listener, *self._open):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for end in (self._listener, *self._open):
            end.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect(self._server)
                self._open += [near, far]
                for pair in ((near, far), (far, near)):
                    self._threads.append(threading.Thread(target=self._copy, args=pair, daemon=True))
                    self._threads[-1].start()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if not self.silent:
                    target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)
