"""The states of a recipient and the outcomes of an attempt."""

from __future__ import annotations

import pytest

from mailerd.outcome import FINAL, OPEN, SPREAD, Kind, Outcome, RetryPolicy, State


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


@pytest.mark.parametrize(("attempts", "pause"), [(0, 60), (1, 300), (2, 900), (3, 900), (40, 900)])
def test_the_pauses_grow_and_the_last_one_is_repeated(attempts: int, pause: float) -> None:
    """Each pause is the configured one, shortened by chance, by no more than a twentieth."""
    policy = RetryPolicy((60, 300, 900), 86_400, resend=False)
    later = Outcome(Kind.DEFERRED, "450 later")

    assert policy.after(later, attempts, 0, chance=0.0) == (later, pause)
    assert policy.after(later, attempts, 0, chance=1.0) == (later, pause * (1 - SPREAD))


def test_whoever_is_put_off_for_long_is_not_tried_sooner() -> None:
    """A wait that the server's reply asks for holds against a shorter pause, and in full."""
    policy = RetryPolicy((60, 3600), 86_400, resend=False)
    held_back = Outcome(Kind.DEFERRED, "421 4.7.28 unusual rate", wait=600)

    assert policy.after(held_back, 0, 0, chance=1.0) == (held_back, 600)
    assert policy.after(held_back, 1, 60, chance=0.0) == (held_back, 3600)


@pytest.mark.covers("mail-24")
def test_whoever_would_be_too_old_at_the_next_try_is_given_up_now() -> None:
    """max_age counts from the first deferral, to the moment of the next try."""
    policy = RetryPolicy((60,), 100, resend=False)
    later = Outcome(Kind.DEFERRED, "450 later")

    assert policy.after(later, 1, 40, chance=1.0)[0] is later
    expired, _ = policy.after(later, 1, 41, chance=1.0)
    assert (expired.kind, expired.reason) == (Kind.EXPIRED, "given up after 2 attempts: 450 later")


def test_whose_answer_was_lost_is_never_given_up_as_expired() -> None:
    """Under resend it is due again, and when there is no time left for that it stays unknown."""
    policy = RetryPolicy((60,), 100, resend=True)
    lost = Outcome(Kind.UNKNOWN, "handed over, and the answer is lost")

    again, pause = policy.after(lost, 0, 0, chance=0.0)
    assert (again.kind, again.in_doubt, pause) == (Kind.DEFERRED, True, 60)
    assert policy.after(lost, 1, 41, chance=1.0) == (lost, 0.0)
