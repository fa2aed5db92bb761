"""What a team has around its daemon: contacts in a database, templates in a folder, jobs to push."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rigs.daemon import Sections
from rigs.redis_server import RedisServer
from rigs.sink import Sink

# A name with everything that must survive: umlauts, an emoji, quotes, a comma, no Latin letter at all.
NAMES = ("Jörg Müller", "Ann 🎉", 'O\'Hara, "Bob"', "Ольга", "李雷")
LONG_LINE = "long " * 300
SUBJECT = "Grüße, {{ name }} 🎉"
TEXT = f"Hello {{{{ name }}}},\n\n.a leading dot\n..two of them\n.\n{LONG_LINE}\nÄÖÜ €\n"
HTML = f"<html><body><p>Hello <b>{{{{ name }}}}</b></p>\n.\n<p>{LONG_LINE} ÄÖÜ €</p></body></html>\n"


class Project:
    """A folder with contacts.db and templates/; ``sections`` configures a daemon for it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.template("welcome", subject=SUBJECT, text=TEXT, html=HTML)
        self.template("plain", subject="Hello", text="Hello.\n")

    @property
    def database(self) -> Path:
        """The SQLite database of the contacts."""
        return self.folder / "contacts.db"

    def contacts(self, count: int) -> list[str]:
        """Fill the table ``contacts`` with ``user1`` … and give the ids."""
        rows = [(f"user{n}", address(f"user{n}"), NAMES[n % len(NAMES)]) for n in range(1, count + 1)]
        self.insert(rows)
        return [identity for identity, _, _ in rows]

    def insert(self, rows: Iterable[Sequence[str | None]]) -> None:
        """Insert contacts: id, email, name."""
        connection = sqlite3.connect(self.database)
        with connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS contacts (id TEXT PRIMARY KEY, email TEXT, name TEXT)"
            )
            connection.executemany("INSERT INTO contacts VALUES (?, ?, ?)", rows)
        connection.close()

    def template(
        self, template_id: str, subject: str = "Hello", text: str = "", html: str = "", settings: str = ""
    ) -> Path:
        """Write a template, and give its folder; empty parts are left out."""
        folder = self.folder / "templates" / template_id
        folder.mkdir(parents=True, exist_ok=True)
        files = {"subject.txt": subject, "body.txt": text, "body.html": html, "mail.toml": settings}
        for name, content in files.items():
            if content:
                (folder / name).write_text(content)
        return folder

    def sections(self, redis: RedisServer, sink: Sink, **keys: dict[str, Any]) -> Sections:
        """Sections that send by SMTP to the sink; ``keys`` overlay them: ``workers={"processes": 1}``."""
        sections: Sections = {
            "redis": {"url": redis.url},
            "contacts": {"url": f"sqlite:///{self.database}"},
            "templates": {"path": str(self.folder / "templates")},
            "mail": {"transport": "smtp", "from": "News <news@sender.test>", "retry_delays": [1, 1, 1]},
            "smtp": sink.smtp,
        }
        for name, overlay in keys.items():
            sections.setdefault(name, {}).update(overlay)
        return sections


def address(contact_id: str) -> str:
    """The address of a contact that ``Project.contacts`` made."""
    return f"{contact_id}@example.com"


def job(
    batch_id: str, contacts: Sequence[str], template_id: str = "plain", client_id: str = "c1"
) -> dict[str, Any]:
    """A job as producers write it."""
    return {
        "client_id": client_id,
        "contact_ids": list(contacts),
        "template_id": template_id,
        "batch_id": batch_id,
    }


def push(redis: RedisServer, *jobs: dict[str, Any] | bytes) -> None:
    """LPUSH jobs, or any bytes, as a foreign program would."""
    client = redis.client()
    for item in jobs:
        client.lpush("email_queue", item if isinstance(item, bytes) else json.dumps(item))
    client.close()
