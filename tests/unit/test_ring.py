"""The ring: the last hand-overs of a slot, whatever dies, and however much there was before."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from mailerd.board import Answered, Board, Group
from mailerd.board.ring import ROOM
from mailerd.outcome import Kind, Outcome

SENT = Outcome(Kind.SENT, "250 Ok")


def answered(number: int, contacts: int = 1) -> Answered:
    outcomes = tuple((f"c{number}-{index}-ü", Kind.SENT) for index in range(contacts))
    return Answered(float(number), "77", "shop", "b1", outcomes)


def test_a_ring_keeps_what_was_added_in_its_order(tmp_path: Path) -> None:
    """Who, what, when, by whom."""
    ring = Board.create(tmp_path, 1, 4).slots[0].ring
    mixed = Answered(5.0, "78", "shop", "b2", (("a", Kind.SENT), ("b", Kind.UNKNOWN)))
    ring.add(answered(1))
    ring.add(mixed)

    assert ring.read() == [answered(1), mixed]


@pytest.mark.parametrize("contacts", [1, 4])
def test_the_oldest_are_overwritten_and_the_newest_are_whole(tmp_path: Path, contacts: int) -> None:
    """Also many times round."""
    ring = Board.create(tmp_path, 2, 4).slots[0].ring
    for number in range(20_000):
        ring.add(answered(number, contacts))

    kept = ring.read()
    assert kept == [answered(number, contacts) for number in range(20_000 - len(kept), 20_000)]
    assert len(kept) > ROOM / (40 + 20 * contacts)


def test_a_large_group_is_kept_in_pieces(tmp_path: Path) -> None:
    """The longest contact ids of the largest group find room."""
    ring = Board.create(tmp_path, 1, 4).slots[0].ring
    outcomes = tuple((f"{number:03}" + "€" * 253, Kind.SENT) for number in range(256))
    ring.add(Answered(1.0, "7", "shop", "b1", outcomes))

    assert [contact for one in ring.read() for contact, _ in one.outcomes] == [name for name, _ in outcomes]


def test_another_may_read_while_it_is_written(tmp_path: Path) -> None:
    """Whatever is read is whole, and in order."""
    ring = Board.create(tmp_path, 1, 4).slots[0].ring
    over = threading.Event()

    def write() -> None:
        for number in range(30_000):
            ring.add(answered(number))
        over.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not over.is_set():
        numbers = [int(one.at) for one in ring.read()]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else True
    writer.join()


def test_a_ring_outlives_its_worker_and_its_daemon(tmp_path: Path) -> None:
    """The next life has it, with the era that knows it, also where there are fewer slots."""
    board = Board.create(tmp_path, 2, 4)
    for number, slot in enumerate(board.slots):
        slot.open(f"boot-{number}", 1, 0.0)
        slot.ring.add(answered(number))
        slot.era = "e1"
        board.clear(slot, 0.0)
    board.close()

    same = Board.create(tmp_path, 2, 8)
    assert [slot.ring.read() for slot in same.slots] == [[answered(0)], [answered(1)]]
    assert [slot.era for slot in same.slots] == ["e1", "e1"]
    same.close()
    [slot] = Board.create(tmp_path, 1, 4).slots
    assert slot.ring.read() == [answered(0), answered(1)]
    assert slot.era == "e1"


def test_who_is_in_hand_is_recalled_before_what_is_settled(tmp_path: Path) -> None:
    """Those handed over, with an answer that lasts or without one; not those never begun or refused."""
    slot = Board.create(tmp_path, 1, 4).slots[0]
    slot.open("77", 1, 0.0)
    slot.ring.add(answered(1))
    slot.begin_group(Group("shop", "b2", ["claimed", "begun", "sent", "deferred"]))
    for index in (1, 2, 3):
        slot.hand_over(index)
    slot.answer(2, SENT)
    slot.answer(3, Outcome(Kind.DEFERRED, "450 later"))

    in_hand = Answered(9.0, "77", "shop", "b2", (("begun", None), ("sent", Kind.SENT)))
    assert slot.recall(9.0) == [in_hand, answered(1)]
    slot.clear_group()
    assert slot.recall(9.0) == [answered(1)]


def test_whom_a_dead_worker_had_in_hand_is_on_its_ring(tmp_path: Path) -> None:
    """Its successor tells of them when Redis forgets how they were settled; so does the next life."""
    told = (
        ("claimed", Kind.WITHHELD),
        ("begun", Kind.UNKNOWN),
        ("sent", Kind.SENT),
        ("deferred", Kind.WITHHELD),
    )
    board = Board.create(tmp_path, 2, 4)
    for number, slot in enumerate(board.slots):
        slot.open(str(number), 1, 0.0)
        slot.begin_group(Group("shop", "b2", [contact for contact, _ in told]))
        for index in (1, 2, 3):
            slot.hand_over(index)
        slot.answer(2, SENT)
        slot.answer(3, Outcome(Kind.DEFERRED, "450 later"))
    board.clear(board.slots[0], 7.0)
    assert board.slots[0].ring.read() == [Answered(7.0, "0", "shop", "b2", told)]
    board.close()

    same = Board.create(tmp_path, 2, 4, 9.0)
    assert same.slots[0].ring.read() == [Answered(7.0, "0", "shop", "b2", told)]
    assert same.slots[1].ring.read() == [Answered(9.0, "1", "shop", "b2", told)]
