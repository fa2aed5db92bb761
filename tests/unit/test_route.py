"""The breaker of a worker: when the route counts as out of order, how long it waits, and what it says."""

from __future__ import annotations

import logging
import mmap
from itertools import accumulate

import fakeredis
import pytest

from mailerd.board import Slot
from mailerd.board.slot import slot_size
from mailerd.delivery import End, Pass
from mailerd.queue.alerts import QUIET, SharedAlert
from mailerd.queue.keys import Keys
from mailerd.work.route import Route, next_pause
from rigs.hand_clock import HandClock

LOGIN = Pass(End.REFUSED, "535 refused")
RATE = Pass(End.BLOCKED, "454 Throttling failure")


class Story:
    """A route, whose log is read."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.clock = HandClock()
        self._slot = Slot(mmap.mmap(-1, slot_size(1)), 0, 1, 1)
        # While Redis is away each worker speaks for itself.
        away = fakeredis.FakeServer()
        away.connected = False
        alert = SharedAlert(fakeredis.FakeRedis(server=away), Keys("q").alert)
        self._route = Route(self._slot, self.clock, alert)
        self._log = caplog

    def blocked(self, ended: Pass, *, answers: int = 0) -> float:
        self._answer(answers)
        pause = self._route.blocked(ended)
        self.clock.at += pause
        return pause

    def worked(self, *, answers: int) -> None:
        self._answer(answers)
        self._route.worked()

    def said(self) -> list[str]:
        said = [record.getMessage() for record in self._log.records]
        self._log.clear()
        return said

    def _answer(self, times: int) -> None:
        for _ in range(times):
            self._slot.tally.handed_over(0.01)


@pytest.fixture
def story(caplog: pytest.LogCaptureFixture) -> Story:
    caplog.set_level(logging.DEBUG)
    return Story(caplog)


@pytest.mark.parametrize(("end", "longest"), [(End.BLOCKED, 5.0), (End.REFUSED, 60.0)])
def test_a_route_out_of_order_is_tried_again_soon_unless_a_try_may_cost_the_account(
    end: End, longest: float
) -> None:
    """The pauses double; a server that is away is back within seconds, a refused login is not hammered."""
    pauses = list(accumulate(range(20), lambda last, _: next_pause(last, end), initial=0.0))[1:]

    assert pauses[:3] == [1.0, 2.0, 4.0]
    assert max(pauses) == pauses[-1] == longest


@pytest.mark.covers("mail-21", "mail-35")
def test_it_alerts_once_and_closes_by_itself(story: Story) -> None:
    """However long a login is refused there is one alert; the first answer opens the route, said once."""
    pauses = [story.blocked(LOGIN) for _ in range(500)]
    story.worked(answers=1)
    story.worked(answers=3)

    assert pauses[:8] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    assert story.said() == ["The route is blocked: 535 refused", "The route is open again"]
    assert story.blocked(LOGIN) == 1.0


@pytest.mark.covers("mail-35")
def test_a_job_that_hands_nobody_over_opens_nothing(story: Story) -> None:
    """Cancelled, paused and buried jobs tell nothing of the route: its pause grows on, without a word."""
    story.blocked(LOGIN)
    story.worked(answers=0)

    assert story.blocked(LOGIN) == 2.0
    assert story.said() == ["The route is blocked: 535 refused"]


@pytest.mark.covers("mail-25", "mail-35")
def test_a_route_that_only_throttles_is_no_storm_of_alerts(story: Story) -> None:
    """Opened and closed a thousand times, it is asked again each second and alerts once in ten minutes."""
    began = story.clock.at
    pauses = {story.blocked(RATE, answers=3) for _ in range(1000)}
    took = story.clock.at - began

    assert pauses == {1.0}
    assert story.said() == ["The route is blocked: 454 Throttling failure"] * (1 + int(took / QUIET))


def test_another_outage_soon_after_is_told_if_it_lasts(story: Story) -> None:
    """The quiet after an alert hides no outage: one that lasts is told, and its end as well."""
    story.blocked(RATE)
    story.worked(answers=1)
    assert story.said() == ["The route is blocked: 454 Throttling failure", "The route is open again"]

    for _ in range(3):
        story.blocked(RATE)
    assert story.said() == []
    story.blocked(RATE)
    assert story.said() == ["The route is blocked: 454 Throttling failure"]
    story.worked(answers=1)
    assert story.said() == ["The route is open again"]
