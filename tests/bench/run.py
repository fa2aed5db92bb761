"""
The benchmarks: mailerd and what one would pick instead, side by side on this machine.

Whoever is compared takes part in every round, one after the other, so that what the machine does besides
falls on all of them; figures are medians, ratios those of one round. Each peer has an environment of its own
at pinned versions, made at its first use in --peers-dir; one that cannot be installed is left out, by name.
Exits with 1 where a figure misses its aim; with --quick that is only said.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.environments import left_out  # found by the line above
from bench.readings import Found, aims_table, kept, readme_rows
from bench.report import Asked, Report

HERE = Path(__file__).parent
READINGS = HERE / "readings.json"


class Subject(NamedTuple):
    """``module`` has ``measure(asked, folder) -> Report`` and, where there are any, ``PEERS``."""

    module: str
    does: str
    parts: str
    minutes: float  # with its peers and three rounds, on two cores
    shortened: str = ""  # the parts that `all` leaves out where it has less than an hour


SUBJECTS = {
    "queue": Subject(
        "queue_costs",
        "a job that does nothing: CPU, drain, pick-up, kill -9; beside Celery, Dramatiq, Huey, RQ, SAQ",
        "drain,one,pick-up,kill",
        6,
    ),
    "http": Subject(
        "http_calls",
        "POST /queue and /queue/bulk; waitress saying hello, Falcon on granian with one LPUSH",
        "calls,bulk,busy",
        2,
    ),
    "mail": Subject(
        "mail_path",
        "a personalised mail on the loopback; a script, aiosmtplib, Celery, django-post_office, smtp-source",
        "path,workers",
        3,
    ),
    "far": Subject(
        "mail_far",
        "STARTTLS 50 ms away, 100 connections, ten kills; Celery, django-post_office",
        "rate,kills",
        8,
    ),
    "memory": Subject(
        "memory",
        "the tree's memory beside Celery's, a worker's from 10,000 to 1,000,000 recipients",
        "size,growth,one_job",
        30,
        "size",
    ),
    "scale": Subject(
        "scale_costs",
        "a batch of a million, a queue of a million jobs, daemons that share a Redis, the capacity table",
        "size,daemons,depth,capacity",
        12,
    ),
}
AIMS = "aims"
EVERYTHING = "all"


def told() -> str:
    """The end of the help."""
    lines = ["subjects (minutes with three rounds; --quick takes a tenth of it):"]
    for name, one in SUBJECTS.items():
        lines += [f"  {name:<8}{one.minutes:>3.0f} min  {one.does}", f"{'':17}--parts {one.parts}"]
    return "\n".join(
        [
            *lines,
            f"  {EVERYTHING:<15}  all of them within --minutes; refreshes readings.json and the charts here,",
            f"{'':17}and prints the README's rows and the table of aims; below an hour without",
            f"{'':17}memory's parts growth and one_job",
            f"  {AIMS:<15}  measures nothing: the same rows and table, from the last readings",
            "",
            "examples:",
            "  python tests/bench/run.py mail --quick --peers none",
            "  python tests/bench/run.py queue --parts drain --peers huey,celery --json huey.json",
            "  python tests/bench/run.py all --minutes 60",
        ]
    )


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=told(), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("subject", choices=(*SUBJECTS, EVERYTHING, AIMS), metavar="SUBJECT", help="see below")
    parser.add_argument("--quick", action="store_true", help="one small round: whether it works, no figures")
    parser.add_argument("--rounds", type=int, default=3, help="how often each takes part (3)")
    parser.add_argument("--minutes", type=float, default=30, help="how long `all` may take, about (30)")
    parser.add_argument("--peers", default="", help="only these, by name; 'none': mailerd alone")
    parser.add_argument("--parts", default="", help="only these parts of the subject, by name")
    parser.add_argument("--peers-dir", type=Path, default=cache / "mailerd-bench", help="their environments")
    parser.add_argument("--json", type=Path, help="write every figure of every round there")
    parser.add_argument("--charts", type=Path, help="draw the charts into this folder")
    parser.add_argument(
        "--keep", action="store_true", help="as `all`: into readings.json and the charts here"
    )
    return parser.parse_args()


def names(text: str) -> tuple[str, ...]:
    """The names in a list with commas."""
    return tuple(name for name in text.split(",") if name)


def measured(name: str, asked: Asked) -> Report:
    """Play one subject and tell what it found."""
    module = import_module(f"bench.{SUBJECTS[name].module}")
    begun, before = time.monotonic(), os.getloadavg()[0]
    print(f"\n== {name}: {SUBJECTS[name].does}", flush=True)
    peers = {peer: needs for peer, needs in getattr(module, "PEERS", {}).items() if asked.wants_peer(peer)}
    asked = replace(asked, left_out=left_out(peers, asked.peers_dir))
    with tempfile.TemporaryDirectory(prefix="mailerd-bench-") as folder:
        Path(folder).chmod(0o755)
        report: Report = module.measure(asked, Path(folder))
    report.load = (before, os.getloadavg()[0])
    print(report.text())
    print(f"{name} took {(time.monotonic() - begun) / 60:.1f} minutes", flush=True)
    return report


def plan(asked: Asked, minutes: float) -> Iterator[tuple[str, Asked]]:
    """Each subject with as many rounds as fit."""
    leaves_out = minutes < 60
    whole = sum(one.minutes for one in SUBJECTS.values() if not (leaves_out and one.shortened))
    rounds = max(1, round(3 * minutes / whole))
    for name, one in SUBJECTS.items():
        parts = names(one.shortened) if leaves_out else ()
        yield name, replace(asked, rounds=1 if asked.quick else rounds, parts=parts)


def everything(asked: Asked, minutes: float) -> bool:
    """All subjects; what one finds is kept when it is through. Whether all went well."""
    good = True
    for name, each in plan(asked, minutes):
        try:
            report = measured(name, each)
        except Exception:  # noqa: BLE001 # the others are measured all the same
            traceback.print_exc()
            good = False
            continue
        good = good and report.good
        if not asked.quick:
            keep(report)
    tell(readings())
    return good


def readings() -> Found:
    """The last ones."""
    found: Found = json.loads(READINGS.read_text()) if READINGS.exists() else {}
    return found


def keep(report: Report) -> None:
    """Put what was read among the last readings, and draw it."""
    found = readings()
    kept(found, report.subject, report.as_json())
    READINGS.write_text(json.dumps(found, indent=1) + "\n")
    draw(report, HERE)


def tell(found: Found) -> None:
    """The README's rows and tables, and the table of aims."""
    print("\nFor the README, section Speed:\n", *readme_rows(found), sep="\n")
    for name, table in found.get("scale", {}).get("tables", {}).items():
        print(f"\nFor the README, section {name.capitalize()}:\n\n{table}")
    print("\nFor PROFILE.md:\n", *aims_table(found), sep="\n")


def draw(report: Report, folder: Path) -> None:
    """Write a report's charts."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, drawing in report.charts.items():
        (folder / f"{name}.svg").write_text(drawing)


def main() -> int:
    """Measure what is asked for; the exit code."""
    # So that a run that is broken off ends what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    given = arguments()
    if given.subject == AIMS:
        tell(readings())
        return 0
    rounds = 1 if given.quick else given.rounds
    asked = Asked(given.quick, rounds, names(given.peers), names(given.parts), given.peers_dir)
    if given.subject == EVERYTHING:
        return 0 if everything(asked, given.minutes) or asked.quick else 1
    report = measured(given.subject, asked)
    if given.keep:
        keep(report)
    if given.json:
        given.json.write_text(json.dumps(report.as_json(), indent=2) + "\n")
    if given.charts:
        draw(report, given.charts)
    return 0 if report.good or asked.quick else 1


if __name__ == "__main__":
    sys.exit(main())
