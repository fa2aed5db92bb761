"""Which mails of a group may still begin."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mailerd.board import Board, Slot
from mailerd.board import Group as OnBoard
from mailerd.clock import Stop, SystemClock
from mailerd.delivery.group import Group
from mailerd.delivery.hand_overs import GroupHandOvers
from mailerd.delivery.silence import Silence
from mailerd.message import Message
from mailerd.outcome import Kind, Outcome
from mailerd.queue.answers import ClaimAnswer, Claimed
from mailerd.queue.lease import Lease


@pytest.fixture
def slot(tmp_path: Path) -> Iterator[Slot]:
    board = Board.create(tmp_path, 1, 4)
    board.slots[0].begin_group(OnBoard("shop", "b1", ["a", "b"]))
    yield board.slots[0]
    board.close()


def hand_overs(slot: Slot) -> GroupHandOvers:
    """Two mails in a worker's hand."""
    messages = {one: Message("news@example.com", f"{one}@example.org", b"x", one, "b1") for one in "ab"}
    group = Group(messages, dict.fromkeys(range(2), ClaimAnswer(Claimed.CLAIMED)))
    clock = SystemClock()
    lease = Lease("1", 15.0, clock, clock.monotonic() + 15)
    bounds = 2, clock.monotonic() + 15
    return GroupHandOvers(group, slot, lease, (Stop(), Stop()), clock, lambda *_: None, bounds, Silence())


@pytest.mark.parametrize("kind", [Kind.BLOCKED, Kind.REFUSED])
@pytest.mark.covers("mail-21")
def test_nobody_begins_on_a_route_that_has_just_been_found_out_of_order(slot: Slot, kind: Kind) -> None:
    """Though their envelope is with the server already, behind the mail that it refused."""
    mails = hand_overs(slot)
    assert mails.next()
    assert mails.next()
    assert mails.begin(0)

    mails.answer(0, Outcome(kind, "suspended"))

    assert not mails.begin(1)


def test_whoever_is_refused_for_himself_keeps_nobody_back(slot: Slot) -> None:
    """A recipient's own refusal is no trouble of the route's."""
    mails = hand_overs(slot)
    assert mails.next()
    assert mails.next()
    assert mails.begin(0)

    mails.answer(0, Outcome(Kind.FAILED, "no such user"))

    assert mails.begin(1)
