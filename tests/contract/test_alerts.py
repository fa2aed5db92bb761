"""What is out of order is told once, by whichever worker sees it first, on whichever host it runs."""

from __future__ import annotations

import logging
import mmap

import pytest
import redis

from mailerd.board import Slot
from mailerd.board.slot import slot_size
from mailerd.clock import SystemClock
from mailerd.delivery import End, Pass
from mailerd.queue.alerts import QUIET, RelayNotes, SharedAlert, Standing
from mailerd.queue.keys import Keys
from mailerd.work.route import Route
from rigs.hand_clock import HandClock

DOWN, UP = {"mx1:587": "refused", "mx2:587": ""}, {"mx1:587": "", "mx2:587": ""}
LOGIN = Pass(End.REFUSED, "535 refused: pässword")


class Fleet:
    """Eight workers over one Redis."""

    def __init__(self, client: redis.Redis) -> None:
        self.slots = [Slot(mmap.mmap(-1, slot_size(1)), 0, 1, 1) for _ in range(8)]
        alert = SharedAlert(client, Keys("q").alert)
        self.routes = [Route(slot, SystemClock(), alert) for slot in self.slots]

    def all_blocked(self, ended: Pass, times: int = 1) -> None:
        for _ in range(times):
            for route in self.routes:
                route.blocked(ended)

    def all_worked(self) -> None:
        for route, slot in zip(self.routes, self.slots, strict=True):
            slot.tally.handed_over(0.01)
            route.worked()


@pytest.fixture
def fleet(client: redis.Redis) -> Fleet:
    return Fleet(client)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    messages = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return messages


@pytest.mark.covers("mail-35")
def test_eight_workers_give_one_alert(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    """However many workers find the route blocked, and however often: one alert, and one word of its end."""
    caplog.set_level(logging.WARNING)
    fleet.all_blocked(LOGIN, times=20)
    fleet.all_worked()
    fleet.all_worked()

    assert said(caplog) == ["The route is blocked: 535 refused: pässword", "The route is open again"]


@pytest.mark.covers("mail-35")
def test_one_that_comes_and_goes_is_told_when_it_lasts(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    """Soon after an alert the next one waits until it is no mere flicker; its end is told as well, once."""
    caplog.set_level(logging.WARNING)
    fleet.all_blocked(LOGIN)
    fleet.all_worked()
    assert len(said(caplog)) == 2

    fleet.all_blocked(LOGIN, times=6)
    assert said(caplog) == []
    fleet.all_blocked(LOGIN, times=2)
    assert said(caplog) == ["The route is blocked: 535 refused: pässword"]
    fleet.all_worked()
    assert said(caplog) == ["The route is open again"]


def test_what_stands_can_be_read(client: redis.Redis) -> None:
    """With its latest reason and how long ago that was, until it is over; forgotten after a while."""
    alert = SharedAlert(client, Keys("q").alert)
    assert alert.read() is None
    assert [alert.blocked(reason, lasting=False) for reason in ("a", "b")] == [Standing.NEW, Standing.TOLD]

    standing = alert.read()
    assert standing
    assert (standing.reason, standing.ago < 60) == ("b", True)
    assert 0 < client.pttl(Keys("q").alert) <= QUIET * 1000
    assert [alert.over(), alert.over(), alert.read()] == [True, False, None]
    assert alert.blocked("c", lasting=False) is Standing.QUIET
    assert alert.blocked("c", lasting=True) is Standing.NEW


def test_which_relays_are_left_alone_can_be_read(client: redis.Redis) -> None:
    """Each with its reason, for as long as a worker finds it so; while all is well Redis hears nothing."""
    keys, clock = Keys("q"), HandClock()
    notes = RelayNotes(client, keys, clock)
    notes.note({"mx1:587": "", "mx2:587": ""})
    assert client.keys("*") == []

    notes.note({"mx1:587": "refused", "mx2:587": ""})
    assert notes.read() == {"mx1:587": "refused"}
    assert 0 < client.ttl(keys.relays) <= 120
    client.expire(keys.relays, 1)
    notes.note({"mx1:587": "refused", "mx2:587": ""})
    assert client.ttl(keys.relays) == 1
    clock.at += 31
    notes.note({"mx1:587": "refused", "mx2:587": ""})
    assert client.ttl(keys.relays) > 100

    notes.note({"mx1:587": "", "mx2:587": ""})
    assert notes.read() == {}


def test_that_mail_goes_another_way_is_told_once_for_all_workers(
    client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """However many workers leave a relay, and whenever each comes back to it; anew when it is long past."""
    caplog.set_level(logging.WARNING)
    keys, clock = Keys("q"), HandClock()
    workers = [RelayNotes(client, keys, clock) for _ in range(8)]
    for worker in workers:
        worker.note(DOWN)
    assert said(caplog) == ["Mail goes through mx2:587 now: refused"]

    workers[0].note(UP)
    clock.at += 31
    for worker in workers[1:]:
        worker.note(DOWN)  # it has not looked again yet
        worker.note(UP)
    assert said(caplog) == ["Mail goes through mx1:587 again"]

    client.delete(keys.relays_told)  # as after ten minutes
    workers[0].note(DOWN)
    assert said(caplog) == ["Mail goes through mx2:587 now: refused"]


def test_nothing_is_told_of_relays_where_all_are_left_alone(
    client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """That is the route's alert."""
    RelayNotes(client, Keys("q"), HandClock()).note({"mx1:587": "refused", "mx2:587": "gone"})
    assert said(caplog) == []
