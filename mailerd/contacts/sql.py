"""
Contacts by a named query: speaks SQL (SQLAlchemy Core) and only reads, at most 500 ids a query.

The engine may be made before a fork: it connects at its first query. Opened by ``open_contacts``.
"""

from __future__ import annotations

import os
import re
import socket
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy
from sqlalchemy.exc import ArgumentError, DBAPIError, ProgrammingError, SQLAlchemyError
from sqlalchemy.sql import visitors

from mailerd.config import Contacts, scrub
from mailerd.contacts.source import NO_SUCH_CONTACT, Contact
from mailerd.errors import ConfigurationError, ContactsUnavailable, Problem
from mailerd.message import address
from mailerd.outcome import Kind, Outcome

_CHUNK = 500  # ids per query
_CONNECT_TIMEOUT = 10  # seconds
_QUERY_TIMEOUT = 30  # seconds, by the server's own clock where it has one
_SILENCE = 35.0  # seconds after which a database that does not answer is cut off
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")
_IN_BRACKETS = re.compile(r"\(\s*:contact_ids\s*\)")
# PostgreSQL's codes for a value that its column's type cannot be: text, range, dates, characters.
_UNCASTABLE = frozenset({"22P02", "22003", "22007", "22008", "22021", "22P05"})
_UNREADABLE_ID = Outcome(Kind.INVALID, f"{NO_SUCH_CONTACT}the database's ids are of another kind")
_NO_ROW = Outcome(Kind.INVALID, f"{NO_SUCH_CONTACT}contacts.query gives no row with this id")
_POSTGRES_SETTINGS = f"-c statement_timeout={_QUERY_TIMEOUT}s -c default_transaction_read_only=on"

Rows = Mapping[str, Mapping[str, Any]]  # by id, written as text


class SqlContacts:
    """Contacts by SQL. Raises ``ConfigurationError`` where URL, driver or query cannot be used."""

    def __init__(self, settings: Contacts, *, silence: float = _SILENCE) -> None:
        self._shown = scrub(settings.url.get_secret_value())
        self._url = _url(settings.url.get_secret_value())
        self._silence = silence
        self._statement = _statement(settings.query)
        self._both_types = self._url.get_backend_name() == "sqlite"
        self._engine = _engine(self._url)

    def lookup(self, contact_ids: Sequence[str]) -> Mapping[str, Contact | Outcome]:
        """See ``ContactSource``; the rows of an id are those whose ``id``, written as text, is that id."""
        found: dict[str, Contact | Outcome] = {}
        for start in range(0, len(contact_ids), _CHUNK):
            found.update(self._found(contact_ids[start : start + _CHUNK]))
        return found

    def close(self) -> None:
        """See ``ContactSource``."""
        self._engine.dispose()

    def _found(self, asked: Sequence[str]) -> dict[str, Contact | Outcome]:
        try:
            rows = self._rows_or_again(asked)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) not in _UNCASTABLE:
                raise self._unavailable(error) from None
            if len(asked) == 1:
                return {asked[0]: _UNREADABLE_ID}
            # One id that the database cannot cast spoils the query for all of them: halve until it is alone.
            middle = len(asked) // 2
            return self._found(asked[:middle]) | self._found(asked[middle:])
        except SQLAlchemyError as error:
            raise self._unavailable(error) from None
        return {contact_id: _contact(contact_id, rows) for contact_id in asked}

    def _rows_or_again(self, asked: Sequence[str]) -> Rows:
        ids: list[str | int] = list(asked)
        if self._both_types:
            # SQLite compares a text with an integer only where the column declares its type.
            ids += [int(contact_id) for contact_id in asked if _INTEGER.fullmatch(contact_id)]
        try:
            return self._rows(ids)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            # The kept connection had died, say by a restart of the database; the next one is a new one.
            return self._rows(ids)

    def _rows(self, ids: Sequence[str | int]) -> Rows:
        with self._engine.connect() as connection, _cut_after(self._silence, connection):
            result = connection.execute(self._statement, {"contact_ids": ids})
            columns = set(result.keys())
            if not {"id", "email"} <= columns:
                missing = " and ".join(sorted({"id", "email"} - columns))
                raise ContactsUnavailable(
                    f"contacts.query gives no column {missing}; name it so: SELECT key AS id, mail AS email"
                )
            rows: dict[str, Mapping[str, Any]] = {}
            for row in result.mappings():
                rows.setdefault(str(row["id"]), dict(row))
        return rows

    def _unavailable(self, error: SQLAlchemyError) -> ContactsUnavailable:
        words = _one_line(error)
        if self._url.password:
            words = words.replace(str(self._url.password), "***")
        if words == "unable to open database file":
            words += f" (from {Path.cwd()})"
        # A name that the database lacks: SQLite calls it an operational error, PostgreSQL a programming one.
        key = "query" if isinstance(error, ProgrammingError) or words.startswith("no such") else "url"
        return ContactsUnavailable(f"contacts from {self._shown}: {words}; see contacts.{key}")


def _contact(contact_id: str, rows: Rows) -> Contact | Outcome:
    row = rows.get(contact_id) or rows.get(_canonical_uuid(contact_id))
    if row is None:
        return _NO_ROW
    given = row["email"]
    if not isinstance(given, str) or not given.strip(" "):
        return Outcome(Kind.INVALID, "the contact has no address")
    try:
        email = address(given.strip(" "))
    except ValueError as error:
        return Outcome(Kind.INVALID, f"the contact's address cannot be one: {' '.join(str(error).split())}")
    fields = {name: value for name, value in row.items() if name != "suppressed"}
    return Contact(contact_id, email, {**fields, "id": contact_id}, bool(row.get("suppressed")))


def _canonical_uuid(contact_id: str) -> str:
    # PostgreSQL takes a UUID in capitals as well, and answers in small letters.
    if len(contact_id) != 36:  # noqa: PLR2004 - a UUID as RFC 9562 writes it
        return contact_id
    try:
        return str(uuid.UUID(contact_id))
    except ValueError:
        return contact_id


def _url(text: str) -> sqlalchemy.URL:
    try:
        url = sqlalchemy.make_url(text)
    except (ArgumentError, ValueError):
        raise ConfigurationError([Problem("contacts.url", "is no database URL")]) from None
    if url.drivername in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() != "sqlite":
        return url
    if not url.database or url.database == ":memory:":
        raise ConfigurationError([Problem("contacts.url", "must name a file: sqlite:///contacts.db")])
    if url.database.startswith("file:"):
        return url
    # SQLite would make a missing file silently, and then miss the table in it.
    return url.set(database=f"file:{quote(url.database)}", query={**url.query, "mode": "rw", "uri": "true"})


def _engine(url: sqlalchemy.URL) -> sqlalchemy.Engine:
    settings: dict[str, Any] = {}
    if url.drivername == "postgresql+psycopg":
        ours = {"connect_timeout": _CONNECT_TIMEOUT, "options": _POSTGRES_SETTINGS}
        settings = {key: value for key, value in ours.items() if key not in url.query}
    try:
        engine = sqlalchemy.create_engine(
            url, isolation_level="AUTOCOMMIT", pool_size=1, hide_parameters=True, connect_args=settings
        )
    except ImportError as error:
        wanted = "pip install 'mailerd[postgres]'" if "psycopg" in str(error) else f"the package {error.name}"
        raise ConfigurationError(
            [Problem("contacts.url", f"the database's driver is missing: {wanted}")]
        ) from None
    except (ArgumentError, ValueError, TypeError):
        raise ConfigurationError([Problem("contacts.url", "names no database that is known")]) from None
    if url.get_backend_name() == "sqlite":
        sqlalchemy.event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # One row that is not UTF-8 must not look like a broken database.
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    connection.execute("PRAGMA query_only = ON").close()


def _statement(query: str) -> sqlalchemy.TextClause:
    statement = sqlalchemy.text(_IN_BRACKETS.sub(":contact_ids", query))
    names = {
        found.key for found in visitors.iterate(statement) if isinstance(found, sqlalchemy.BindParameter)
    }
    if names != {"contact_ids"}:
        others = "".join(f", not :{name}" for name in sorted(names - {"contact_ids"}))
        raise ConfigurationError([Problem("contacts.query", f"must ask for :contact_ids{others}")])
    # Without a type, PostgreSQL takes each id for what its column is: text, integer or UUID.
    return statement.bindparams(sqlalchemy.bindparam("contact_ids", expanding=True))


@contextmanager
def _cut_after(seconds: float, connection: sqlalchemy.Connection) -> Iterator[None]:
    """
    Cut the connection when the block takes longer.

    A server that is stopped or unplugged never runs into its own ``statement_timeout``, and psycopg waits.
    """
    driver = getattr(connection.connection.dbapi_connection, "pgconn", None)
    if driver is None:
        yield
        return
    watch = threading.Timer(seconds, _cut, (driver.socket,))
    watch.daemon = True
    watch.start()
    try:
        yield
    finally:
        watch.cancel()
        watch.join()


def _cut(descriptor: int) -> None:
    with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as handle:
        handle.shutdown(socket.SHUT_RDWR)


def _one_line(error: SQLAlchemyError) -> str:
    words = str(error.orig if isinstance(error, DBAPIError) else error)
    return " ".join(words.split())[:300]
