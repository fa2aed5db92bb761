"""How many recipients make a group."""

from __future__ import annotations

from mailerd.board import room_for
from mailerd.delivery.pace import IN_DOUBT, group_size, seconds_each


def test_a_group_grows_with_a_quick_server_and_shrinks_with_a_slow_one() -> None:
    """As many rounds as fit the time, one at least, never more than the board has room for."""
    assert group_size(4, 32, None, IN_DOUBT) == 4
    assert group_size(4, 32, 0.0, IN_DOUBT) == 32
    assert group_size(4, 32, IN_DOUBT / 3, IN_DOUBT) == 12
    assert group_size(4, 32, 30.0, IN_DOUBT) == 4
    assert group_size(100, 100, 0.001, IN_DOUBT) == 100


def test_the_board_has_room_for_several_recipients_a_connection() -> None:
    """Up to a bound that many connections alone exceed."""
    assert [room_for(connections) for connections in (1, 4, 8, 100, 256)] == [8, 32, 64, 100, 256]


def test_what_a_hand_over_takes_is_measured_by_rounds() -> None:
    """Those that ran side by side count as one."""
    assert seconds_each(1.0, 8, 4) == 0.5
    assert seconds_each(1.0, 2, 4) == 1.0
