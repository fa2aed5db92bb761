"""The supervisor's policies: pure, so every rule is a line here."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mailerd.config import Config
from mailerd.config.model import Workers
from mailerd.daemon.recycling import Service, at_once, why_recycle
from mailerd.daemon.reloading import checked
from mailerd.daemon.restart import Budget, Life, Record
from mailerd.daemon.timetable import Timetable, longest_stop
from mailerd.errors import ConfigurationError

KILLED = Life(5.0, settled=False, told=False, exit_code=None)


def pauses(lives: list[Life], chance: float = 0.5) -> list[float]:
    record, found = Record(), []
    for life in lives:
        record = record.after(life, 100.0, chance)
        found.append(record.not_before - 100.0 if record.failures else 0.0)
    return found


@pytest.mark.covers("supervisor-9")
def test_deaths_without_progress_wait_twice_as_long_each_time() -> None:
    """The pauses start at half a second, double, and end at thirty seconds."""
    assert pauses([KILLED] * 9) == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


def test_the_pauses_are_spread_by_a_fifth() -> None:
    """Chance moves a pause from four to six fifths of its length."""
    assert pauses([KILLED], chance=0.0) == [pytest.approx(0.4)]
    assert pauses([KILLED], chance=1.0) == [pytest.approx(0.6)]


@pytest.mark.covers("supervisor-11")
def test_a_thousand_failures_still_have_a_pause() -> None:
    """No number of failures makes the arithmetic fail or the pause longer."""
    assert pauses([KILLED] * 5000)[-1] == 30.0


@pytest.mark.parametrize(
    "life",
    [
        Life(0.1, settled=True, told=False, exit_code=None),
        Life(0.1, settled=False, told=True, exit_code=0),
        Life(60.0, settled=False, told=False, exit_code=None),
        Life(1.0, settled=False, told=False, exit_code=0),
        Life(1.0, settled=False, told=False, exit_code=75),
    ],
    ids=["settled something", "told to leave", "lived long", "left", "asked for a successor"],
)
def test_a_life_with_progress_is_followed_at_once(life: Life) -> None:
    """Whatever ended it, such a life leaves no pause and no memory of earlier failures."""
    assert pauses([KILLED, KILLED, life, KILLED]) == [0.5, 1.0, 0.0, 0.5]


@pytest.mark.parametrize("exit_code", [0, 75, 3, 78])
def test_leaving_right_after_the_start_is_a_failure(exit_code: int) -> None:
    """A worker that leaves by itself at once, however politely, must not spin."""
    assert pauses([Life(0.1, settled=False, told=False, exit_code=exit_code)]) == [0.5]


@pytest.mark.covers("supervisor-9")
def test_all_failing_slots_share_one_budget() -> None:
    """Two starts for each worker of the pool in ten seconds, then none until the first is ten seconds old."""
    budget = Budget()
    for now in (0.0, 1.0, 2.0, 3.0):
        assert budget.allows(2, now)
        budget.spend(now)

    assert not budget.allows(2, 9.9)
    assert budget.allows(2, 10.0)
    assert budget.allows(3, 9.9)


LIMITS = Workers(max_jobs=100, max_age=1000.0, max_memory_mb=50)


def service(number: int = 1, generation: int = 1, jobs: int = 0, seconds: float = 0, mb: int = 0) -> Service:
    return Service(number, generation, jobs, seconds, mb * 2**20)


def test_who_has_done_enough_is_recycled() -> None:
    """Jobs, age, memory and an older configuration each give a reason in words; less gives none."""
    assert why_recycle(service(jobs=99, seconds=999.0, mb=50), LIMITS, 1) == ""
    assert why_recycle(service(jobs=100), LIMITS, 1) == "100 jobs done"
    assert why_recycle(service(seconds=1000.0), LIMITS, 1) == "1000 s old"
    assert why_recycle(service(mb=51), LIMITS, 1) == "51 MB of memory"
    assert why_recycle(service(), LIMITS, 2) == "of an older configuration"


def test_nobody_is_replaced_in_the_middle_of_the_job_that_takes_the_memory() -> None:
    """While the job that made a worker large is in hand it stays: its successor would grow as well."""
    large = service(mb=51)

    assert why_recycle(replace(large, growing=True), LIMITS, 1) == ""
    assert why_recycle(replace(large, growing=False), LIMITS, 1) == "51 MB of memory"


@pytest.mark.covers("supervisor-22")
def test_no_limit_means_no_recycling() -> None:
    """A limit of 0 is none."""
    limits = Workers(max_jobs=0, max_age=0, max_memory_mb=0)

    assert why_recycle(service(jobs=10**9, seconds=1e9, mb=10**6), limits, 1) == ""


@pytest.mark.covers("supervisor-21")
def test_equal_workers_reach_their_limits_one_after_the_other() -> None:
    """Each of the first ten slots has a limit of its own."""
    limits = [
        next(jobs for jobs in range(1000) if why_recycle(service(number, jobs=jobs), LIMITS, 1))
        for number in range(1, 11)
    ]

    assert limits == [100, 110, 120, 130, 140, 150, 160, 170, 180, 190]


def test_a_tenth_of_the_pool_is_away_at_most() -> None:
    """And always at least one, or nobody would ever be replaced."""
    assert [at_once(pool) for pool in (0, 1, 9, 19, 20, 64)] == [1, 1, 1, 1, 2, 6]


@pytest.mark.covers("supervisor-36")
def test_a_stop_fits_into_the_service_managers_patience() -> None:
    """With the default drain_timeout the longest stop is shorter than TimeoutStopSec (45 s)."""
    assert longest_stop(Config().workers.drain_timeout) < 45.0


def test_a_hurry_only_ever_shortens_the_timetable() -> None:
    """Hurrying sets both times to now and four seconds later, unless they come sooner anyway."""
    plan = Timetable.patient(100.0, 30.0)

    assert plan == Timetable(130.0, 134.0)
    assert plan.hurried(110.0) == Timetable(110.0, 114.0)
    assert plan.hurried(110.0).hurried(112.0) == Timetable(110.0, 114.0)
    assert plan.hurried(133.0) == Timetable(130.0, 134.0)


def test_a_reload_takes_what_workers_can_follow() -> None:
    """Workers, templates, mail and log may change."""
    new = Config.model_validate({"workers": {"processes": 5}, "templates": {"path": "/t"}})

    assert checked(new, Config()) is new


def test_a_reload_refuses_what_needs_a_restart() -> None:
    """Every section that main itself uses, and a larger board, are named together."""
    new = Config.model_validate(
        {
            "queue": {"name": "other"},
            "api": {"port": 9},
            "redis": {"embedded": True},
            "workers": {"connections": 99},
        }
    )

    with pytest.raises(ConfigurationError) as raised:
        checked(new, Config())

    fields = [problem.field for problem in raised.value.problems]
    assert fields == ["redis", "queue", "api", "workers.connections"]
