"""
The benchmarks: mailerd and what one would pick instead, side by side on this machine.

    python tests/bench/run.py queue|http|mail|far|memory|scale [--quick] [--json FILE] [--peers celery,huey]

Whoever is compared takes part in every round, one after the other, so that what the machine does besides
falls on all of them; figures are medians, ratios those of one round. Each peer has an environment of its own
at pinned versions, made at its first use in ``--peers-dir``. With ``--charts`` the charts are drawn that the
README shows. Needs what the tests need. Exits with 1 where a figure misses its aim; with ``--quick`` that is
only said.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.report import Asked, Report  # found by the line above

# Each has ``measure(asked, folder) -> Report``.
SUBJECTS = {
    "queue": "bench.queue_costs",
    "scale": "bench.scale_costs",
    "http": "bench.http_calls",
    "mail": "bench.mail_path",
    "far": "bench.mail_far",
    "memory": "bench.memory",
}


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    parser = argparse.ArgumentParser(description="mailerd beside its peers, on this machine.")
    parser.add_argument("subject", choices=SUBJECTS)
    parser.add_argument("--quick", action="store_true", help="one small round: whether it works, no figures")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", default="", help="only these, by name; 'none': mailerd alone")
    parser.add_argument("--parts", default="", help="only these parts of the subject, by name")
    parser.add_argument("--peers-dir", type=Path, default=cache / "mailerd-bench")
    parser.add_argument("--json", type=Path, help="write every figure of every round there")
    parser.add_argument("--charts", type=Path, help="draw the subject's charts into this folder")
    return parser.parse_args()


def main() -> int:
    """Measure one subject; the exit code."""
    # So that a run that is broken off ends what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    given = arguments()
    names = tuple(name for name in given.peers.split(",") if name)
    parts = tuple(name for name in given.parts.split(",") if name)
    asked = Asked(given.quick, 1 if given.quick else given.rounds, names, parts, given.peers_dir)
    with tempfile.TemporaryDirectory(prefix="mailerd-bench-") as folder:
        Path(folder).chmod(0o755)
        report: Report = import_module(SUBJECTS[given.subject]).measure(asked, Path(folder))
    print(report.text())
    if given.json:
        given.json.write_text(json.dumps(report.as_json(), indent=2) + "\n")
    if given.charts:
        given.charts.mkdir(parents=True, exist_ok=True)
        for name, drawing in report.charts.items():
            (given.charts / f"{name}.svg").write_text(drawing)
    return 0 if report.good or asked.quick else 1


if __name__ == "__main__":
    sys.exit(main())
