"""The tally: what workers count in their slots is read whole, apart from each other, and outlives them."""

from __future__ import annotations

from pathlib import Path

from mailerd.board import Board, Event
from mailerd.board.tally import HAND_OVER_BOUNDS, PICK_UP_BOUNDS
from mailerd.outcome import Kind


def test_every_cell_is_its_own(tmp_path: Path) -> None:
    """Outcomes, events and both histograms can each be told apart from all others."""
    tally = Board.create(tmp_path, 2, 1).slots[1].tally
    for times, kind in enumerate(Kind, 1):
        for _ in range(times):
            tally.outcome(kind)
    for times, event in enumerate(Event, 100):
        tally.event(event, times)
    for bound in HAND_OVER_BOUNDS:
        tally.handed_over(bound)
    tally.picked_up(PICK_UP_BOUNDS[-1] + 1)

    assert dict(tally.outcomes()) == {kind: times for times, kind in enumerate(Kind, 1)}
    assert [tally.count_of(event) for event in Event] == list(range(100, 100 + len(Event)))
    assert tally.hand_overs().counts == (*(1 for _ in HAND_OVER_BOUNDS), 0)
    assert abs(tally.hand_overs().total - sum(HAND_OVER_BOUNDS)) < 1e-9
    assert tally.pick_ups().counts == (*(0 for _ in PICK_UP_BOUNDS), 1)
    assert tally.pick_ups().total == PICK_UP_BOUNDS[-1] + 1


def test_a_successor_counts_on(tmp_path: Path) -> None:
    """What a worker counted stays when its slot is emptied and opened for the next one."""
    slot = Board.create(tmp_path, 1, 1).slots[0]
    slot.open("first", 1, 0.0)
    slot.tally.outcome(Kind.SENT)
    slot.close()
    slot.open("second", 1, 0.0)
    slot.tally.outcome(Kind.SENT)

    assert dict(slot.tally.outcomes())[Kind.SENT] == 2


def test_neighbours_are_left_alone(tmp_path: Path) -> None:
    """Counting in one slot changes nothing in the slots beside it, nor in its own group."""
    first, second, third = Board.create(tmp_path, 3, 1).slots
    for slot in (first, third):
        slot.open("neighbour", 1, 0.0)
    for kind in Kind:
        second.tally.outcome(kind)
    second.tally.picked_up(1e6)

    assert [sum(number for _, number in slot.tally.outcomes()) for slot in (first, third)] == [0, 0]
    assert [slot.incarnation for slot in (first, second, third)] == ["neighbour", "", "neighbour"]
    assert second.read_group() is None


def test_histograms_add_up(tmp_path: Path) -> None:
    """The sum of two workers' histograms holds the observations of both."""
    one, other = (slot.tally for slot in Board.create(tmp_path, 2, 1).slots)
    one.handed_over(0.25)
    other.handed_over(0.25)
    other.handed_over(99.0)

    both = one.hand_overs() + other.hand_overs()

    assert sum(both.counts) == 3
    assert both.counts[HAND_OVER_BOUNDS.index(0.25)] == 2
    assert both.counts[-1] == 1
    assert both.total == 99.5
