"""The chaos run in the forms that the gate has time for; ``run.py`` plays longer ones."""

from __future__ import annotations

import sys

import pytest

from chaos import report
from chaos.campaign import Plan
from chaos.fleet import Setup
from chaos.plants import PRESETS
from chaos.run import planted_run, play

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def tell(line: str) -> None:
    """Progress, where pytest shows it."""
    sys.stderr.write(f"{line}\n")


def test_nobody_is_lost_and_nobody_is_mailed_twice(valkey_program: str) -> None:
    """Under faults of all kinds, on Valkey: the verdict finds nothing, and the kills hit open hand-overs."""
    outcome, folder = play(Plan(seed=11, minutes=1.5), Setup(valkey_program), tell)
    print(report.text(outcome))
    assert outcome.breaches == [], folder
    assert outcome.kills == 0 or outcome.aimed / outcome.kills >= 0.8


def test_resending_repeats_only_what_was_cut_off(valkey_program: str) -> None:
    """With mail.unknown = "resend" nobody stays unknown, and a repeat follows a hand-over that was cut."""
    outcome, folder = play(Plan(seed=12, minutes=0.7), Setup(valkey_program, unknown="resend"), tell)
    print(report.text(outcome))
    assert outcome.breaches == [], folder
    assert not outcome.verdict.states["unknown"]


def test_the_same_on_debians_redis(debian_redis_program: str) -> None:
    """The short form on the Redis that Debian ships."""
    outcome, folder = play(Plan(seed=13, minutes=0.7), Setup(debian_redis_program), tell)
    print(report.text(outcome))
    assert outcome.breaches == [], folder


@pytest.mark.parametrize("name", PRESETS)
def test_a_planted_defect_is_found(name: str, valkey_program: str) -> None:
    """Without this guard of the protocol a run of a few faults ends with the breach that follows."""
    outcome, _ = play(*planted_run(name, valkey_program, seed=3), tell)
    assert any(PRESETS[name].finds in breach for breach in outcome.breaches), report.text(outcome)
