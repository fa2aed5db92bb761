"""
What a transport is.

It hands finished mails over and says what became of each; it knows no Redis, no contact and no template, and
lets no foreign exception out. Each worker has one session; ``delivery`` gives it one group after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from mailerd.message import Message
from mailerd.outcome import Outcome

Begin = Callable[[], bool]


class HandOvers(Protocol):
    """Mails that are to be handed over; a session may ask from several threads at once."""

    def __len__(self) -> int:
        """How many there are at most."""

    def next(self) -> tuple[int, Message] | None:
        """The next mail and its number, which is to be answered; None: nothing more is to be handed over."""

    def begin(self, index: int) -> bool:
        """
        Whether it may be handed over; asked at most once, right before the point of no return.

        When it says no, nothing is handed over; when it was never asked, nothing was handed over either.
        """

    def answer(self, index: int, outcome: Outcome) -> None:
        """
        What became of a mail, told once for each.

        SENT, DEFERRED, FAILED, UNKNOWN (handed over, no answer), WITHHELD (``begin`` said no, or told to
        stop), BLOCKED or REFUSED (the route), and THROTTLED or OVER_QUOTA (it takes no more for now).
        """


class Session(Protocol):
    """One worker's way to the server; keeps its connections from mail to mail and renews them by itself."""

    def deliver(self, mails: HandOvers) -> None:
        """Hand mails over until there is no next one and each that was taken is answered."""

    def close(self) -> None:
        """End the connections politely, within seconds; the session can be used again."""

    def abort(self) -> None:
        """End a ``deliver`` that runs in another thread, and this session; callable from any thread."""


class Transport(Protocol):
    """One way to hand mails over, made once per process."""

    name: str

    def session(self, connections: int) -> Session:
        """A session of so many connections; nothing is connected before its first mail."""

    def troubles(self) -> Mapping[str, str]:
        """Each server, where there are several, and why it is left alone, empty if it is not; asks nobody."""

    def trouble(self) -> str:
        """What would keep mails from being handed over now, empty if nothing; hands nothing over."""
