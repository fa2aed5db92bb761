"""
Explores the model of the protocol: ``python tests/chaos/model/run.py``; see ``--help``.

Exit code 1 on a breach, whose shortest trace is printed; with ``--planted`` a breach is what is wanted.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from chaos.model.cases import cases
from chaos.model.explore import Finding, explore
from chaos.model.planted import PLANTED
from chaos.model.state import Case

POLICIES = ("hold", "resend")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="All that may happen between two workers, a janitor and Redis."
    )
    parser.add_argument("--policy", choices=POLICIES, help="for unknown outcomes; both where none is given")
    parser.add_argument("--case", help="only the cases with that word in their name")
    parser.add_argument("--planted", choices=[one.guard for one in PLANTED], help="without this guard")
    parser.add_argument("--faults", type=int, help="at most so many in a case, instead of what it says")
    return parser.parse_args()


def chosen(args: argparse.Namespace) -> list[Case]:
    """The cases that the command line asks for."""
    if args.planted:
        found = [one.as_case() for one in PLANTED if one.guard == args.planted]
    else:
        policies = [args.policy] if args.policy else POLICIES
        found = [case for policy in policies for case in cases(resend=policy == "resend")]
    found = [case for case in found if args.case is None or args.case in case.name]
    return [case if args.faults is None else replace(case, most_faults=args.faults) for case in found]


def told(case: Case, found: Finding, seconds: float) -> str:
    """One line of what was found, and the trace where something was."""
    policy = "resend" if case.resend else "hold"
    line = f"{case.name} ({policy}): {found.moments:,} moments, {found.moves:,} moves, {seconds:.1f} s"
    if not found.breach:
        return f"{line}: nothing wrong"
    steps = [f"{number:4}  {words}" for number, words in enumerate(found.trace, 1)]
    return "\n".join([f"{line}: BREACH", *steps, f"      -> {found.breach}"])


def progress() -> Callable[[str], None]:
    """A line that is written over, where somebody sees it."""
    if not sys.stderr.isatty():
        return lambda _: None
    return lambda line: print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)


def main() -> int:
    """Explore, tell; the exit code."""
    args, tell = arguments(), progress()
    breaches = moments = 0
    for case in chosen(args):
        began = time.monotonic()
        found = explore(case, tell)
        tell("")
        print(told(case, found, time.monotonic() - began), flush=True)
        breaches += bool(found.breach)
        moments += found.moments
    print(f"{moments:,} moments in all, breaches: {breaches}")
    return int(bool(breaches) is not bool(args.planted))


if __name__ == "__main__":
    sys.exit(main())
