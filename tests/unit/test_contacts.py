"""Contacts without a database, and from SQLite; PostgreSQL has its own file among the integration tests."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mailerd.config import Config, Contacts
from mailerd.contacts import Contact, ContactSource, open_contacts
from mailerd.contacts.sql import SqlContacts
from mailerd.errors import ConfigurationError, ContactsUnavailable
from mailerd.outcome import Kind, Outcome

QUERY = "SELECT id, email, name, suppressed FROM contacts WHERE id IN :contact_ids"


def settings(url: str, query: str = QUERY) -> Contacts:
    return Contacts.model_validate({"url": url, "query": query})


def database(folder: Path, key: str, *rows: tuple[object, ...]) -> str:
    path = folder / "contacts.db"
    with sqlite3.connect(path) as connection:
        connection.execute(f"CREATE TABLE contacts (id {key}, email, name, suppressed)")
        connection.executemany("INSERT INTO contacts VALUES (?, ?, ?, ?)", rows)
    connection.close()
    return f"sqlite:///{path}"


@pytest.fixture
def lookup(tmp_path: Path) -> Any:
    sources: list[SqlContacts] = []

    def look(key: str, rows: list[tuple[object, ...]], asked: list[str]) -> Mapping[str, Contact | Outcome]:
        sources.append(SqlContacts(settings(database(tmp_path, key, *rows))))
        return sources[-1].lookup(asked)

    yield look
    for source in sources:
        source._engine.dispose()


def kinds(found: Mapping[str, Contact | Outcome]) -> dict[str, str]:
    return {
        contact_id: entry.email if isinstance(entry, Contact) else str(entry.kind)
        for contact_id, entry in found.items()
    }


def test_without_a_database_an_address_is_its_own_contact() -> None:
    """An id that is an address is a contact; any other id is no such contact, and the reason says why."""
    source: ContactSource = open_contacts(Config())

    found = source.lookup(["a@Example.com", "test1", "a@b.example\r\nBcc: c@d.example"])

    assert found["a@Example.com"] == Contact(
        "a@Example.com", "a@example.com", {"id": "a@Example.com", "email": "a@example.com"}
    )
    for bad in ("test1", "a@b.example\r\nBcc: c@d.example"):
        entry = found[bad]
        assert isinstance(entry, Outcome)
        assert entry.kind is Kind.INVALID
        assert "[contacts]" in entry.reason


@pytest.mark.parametrize("key", ["INTEGER PRIMARY KEY", "BIGINT", "TEXT", "VARCHAR(40)", "", "NUMERIC"])
def test_ids_match_as_strings_whatever_type_the_key_has(lookup: Any, key: str) -> None:
    """7 is found as "7" and as nothing else, whatever SQLite thinks of its type."""
    asked = ["7", "007", " 7", "7.0", "+7", "8", "seven", "99999999999999999999999"]

    found = lookup(key, [(7, "a@b.example", "A", 0)], asked)

    assert kinds(found) == {"7": "a@b.example"} | dict.fromkeys(asked[1:], "invalid")


def test_text_keys_keep_their_zeros(lookup: Any) -> None:
    """A text key "007" is found as "007" only."""
    found = lookup("TEXT", [("007", "a@b.example", "A", 0)], ["7", "007"])

    assert kinds(found) == {"7": "invalid", "007": "a@b.example"}


def test_columns_become_fields(lookup: Any) -> None:
    """All columns but ``suppressed`` are fields, the id as the batch spells it."""
    found = lookup("INTEGER", [(1, "a@b.example", "Jörg", 0), (2, "c@d.example", None, 1)], ["1", "2"])

    assert found["1"] == Contact("1", "a@b.example", {"id": "1", "email": "a@b.example", "name": "Jörg"})
    assert found["2"].suppressed
    assert found["2"].fields["name"] is None


@pytest.mark.parametrize(
    ("stored", "wanted"),
    [
        (" a@Bücher.example ", "a@xn--bcher-kva.example"),
        ("a@b.example\r\nBcc: c@d.example", "invalid"),
        ("a@b.example\n", "invalid"),
        ("é@b.example", "invalid"),
        ("nobody", "invalid"),
        ("", "invalid"),
        ("  ", "invalid"),
        (None, "invalid"),
        (7, "invalid"),
        (b"a@b.example", "invalid"),
    ],
)
def test_an_address_that_cannot_be_one_is_that_contacts_outcome(
    lookup: Any, stored: object, wanted: str
) -> None:
    """Only an address that fits one SMTP command gets through; the others are invalid, with a reason."""
    assert kinds(lookup("TEXT", [("x", stored, "", 0)], ["x"])) == {"x": wanted}


def test_many_ids_are_asked_in_several_queries(lookup: Any) -> None:
    """Every one of 1,201 ids gets its entry, found or not."""
    rows = [(number, f"user{number}@b.example", "", 0) for number in range(0, 1200, 2)]

    found = lookup("INTEGER", rows, [str(number) for number in range(1201)])

    assert len(found) == 1201
    assert sum(isinstance(entry, Contact) for entry in found.values()) == 600


def test_a_row_that_is_no_utf8_is_no_outage(lookup: Any, tmp_path: Path) -> None:
    """Broken text in one row is replaced; the others are found as ever."""
    rows = [("x", "x@b.example", "X", 0), ("y", "y@b.example", "Y", 0)]
    lookup("TEXT", rows, ["x"])
    with sqlite3.connect(tmp_path / "contacts.db") as connection:
        connection.execute("UPDATE contacts SET name = CAST(x'ff41' AS TEXT) WHERE id = 'x'")
    connection.close()
    source = SqlContacts(settings(f"sqlite:///{tmp_path}/contacts.db"))

    found = source.lookup(["x", "y"])
    source._engine.dispose()

    assert kinds(found) == {"x": "x@b.example", "y": "y@b.example"}


def test_a_missing_file_is_an_outage_and_stays_missing(tmp_path: Path) -> None:
    """SQLite must not make the file; once it is there, with odd characters in its name, it is found."""
    path = tmp_path / "con tacts?#100%.db"
    source = SqlContacts(settings("sqlite:///" + str(path).replace("?", "%3F").replace("#", "%23")))
    plain = SqlContacts(settings(f"sqlite:///{tmp_path}/contacts.db"))

    for missing in (source, plain):
        with pytest.raises(ContactsUnavailable, match="unable to open"):
            missing.lookup(["x"])
    assert list(tmp_path.iterdir()) == []
    database(tmp_path, "TEXT", ("x", "x@b.example", "", 0))
    assert kinds(plain.lookup(["x"])) == {"x": "x@b.example"}
    plain._engine.dispose()


def test_a_relative_path_is_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``sqlite:///contacts.db`` is the file in the working directory."""
    database(tmp_path, "TEXT", ("x", "x@b.example", "", 0))
    monkeypatch.chdir(tmp_path)
    source = SqlContacts(settings("sqlite:///contacts.db"))

    assert kinds(source.lookup(["x"])) == {"x": "x@b.example"}
    source._engine.dispose()


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("SELECT id, email FROM nowhere WHERE id IN :contact_ids", "no such table"),
        ("SELECT id, mail FROM contacts WHERE id IN :contact_ids", "no such column"),
        ("SELECT id, name FROM contacts WHERE id IN :contact_ids", "no column email"),
        ("SELECT name FROM contacts WHERE id IN :contact_ids", "no column email and id"),
        ("SELEKT id FROM contacts WHERE id IN :contact_ids", "syntax error"),
        ("DELETE FROM contacts WHERE id IN :contact_ids RETURNING id, email", "readonly"),
    ],
)
def test_a_wrong_query_is_nobodys_fault(tmp_path: Path, query: str, says: str) -> None:
    """A query that the database refuses makes the route wait and says what is wrong; nobody is burnt."""
    source = SqlContacts(settings(database(tmp_path, "TEXT", ("x", "x@b.example", "", 0)), query))

    with pytest.raises(ContactsUnavailable, match=says):
        source.lookup(["x"])
    source._engine.dispose()


def test_a_locked_database_is_an_outage(tmp_path: Path) -> None:
    """A database that another program holds locked is unavailable, and found again once it lets go."""
    url = database(tmp_path, "TEXT", ("x", "x@b.example", "", 0))
    holder = sqlite3.connect(tmp_path / "contacts.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    source = SqlContacts(settings(url + "?timeout=0.1"))

    with pytest.raises(ContactsUnavailable, match="locked"):
        source.lookup(["x"])
    holder.execute("ROLLBACK")
    holder.close()

    assert kinds(source.lookup(["x"])) == {"x": "x@b.example"}
    source._engine.dispose()


def test_a_database_in_wal_mode_is_read(tmp_path: Path) -> None:
    """Write-ahead logging, which most applications use, is no obstacle, with the writer there or gone."""
    url = database(tmp_path, "TEXT", ("x", "x@b.example", "", 0))
    writer = sqlite3.connect(tmp_path / "contacts.db", isolation_level=None)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("INSERT INTO contacts VALUES ('y', 'y@b.example', '', 0)")
    source = SqlContacts(settings(url))

    assert kinds(source.lookup(["x", "y"])) == {"x": "x@b.example", "y": "y@b.example"}
    writer.close()
    assert kinds(source.lookup(["y"])) == {"y": "y@b.example"}
    source._engine.dispose()


def test_brackets_around_the_ids_are_as_good(tmp_path: Path) -> None:
    """``IN (:contact_ids)`` means the same as ``IN :contact_ids``."""
    query = "SELECT id, email FROM contacts WHERE id IN (:contact_ids)"
    source = SqlContacts(settings(database(tmp_path, "TEXT", ("x", "x@b.example", "", 0)), query))

    assert kinds(source.lookup(["x", "y"])) == {"x": "x@b.example", "y": "invalid"}
    source._engine.dispose()


@pytest.mark.parametrize(
    ("url", "query", "says"),
    [
        ("sqlite://", QUERY, r"contacts\.url: must name a file"),
        ("nosuch://host/db", QUERY, r"contacts\.url: names no database"),
        ("mysql+nosuchdriver://host/db", QUERY, r"contacts\.url: names no database"),
        ("mysql://host/db", QUERY, r"contacts\.url: the database's driver is missing"),
        ("sqlite:///x.db", QUERY + " AND client = :client", r"contacts\.query: .*not :client"),
        ("sqlite:///x.db", "SELECT :contact_ids2 AS id", r"contacts\.query: must ask for :contact_ids"),
    ],
)
def test_what_can_never_work_is_a_fault_of_the_configuration(url: str, query: str, says: str) -> None:
    """A URL, a driver or a query that no waiting would mend is told at once, with the key."""
    with pytest.raises(ConfigurationError, match=says):
        SqlContacts(settings(url, query))
