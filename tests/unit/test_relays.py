"""Which of several relays the next connection goes through: the policy, without any network."""

from __future__ import annotations

from itertools import pairwise

import pytest

from mailerd.outcome import Kind
from mailerd.transports.relays import LONGEST_PAUSE, Setback, after, asked, order

DOWN, REFUSED = Kind.BLOCKED, Kind.REFUSED


def set_back(kind: Kind, until: float) -> Setback:
    return Setback(kind, "said so", 5.0, until)


@pytest.mark.parametrize(
    ("setbacks", "asks"),
    [
        ([None, None], [0, 1]),
        ([set_back(DOWN, 20), None], [1, 0]),
        ([set_back(REFUSED, 20), None], [1]),
        ([set_back(DOWN, 10), None], [0, 1]),
        ([set_back(REFUSED, 10), set_back(DOWN, 10)], [0, 1]),
        ([set_back(DOWN, 20), set_back(DOWN, 30)], [0, 1]),
        ([set_back(REFUSED, 20), set_back(DOWN, 30)], [1]),
        ([set_back(REFUSED, 20), set_back(REFUSED, 30)], []),
        ([set_back(REFUSED, 20)], [0]),
    ],
)
def test_which_relays_are_asked(setbacks: list[Setback | None], asks: list[int]) -> None:
    """The first that may be asked; in the end also those that are down, but no login that was refused."""
    assert order(setbacks, 10.0) == asks


@pytest.mark.parametrize("kind", [DOWN, REFUSED])
def test_a_relay_that_keeps_failing_is_asked_seldom_and_never_given_up(kind: Kind) -> None:
    """Its pauses double up to a minute, so that no account is locked, and end with a try each, for ever."""
    at, tries = 100.0, []
    setback = after(None, kind, "no", at)
    for _ in range(10):
        at = setback.until
        tries.append(at)
        setback = after(asked(setback, at), kind, "no", at)

    pauses = [later - earlier for earlier, later in pairwise([100.0, *tries])]
    assert pauses[:4] == [5.0, 10.0, 20.0, 40.0]
    assert set(pauses[4:]) == {LONGEST_PAUSE}


def test_failures_of_one_moment_are_one() -> None:
    """Four mails that are refused at once make no longer pause than one; the last words are kept."""
    first = after(None, DOWN, "a", 10.0)

    assert after(first, REFUSED, "b", 11.0) == Setback(REFUSED, "b", 5.0, 15.0)
