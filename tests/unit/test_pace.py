"""How fast a batch goes, and what is left."""

from __future__ import annotations

import pytest

from mailerd.cli.pace import Pace


def pace(*looks: tuple[float, int]) -> Pace:
    made = Pace()
    for now, settled in looks:
        made.note(now, settled)
    return made


def test_one_look_tells_nothing() -> None:
    """Before the second look there is no rate and no end in sight."""
    first = pace((5.0, 40))

    assert first.rate == 0
    assert first.left(100) is None


def test_the_rate_is_that_of_the_last_seconds() -> None:
    """A slow beginning is forgotten after ten seconds."""
    looks = [(float(second), 0) for second in range(60)]
    looks += [(60.0 + second, 10 * second) for second in range(1, 31)]

    recent = pace(*looks)

    assert recent.rate == pytest.approx(10)
    assert recent.left(400) == pytest.approx(10)


def test_nothing_moves() -> None:
    """A batch that waits has no end in sight."""
    assert pace((0, 5), (1, 5)).left(10) is None


def test_what_was_opened_again_is_no_speed() -> None:
    """A recipient that a command opened again makes no negative rate."""
    assert pace((0, 5), (1, 3)).rate == 0
