"""Answers that are lost one after the other: when that is too much."""

from __future__ import annotations

from mailerd.delivery import End
from mailerd.delivery.silence import Silence
from mailerd.outcome import Kind, Outcome


def after(*kinds: Kind) -> Silence:
    silence = Silence()
    for number, kind in enumerate(kinds):
        silence.heard(Outcome(kind, f"said {number}"))
    return silence


def test_three_in_a_row_are_too_many() -> None:
    """Then the pass ends with the last words, and asking again is made seldom; two may be chance."""
    assert not after(Kind.UNKNOWN, Kind.UNKNOWN).unbearable
    silence = after(*[Kind.UNKNOWN] * 3)

    assert silence.unbearable
    assert silence.end.end is End.REFUSED
    assert silence.end.reason == "no answer to 3 mails in a row; the last one: said 2"


def test_any_answer_ends_it_and_what_was_not_handed_over_tells_nothing() -> None:
    """A refusal is an answer as good as an acceptance; a stop or a route out of order is none."""
    lost = [Kind.UNKNOWN] * 3

    assert not after(*lost, Kind.SENT).unbearable
    assert not after(*lost, Kind.FAILED).unbearable
    assert after(*lost, Kind.WITHHELD, Kind.BLOCKED).unbearable
    assert not after(Kind.UNKNOWN, Kind.DEFERRED, Kind.UNKNOWN, Kind.UNKNOWN).unbearable
