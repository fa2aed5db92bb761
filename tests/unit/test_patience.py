"""Patience: what is repeated until Redis answers, and what of it is said."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from mailerd.clock import Stop, SystemClock
from mailerd.errors import RedisRefused, RedisReplaced, RedisUnavailable, TooFewCopies
from mailerd.queue.connection import Patience

ANOTHER = RedisReplaced("it is another life of Redis")
AWAY = RedisUnavailable("Connection refused")


class Quick(Stop):
    """Waits for nothing."""

    def wait(self, _: float) -> bool:
        return bool(self)


def events(caplog: pytest.LogCaptureFixture, *faults: Exception) -> list[str]:
    """What is said while an operation meets these faults and then succeeds."""
    coming: Iterator[Exception] = iter(faults)

    def operation() -> str:
        for fault in coming:
            raise fault
        return "done"

    with caplog.at_level(logging.INFO):
        assert Patience(SystemClock(), Quick()).call(operation) == "done"
    return [record.event for record in caplog.records]


def test_an_outage_is_told_twice(caplog: pytest.LogCaptureFixture) -> None:
    """When Redis goes and when it is back, however often it was asked in between."""
    assert events(caplog, AWAY, AWAY, RedisRefused("NOAUTH"), AWAY) == ["redis.away", "redis.back"]


def test_another_life_of_redis_is_no_outage(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever meets a new life says so; the operation is repeated, and Redis was never away."""
    assert events(caplog, ANOTHER) == []


def test_an_outage_after_another_life_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Also when the first fault was none."""
    assert events(caplog, ANOTHER, AWAY, AWAY, ANOTHER) == ["redis.away", "redis.back"]


def test_redis_is_back_once_it_answers(caplog: pytest.LogCaptureFixture) -> None:
    """Not when a claim that waits for a job has its answer, seconds later: a new life has answered."""
    clock = SystemClock()
    said: list[list[str]] = []
    coming = iter([AWAY, ANOTHER])

    def operation() -> None:
        for fault in coming:
            raise fault
        said.append([record.event for record in caplog.records])

    with caplog.at_level(logging.INFO):
        Patience(clock, Quick()).call(operation)

    assert said == [["redis.away", "redis.back"]]


@pytest.mark.parametrize(("fault", "longest"), [(AWAY, 3.0), (TooFewCopies(0, 2), 1.0)])
def test_a_server_that_answers_is_asked_sooner(fault: Exception, longest: float) -> None:
    """However long replicas were away: two waits for them in a row are over well within 10 s."""
    coming, pauses = iter([fault] * 60), list[float]()

    def operation() -> None:
        for each in coming:
            raise each

    Patience(SystemClock(), Quick(), pauses.append).call(operation)

    assert len(pauses) == 59
    assert max(pauses[30:]) <= longest
    assert longest == 1.0 or max(pauses) > 1.0


def test_a_stop_ends_the_tries(caplog: pytest.LogCaptureFixture) -> None:
    """The last fault is raised."""
    stop = Stop()
    stop.raise_()

    def operation() -> None:
        raise AWAY

    with pytest.raises(RedisUnavailable, match="refused"):
        Patience(SystemClock(), stop).call(operation)
