"""
Runs mailerd under faults: ``python tests/chaos/run.py --seed 7 --faults 200``; see ``--help``.

Two daemons, a Redis, a mail server and producers; exit code 1 on any breach, whose logs are then kept.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from chaos import leftovers, report
from chaos.campaign import Campaign
from chaos.fleet import Fleet, Setup
from chaos.plan import Outcome, Plan
from chaos.plants import PRESETS
from chaos.schedule import NAMES
from rigs.redis_server import shipped_valkey

RECIPIENTS_A_MINUTE = 20_000  # more than a machine can send; so many contacts are made


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="mailerd under faults, from a seed: nothing lost, nobody twice."
    )
    parser.add_argument("--seed", type=int, default=1, help="the same seed plays the same faults and jobs")
    parser.add_argument("--faults", type=int, default=0, help="stop after so many faults")
    parser.add_argument("--minutes", type=float, default=0.0, help="stop after so many minutes of faults")
    parser.add_argument("--recipients", type=int, default=0, help="push so many recipients in all")
    parser.add_argument("--unknown", choices=("hold", "resend"), default="hold", help="mail.unknown")
    parser.add_argument("--fetch", choices=("blmove", "brpop"), default="blmove", help="queue.fetch")
    parser.add_argument(
        "--sentinels",
        action="store_true",
        help="a master and two replicas under sentinels, redis.replicas = 2, failovers among the faults",
    )
    parser.add_argument(
        "--limits",
        action="store_true",
        help="limits on the route, a client and a domain, held in every second",
    )
    parser.add_argument("--server", default=shipped_valkey(), help="the Redis or Valkey server program")
    parser.add_argument("--only", default="", help=f"only these faults, with commas: {', '.join(NAMES)}")
    parser.add_argument(
        "--planted",
        choices=sorted(PRESETS),
        default="",
        help="play until this defect is found, with faults of its own",
    )
    parser.add_argument("--json", type=Path, help="write the report there, too")
    given = parser.parse_args()
    if unknown := set(filter(None, given.only.split(","))) - set(NAMES):
        parser.error(f"no such faults: {', '.join(sorted(unknown))}")
    if given.sentinels and given.unknown == "resend":
        parser.error(
            "repeats are judged by one server's append-only file; with --sentinels leave out --unknown"
        )
    if not given.faults and not given.minutes:
        given.minutes = 1.0
    return given


def play(plan: Plan, setup: Setup, tell: Callable[[str], None]) -> tuple[Outcome, Path | None]:
    """Play a plan; the outcome, and the folder with the logs if there was a breach."""
    folder = Path(tempfile.mkdtemp(prefix=leftovers.FOLDERS))
    with Fleet(folder, setup) as fleet:
        outcome = Campaign(fleet, plan, tell).run()
        fleet.keep = bool(outcome.breaches)
    if outcome.breaches:
        return outcome, folder
    shutil.rmtree(folder)
    return outcome, None


def planted_run(name: str, server: str, seed: int) -> tuple[Plan, Setup]:
    """The run that must find this planted defect."""
    how = PRESETS[name]
    plan = Plan(
        seed,
        how.faults,
        only=how.only,
        backlog=how.backlog,
        pause=how.pause,
        sizes=how.sizes,
        settled_within=15.0,
        eager=True,
    )
    setup = Setup(
        server,
        how.unknown,
        planted=name,
        envelope=how.envelope,
        reply_delay=how.reply_delay,
        markers=how.markers,
        contacts=3 * RECIPIENTS_A_MINUTE,
        overlay=how.overlay,
        limited=how.limited,
    )
    return plan, setup


class Progress:
    """One line that changes on a terminal; elsewhere one line every ten seconds."""

    def __init__(self) -> None:
        self._every = 0.2 if sys.stderr.isatty() else 10.0
        self._end = "\r" if sys.stderr.isatty() else "\n"
        self._next = 0.0

    def __call__(self, line: str) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + self._every
            print(line, end=self._end, file=sys.stderr, flush=True)


def main() -> int:
    """Run; the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # nothing may be left behind
    given = arguments()
    only = tuple(filter(None, given.only.split(",")))
    contacts = (
        given.recipients + 5000 if given.recipients else int((given.minutes or 10) * RECIPIENTS_A_MINUTE)
    )
    backlog = 400 if given.fetch == "blmove" else 3000  # what brpop loses is on its way for ever
    backlog = 150 if given.limits else backlog
    plan = Plan(given.seed, given.faults, given.minutes, given.recipients, only, backlog)
    setup = Setup(
        given.server, given.unknown, given.fetch, given.sentinels, contacts=contacts, limited=given.limits
    )
    if given.planted:
        plan, setup = planted_run(given.planted, given.server, given.seed)
    outcome, folder = play(plan, setup, Progress())
    print(f"\nmailerd chaos, seed {given.seed}\n{report.text(outcome)}")
    if folder is not None:
        print(f"logs              {folder}")
    if given.json:
        given.json.write_text(json.dumps(report.as_json(outcome), indent=1))
    return 1 if outcome.breaches else 0


if __name__ == "__main__":
    sys.exit(main())
