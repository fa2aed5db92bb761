"""The states of a recipient and the outcomes of an attempt."""

from __future__ import annotations

import pytest

from mailerd.outcome import FINAL, OPEN, Kind, Outcome, State


def test_every_state_is_open_asking_or_final() -> None:
    """Accepted = open + unknown + final needs each state in exactly one of the three."""
    assert OPEN | {State.UNKNOWN} | FINAL == frozenset(State)
    assert not OPEN & FINAL
    assert State.UNKNOWN not in OPEN | FINAL


def test_the_states_have_the_names_that_users_read() -> None:
    """The names in counts and listings are part of the contract."""
    assert {str(state) for state in OPEN} == {"queued", "sending", "deferred"}
    final = {"sent", "failed", "invalid", "suppressed", "cancelled", "expired", "discarded"}
    assert {str(state) for state in FINAL} == final


@pytest.mark.parametrize("kind", list(Kind))
def test_an_outcome_says_why(kind: Kind) -> None:
    """The reason is what users read, so an outcome without one cannot exist."""
    assert Outcome(kind, "because").reason == "because"
    with pytest.raises(ValueError, match="says why"):
        Outcome(kind, "")


def test_an_outcome_cannot_be_changed() -> None:
    """Outcomes pass through threads and processes; nobody edits one."""
    outcome = Outcome(Kind.SENT, "250 OK")
    with pytest.raises(AttributeError):
        outcome.reason = "other"  # type: ignore[misc] # the point of the test
