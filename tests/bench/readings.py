"""
What the README and PROFILE.md say of the last readings, from the JSON of all subjects. Pure.

Called by ``run.py``: rows to paste, and the table of all aims.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

from bench.report import OURS

Found = dict[str, Any]  # what `run.py all` writes, by subject
AIMS = {
    "1": "CPU of a no-op job",
    "2": "drain of a backlog",
    "3": "one job at a time",
    "4": "idle pick-up, idle CPU",
    "5": "`POST /queue`",
    "6": "`POST /queue/bulk`",
    "7": "a personalised mail",
    "8": "the real case",
    "9": "Redis a recipient",
    "10": "memory",
    "11": "1,000,000 against 10,000 recipients",
    "12": "`kill -9` until the job runs again",
    "13": "POST p99 beside busy workers",
}


def kept(found: Found, subject: str, new: dict[str, Any]) -> None:
    """Put a subject's new readings in the place of its old ones; what was not read again stays as it was."""
    old = found.setdefault(subject, {})
    for part in ("comparisons", "facts", "tables"):
        old[part] = old.get(part, {}) | new[part]
    again = {(aim["row"], aim["what"]) for aim in new["aims"]}
    old["aims"] = [aim for aim in old.get("aims", []) if (aim["row"], aim["what"]) not in again] + new["aims"]
    old["machine"] = new["machine"]


def ratio(found: Found, subject: str, comparison: str, figure: str, of: str, to: str) -> float | None:
    """The middle one of the ratios in one round, as ``Comparison.ratio``; None where one was not there."""
    rounds = found.get(subject, {}).get("comparisons", {}).get(comparison, {}).get("rounds", {})
    if of not in rounds or to not in rounds:
        return None
    pairs = zip(rounds[of], rounds[to], strict=True)
    return statistics.median(one[figure] / other[figure] for one, other in pairs)


def readme_rows(found: Found) -> Iterator[str]:
    """The rows of the README's table of speed; "?" where a figure was not read."""
    yield "| mailerd's cost, of that of | |"
    yield "|---|---|"
    yield _row(
        "a personalised mail: Celery + smtplib, a task a mail · django-post_office · aiosmtplib · "
        "Jinja2 + EmailMessage + a kept smtplib connection",
        *(
            ratio(found, "mail", "a personalised mail", "cpu_us", OURS, peer)
            for peer in ("celery", "post_office", "aiosmtplib", "script")
        ),
    )
    yield _row(
        "a job of two contacts that sends nothing: RQ · Celery acks_late · Huey · Dramatiq",
        *(
            ratio(found, "queue", "backlog of no-op jobs", "cpu_us", OURS, peer)
            for peer in ("rq", "celery", "huey", "dramatiq")
        ),
    )
    yield _row(
        "`POST /queue`: Falcon on granian that does one LPUSH and checks nothing",
        ratio(found, "http", "POST /queue, eight clients", "cpu_us", OURS, "granian"),
    )
    bulk = "POST /queue/bulk, jobs"
    yield _row(
        "a job of `POST /queue/bulk` with 1,000: one of `POST /queue`",
        ratio(found, "http", bulk, "cpu_us", OURS, f"{OURS}, one a request"),
    )
    yield _row(
        "memory of two workers and main, idle: Celery's, two processes with SMTP",
        ratio(found, "memory", "memory of the whole tree, MiB", "idle", OURS, "celery"),
    )


def _row(what: str, *values: float | None) -> str:
    told = " · ".join(_share(value) for value in values)
    return f"| {what} | {told} |"


def _share(value: float | None) -> str:
    if value is None:
        return "?"
    return f"{value:.2f}" if value < 1 else f"{value:.1f}"


def aims_table(found: Found) -> Iterator[str]:
    """All aims with their last readings, missed ones in bold."""
    yield "| # | figure | aim | read | load |"
    yield "|---|---|---|---|---|"
    for row, title in AIMS.items():
        read = [aim for report in found.values() for aim in report["aims"] if aim["row"] == row]
        yield from map(_aim_row, read)
        if not read:
            yield f"| {row} | {title} | | not read | |"


def _aim_row(aim: dict[str, Any]) -> str:
    word = "≤" if aim["most"] else "≥"
    value = _figure(aim["value"])
    read = value if aim["reached"] else f"**{value}**"
    loads = " to ".join(f"{each:.1f}" for each in aim["load"])
    return f"| {aim['row']} | {aim['what']} | {word} {_figure(aim['wanted'])} | {read} | {loads} |"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
