"""Mails for a session, and what became of each: what ``delivery`` gives to a transport, without the rest."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from mailerd.message import Message
from mailerd.outcome import Outcome
from mailerd.transports import Session


class Mails:
    """See ``HandOvers``; counts who was taken, begun and answered, and in which order."""

    def __init__(self, messages: Sequence[Message], begin: Callable[[int], bool] = lambda _: True) -> None:
        self.taken: list[int] = []
        self.begun: list[int] = []
        self.answers: dict[int, Outcome] = {}
        self._waiting = deque(enumerate(messages))
        self._begin = begin

    def __len__(self) -> int:
        return len(self._waiting)

    def next(self) -> tuple[int, Message] | None:
        try:
            index, message = self._waiting.popleft()
        except IndexError:
            return None
        self.taken.append(index)
        return index, message

    def begin(self, index: int) -> bool:
        assert index not in self.begun, "begin is asked once"
        self.begun.append(index)
        return self._begin(index)

    def answer(self, index: int, outcome: Outcome) -> None:
        assert index not in self.answers, "each mail has one answer"
        self.answers[index] = outcome


def deliver_all(
    session: Session, messages: Sequence[Message], begin: Callable[[int], bool] = lambda _: True
) -> list[Outcome]:
    """Hand them all over; the outcome of each."""
    mails = Mails(messages, begin)
    session.deliver(mails)
    assert sorted(mails.answers) == sorted(mails.taken) == list(range(len(messages)))
    return [mails.answers[index] for index in range(len(messages))]


def deliver(session: Session, message: Message, begin: Callable[[], bool] = lambda: True) -> Outcome:
    """Hand one mail over."""
    return deliver_all(session, [message], lambda _: begin())[0]
