"""
What a transport is.

It hands finished mails over and says what became of each; it knows no Redis, no contact and no template, and
lets no foreign exception out. ``delivery`` takes one session per sending thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from mailerd.message import Message
from mailerd.outcome import Outcome

Begin = Callable[[], bool]


class Session(Protocol):
    """One thread's way to the server; keeps its connection from mail to mail and renews it by itself."""

    def deliver(self, message: Message, begin: Begin) -> Outcome:
        """
        Hand one mail over.

        ``begin`` is called at most once, right before the point of no return. When it says no, nothing is
        handed over and the outcome is WITHHELD; when it was never asked, nothing was handed over either.
        Other outcomes: SENT, DEFERRED, FAILED, UNKNOWN (handed over, no answer), and BLOCKED or REFUSED (the
        route).
        """

    def close(self) -> None:
        """End the connection politely, within seconds; the session can be used again."""

    def abort(self) -> None:
        """End a ``deliver`` that runs in another thread, and this session; callable from any thread."""


class Transport(Protocol):
    """One way to hand mails over, made once per process."""

    name: str

    def session(self) -> Session:
        """A session for one thread; nothing is connected before its first mail."""

    def trouble(self) -> str:
        """What would keep mails from being handed over now, empty if nothing; hands nothing over."""
