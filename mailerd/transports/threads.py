"""
A session for servers that are spoken to in calls which block: as many threads as connections.

Each thread has a conversation and hands over one mail after the other. Used by the transports ``ses`` and
``outbox``; the threads begin with the first group, after the fork.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol

from mailerd.clock import leave_signals_to_the_main_thread
from mailerd.message import Message
from mailerd.outcome import Outcome
from mailerd.transports.session import Begin, HandOvers


class Conversation(Protocol):
    """One thread's way to the server."""

    def deliver(self, message: Message, begin: Begin) -> Outcome:
        """Hand one mail over; ``begin`` and the outcomes are those of ``HandOvers``."""

    def close(self) -> None:
        """See ``Session``."""

    def abort(self) -> None:
        """See ``Session``."""


class Threads:
    """See ``Session``."""

    def __init__(self, conversations: Sequence[Conversation]) -> None:
        self._conversations = conversations
        self._threads = ThreadPoolExecutor(
            len(conversations), "connection", initializer=leave_signals_to_the_main_thread
        )

    def deliver(self, mails: HandOvers) -> None:
        """See ``Session``; a single mail is handed over by the caller's own thread."""
        together = self._conversations[: len(mails)]
        if len(together) == 1:
            _hand_over_all(together[0], mails)
        else:
            list(self._threads.map(lambda conversation: _hand_over_all(conversation, mails), together))

    def close(self) -> None:
        """See ``Session``."""
        for conversation in self._conversations:
            conversation.close()

    def abort(self) -> None:
        """See ``Session``."""
        for conversation in self._conversations:
            conversation.abort()


def _hand_over_all(conversation: Conversation, mails: HandOvers) -> None:
    while (taken := mails.next()) is not None:
        index, message = taken
        mails.answer(index, conversation.deliver(message, partial(mails.begin, index)))
