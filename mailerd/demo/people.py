"""The sample contacts, whose names take mail through many scripts; pure data. The demo writes to them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from itertools import product
from pathlib import Path

_FIRST = (
    "Zoë",
    "Jürgen",
    "Łucja",
    "Søren",
    "İpek",
    "Νίκος",
    "Мария",
    "美咲",
    "민준",
    "Ana-María",
    "D'Arcy",
    "Þóra",
)
_LAST = (
    "Müller",
    "O\u2019Neill",
    "Çelik",
    "Παπαδάκης",
    "Иванова",
    "佐藤",
    "김",
    "Ñúñez",
    "Smith & Sons",
    "van den Berg",
)
_CITIES = ("Zürich", "Łódź", "Αθήνα", "東京", "São Paulo", "Reykjavík", "Київ")


@dataclass(frozen=True, slots=True)
class Person:
    """One sample contact."""

    contact_id: str
    email: str
    name: str
    city: str


def everybody() -> tuple[Person, ...]:
    """All contacts: ``test1`` and ``test2``, whom the test call writes to, then ``c001`` to ``c120``."""
    names = [f"{first} {last}" for first, last in product(_FIRST, _LAST)]
    ids = [f"c{number:03}" for number in range(1, len(names) + 1)]
    named = [("test1", "Test One"), ("test2", "Test Zwölf"), *zip(ids, names, strict=True)]
    return tuple(
        Person(contact_id, f"{contact_id}@example.com", name, _CITIES[index % len(_CITIES)])
        for index, (contact_id, name) in enumerate(named)
    )


def write_database(path: Path) -> None:
    """Write them into a new SQLite database."""
    rows = [(person.contact_id, person.email, person.name, person.city) for person in everybody()]
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE contacts (id TEXT PRIMARY KEY, email TEXT, name TEXT, city TEXT)")
        database.executemany("INSERT INTO contacts VALUES (?, ?, ?, ?)", rows)
