"""What the benchmarks tell of their figures, from made-up ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.capacity import Costs
from bench.charts import Bar, Panel, panels
from bench.environments import left_out
from bench.far_senders import SENDERS
from bench.mail_far import LABELS
from bench.readings import Found, aims_table, kept, readme_rows
from bench.report import OURS, Aim, Asked, Comparison, Report


def found() -> Found:
    """A run of which only the mails are known."""
    compared = Comparison("a personalised mail")
    compared.rounds[OURS] = [{"cpu_us": 10.0}, {"cpu_us": 30.0}]
    compared.rounds["celery"] = [{"cpu_us": 100.0}, {"cpu_us": 100.0}]
    aims = [Aim("7", "rate", 4.0, 9.0), Aim("10", "MiB", 6.1, 8, most=True)]
    report = Report("mail", [compared], aims, load=(1.0, 2.0))
    return {"mail": report.as_json()}


def test_rows_have_the_ratio_of_one_round_and_say_what_was_not_read() -> None:
    """The middle of the rounds' ratios; what nobody measured is a question mark and not a number."""
    mail, jobs = list(readme_rows(found()))[2:4]

    assert mail.endswith("| 0.20 · ? · ? · ? |")
    assert jobs.endswith("| ? · ? · ? · ? |")


def test_the_table_of_aims_has_every_row_and_shows_what_was_missed() -> None:
    """A missed figure stands out; a row that was not read says so."""
    lines = list(aims_table(found()))

    assert "| 7 | rate | ≥ 9 | **4** | 1.0 to 2.0 |" in lines
    assert "| 10 | MiB | ≤ 8 | 6.1 | 1.0 to 2.0 |" in lines
    assert {line.split("|")[1].strip() for line in lines[2:]} == {str(row) for row in range(1, 14)}


def test_what_was_not_read_again_stays() -> None:
    """A run of one part takes the place of that part's old figures alone."""
    readings = found()
    again = Report("mail", [], [Aim("7", "rate", 9.5, 9.0)], load=(0.5, 0.5))

    kept(readings, "mail", again.as_json())

    lines = list(aims_table(readings))
    assert [line for line in lines if "| rate |" in line] == ["| 7 | rate | ≥ 9 | 9.5 | 0.5 to 0.5 |"]
    assert "| 10 | MiB | ≤ 8 | 6.1 | 1.0 to 2.0 |" in lines
    assert "| 0.20 · ? · ? · ? |" in list(readme_rows(readings))[2]


def test_a_chart_of_nothing_is_a_chart() -> None:
    """Bars of zero are drawn, also where all of them are."""
    drawing = panels(
        "Lost & found", [Panel("lost", [Bar("a", 0), Bar("b", 0)]), Panel("kept", [Bar("a", 2)])]
    )

    assert re.findall(r'width="([\d.]+)" height="20"', drawing) == ["0.0", "0.0", "390.0"]


def test_capacity_follows_from_the_costs() -> None:
    """A worker sends no more than its connections carry, nor than its CPU allows."""
    costs = Costs(0.001, 0, 0.0001, 0.1, row=50, at_most=100, batch=800, tombstone=100)

    worker, core, redis, recipients = costs.table().splitlines()[3:7]
    assert "| 3.5 · 43 · 86 M mails a day |" in worker
    assert "| 60 M mails a day |" in core
    assert "| 600 M mails a day |" in redis
    assert "| 0.05 GB, 0.10 GB while queued |" in recipients


@pytest.mark.slow
def test_a_peer_that_cannot_be_installed_is_left_out_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others take part all the same."""
    missing = left_out({"nobody": (str(tmp_path / "no-such-package"),)}, tmp_path / "peers")

    asked = Asked(quick=True, rounds=1, peers=(), parts=(), peers_dir=tmp_path, left_out=missing)
    assert "nobody: left out, it cannot be installed" in capsys.readouterr().out
    assert not asked.wants_peer("nobody")


def test_whoever_sends_far_has_a_name_in_the_chart() -> None:
    """A sender without one would end a run of minutes in its last second."""
    assert set(LABELS) == set(SENDERS)
