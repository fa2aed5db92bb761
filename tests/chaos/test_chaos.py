"""The chaos run in the forms that the gate has time for; ``run.py`` plays longer ones."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chaos import leftovers, report, schedule
from chaos.fleet import TAKEN, Setup
from chaos.jobs import SLOW_DOMAIN
from chaos.plan import Outcome, Plan
from chaos.plants import PRESETS
from chaos.run import planted_run, play
from rigs.old_redis import redis_6_2

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
# Who dies or stands still with permits, and answers about permits that are lost.
BEARING_ON_LIMITS = (
    *("kill-worker", "stop-worker", "kill-host", "term", "redis-killed", "redis-frozen"),
    *("drop-reply", "cut", "script-flush", "smtp-stall", "smtp-hang-up-after-dot"),
)
Played = Callable[[Plan, Setup], Outcome]


def tell(line: str) -> None:
    """Progress, where pytest shows it."""
    sys.stderr.write(f"{line}\n")


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each run has its folder here, and without a breach neither it nor a mount outlives the test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield
    left = leftovers.on_this_machine()
    assert left == []


@pytest.fixture
def played(capsys: pytest.CaptureFixture[str]) -> Played:
    """Plays a plan that must find nothing, and shows its report."""

    def run(plan: Plan, setup: Setup) -> Outcome:
        outcome, folder = play(plan, setup, tell)
        with capsys.disabled():
            print(f"\n{report.text(outcome)}")
        assert outcome.breaches == [], folder
        assert outcome.verdict.not_begun == 0
        assert outcome.verdict.unknown <= outcome.verdict.cut_off
        return outcome

    return run


def test_nobody_is_lost_and_nobody_is_mailed_twice(valkey_program: str, played: Played) -> None:
    """Faults of every kind, on Valkey: the verdict finds nothing, and the kills hit open hand-overs."""
    outcome = played(Plan(seed=11, faults=210), Setup(valkey_program))
    assert set(outcome.played) == set(schedule.played(sentinels=False))
    assert outcome.aimed >= 0.8 * outcome.kills > 0


def test_resending_repeats_only_what_was_marked_on_redis_7_0(
    debian_redis_program: str, played: Played
) -> None:
    """With mail.unknown = "resend" who can be is sent again, and each repeat was due for a lost answer."""
    outcome = played(Plan(seed=28, faults=30), Setup(debian_redis_program, unknown="resend"))
    assert outcome.server.startswith("redis 7.0")


def test_the_same_on_redis_6_2(tmp_path: Path, played: Played) -> None:
    """The short form on the oldest server that mailerd works with."""
    outcome = played(Plan(seed=1, faults=30), Setup(redis_6_2(tmp_path / "redis")))
    assert outcome.server.startswith("redis 6.2")


def test_failovers_lose_nobody_and_mail_nobody_twice(debian_redis_program: str, played: Played) -> None:
    """Redis 7.0 under sentinels, with redis.replicas = 2: masters die and freeze among the other faults."""
    outcome = played(Plan(seed=8, faults=18), Setup(debian_redis_program, sentinels=True))
    assert set(schedule.OF_SENTINELS) <= set(outcome.played)


def test_no_second_sees_more_than_the_limits(valkey_program: str, played: Played) -> None:
    """Whatever dies or stands still; and what the route, a client and a domain get is all used."""
    plan = Plan(seed=4, faults=16, only=BEARING_ON_LIMITS, backlog=150, sizes=(1, 5, 30, 60))
    outcome = played(plan, Setup(valkey_program, limited=True))
    assert outcome.rates == {"route": 60, "c0": 15, SLOW_DOMAIN: 7}


def test_brpop_loses_only_what_was_popped_and_not_recorded(valkey_program: str, played: Played) -> None:
    """Each answer that is lost costs a job, as fetch = "brpop" says; all that was recorded is worked off."""
    plan = Plan(seed=5, faults=4, only=("drop-reply",), backlog=3000, sizes=(1, 5, 30))
    outcome = played(plan, Setup(valkey_program, fetch="brpop", markers=(TAKEN,)))
    assert outcome.verdict.popped > 0


@pytest.mark.parametrize("name", PRESETS)
def test_a_planted_defect_is_found(name: str, valkey_program: str) -> None:
    """Without this guard of the protocol a run of a few faults ends with the breach that follows."""
    outcome, folder = play(*planted_run(name, valkey_program, seed=3), tell)
    if folder is not None:
        shutil.rmtree(folder)
    assert any(re.search(PRESETS[name].finds, breach) for breach in outcome.breaches), report.text(outcome)
