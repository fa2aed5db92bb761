"""Back-pressure as a matter of numbers: who is refused, and who may wait."""

from __future__ import annotations

from mailerd.api.waiting import BRISK, HICCUP, LONGEST_BRISK_WAIT, LONGEST_WAIT, Pace


def test_a_long_queue_that_moves_refuses_nobody() -> None:
    """Three hundred wait while an answer takes a millisecond: all of them are answered."""
    pace = Pace(4, usual=0.001)
    assert not any(pace.is_too_slow(ahead, 0.0) for ahead in range(300))


def test_behind_slow_answers_few_may_wait() -> None:
    """When an answer takes 0.2 s, one round fits into the wait, and the second does not."""
    pace = Pace(4, usual=0.2)
    assert [ahead for ahead in range(20) if not pace.is_too_slow(ahead, 0.0)] == list(range(4))


def test_nobody_is_refused_for_whom_a_thread_is_free() -> None:
    """However slow the last answers were, who need not wait is taken: else the pace would never change."""
    slow = Pace(4, usual=5.0, free=2)
    assert [slow.is_too_slow(ahead, 0.0) for ahead in range(4)] == [False, False, True, True]


def test_threads_that_hang_are_noticed_before_one_of_them_is_done() -> None:
    """Without one answer known, a standstill refuses the far end first and in the end everybody."""
    assert not Pace(4, stuck=HICCUP).is_too_slow(200, 0.0)
    assert Pace(4, stuck=HICCUP + 0.01).is_too_slow(200, HICCUP)
    assert not Pace(4, stuck=HICCUP + 0.01).is_too_slow(3, HICCUP)
    assert Pace(4, stuck=LONGEST_WAIT + 0.01).is_too_slow(0, LONGEST_WAIT + 0.01)


def test_the_wait_has_an_end_at_any_pace() -> None:
    """Who has waited as long as one may is refused, also by a queue that moves."""
    assert Pace(4, usual=BRISK).is_too_slow(0, LONGEST_BRISK_WAIT)
    assert Pace(4, usual=BRISK + 0.001).is_too_slow(0, LONGEST_WAIT)


def test_the_pace_follows_the_answers() -> None:
    """One slow answer among quick ones changes little, many change it."""
    pace = Pace(4, usual=0.001).after(0.15)
    assert pace.usual < BRISK
    for _ in range(50):
        pace = pace.after(0.15)
    assert pace.usual > 0.14
