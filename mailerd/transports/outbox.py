"""
The transport ``outbox``: mails become ``.eml`` files, for staging and for a look at what would be sent.

``<mail.outbox>/<batch_id>/<name>.eml``; the name comes from the Message-ID, so that a mail written again
takes its own place. A file appears whole or not at all. Opened by ``open_transport``.
"""

from __future__ import annotations

import hashlib
import os
import threading
from contextlib import suppress
from pathlib import Path

from mailerd.message import Message
from mailerd.outcome import Kind, Outcome
from mailerd.transports.session import Begin, Session
from mailerd.transports.threads import Threads


class OutboxTransport:
    """Writes into one folder."""

    name = "outbox"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def session(self, connections: int) -> Session:
        """See ``Transport``."""
        return Threads([self.conversation() for _ in range(connections)])

    def conversation(self) -> OutboxConversation:
        """One thread's writer."""
        return OutboxConversation(self._folder)

    def troubles(self) -> dict[str, str]:
        """See ``Transport``."""
        return {}

    def trouble(self) -> str:
        """See ``Transport``: looks whether the folder, or the one to make it in, can be written to."""
        place = next(place for place in (self._folder, *self._folder.absolute().parents) if place.exists())
        if place.is_dir() and os.access(place, os.W_OK | os.X_OK):
            return ""
        return f"cannot write to the outbox {self._folder}: {place} is no folder of ours"


class OutboxConversation:
    """One thread's writer."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def deliver(self, message: Message, begin: Begin) -> Outcome:
        """See ``Conversation``; a disk that is full or not ours blocks the route."""
        folder = self._folder / message.batch_id
        file = folder / f"{hashlib.sha256(message.message_id.encode()).hexdigest()[:32]}.eml"
        draft = folder / f".{file.name}.{os.getpid()}.{threading.get_ident()}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(message.content)
            if not begin():
                return Outcome(Kind.WITHHELD, "not written: told to stop before that")
            draft.replace(file)
        except OSError as error:
            return Outcome(Kind.BLOCKED, f"cannot write to the outbox {self._folder}: {error.strerror}")
        finally:
            with suppress(OSError):  # gone by its renaming, or never there
                draft.unlink()
        return Outcome(Kind.SENT, f"written to {file}")

    def close(self) -> None:
        """See ``Conversation``; there is nothing to close."""

    def abort(self) -> None:
        """See ``Conversation``; writing a file waits for nobody."""
