"""
Goes everywhere in a small world of limits: ``python tests/chaos/limits/explore.py``; exit code 1 on a breach.

Breadth first, so that the trace of a breach is a shortest one. Where time is up, all must end well: nobody's
permit is lost, and whoever stands in line is served.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from chaos.limits.cases import CASES, PLANTED, larger
from chaos.limits.moves import Case, Moment, Moves, Worker, breach, canonical, first, later
from chaos.limits.world import Scripts
from chaos.model.explore import Finding
from rigs.redis_server import RedisServer, shipped_valkey


def explore(case: Case, client: Any, edits: Mapping[str, str] | None = None) -> Finding:
    """Go everywhere, or until something is wrong; ``edits`` are planted in the scripts."""
    moves, begin, found = Moves(case, Scripts(client, edits or {})), first(case), Finding()
    met: dict[Moment, tuple[Moment, str] | None] = {begin: None}
    ahead = deque([begin])
    while ahead:
        moment = ahead.popleft()
        found.moments += 1
        wrong = breach(case, moment)
        if not wrong and moment.ticks == case.ticks:
            wrong = _ends_badly(case, moves, moment)
        if wrong:
            found.breach, found.trace = wrong, _trace(met, moment)
            return found
        for words, came_to in moves.after(moment):
            found.moves += 1
            after = canonical(came_to)
            if after not in met:
                met[after] = moment, words
                ahead.append(after)
    return found


def _trace(met: Mapping[Moment, tuple[Moment, str] | None], moment: Moment) -> tuple[str, ...]:
    words: list[str] = []
    while (step := met[moment]) is not None:
        moment = step[0]
        words.insert(0, step[1])
    return tuple(words)


def _ends_badly(case: Case, moves: Moves, moment: Moment) -> str:
    """Everybody dies, and one who comes then gets all that there is; with pieces: all of them are served."""
    kept = replace(moment.kept, leases=("z",))
    waiting = [worker.piece for worker in moment.workers if worker.piece and not worker.marks]
    kept = replace(kept, queue=(*kept.queue, *waiting))
    alone = replace(moment, kept=kept, workers=(Worker("z"),))
    return _not_served(moves, alone) if case.pieces else _lost_permits(case, moves, alone)


def _lost_permits(case: Case, moves: Moves, alone: Moment) -> str:
    most = min(most for most, _ in case.windows)
    for _ in range(2):
        alone = moves.asks_alone(alone, most)
        if len(alone.workers[0].marks) == most:
            return ""
        alone = moves.asks_alone(alone, 0)
        alone = later(case, alone, case.horizon + (96 * 900_000 if case.counts_a_day else 20_001))
    got = len(moves.asks_alone(alone, most).workers[0].marks)
    return "" if got == most else f"of {most} permits {most - got} never come back"


def _not_served(moves: Moves, alone: Moment) -> str:
    wanted = len(alone.kept.queue) + len(alone.kept.line)
    for _ in range(4 * wanted + 4):
        if not alone.kept.queue and not alone.kept.line:
            return ""
        alone = moves.one_round(alone)
    return f"after {4 * wanted + 4} seconds some of {wanted} still wait"


def main() -> int:
    """Explore what is asked for; the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # nothing may be left behind
    parser = argparse.ArgumentParser(description="All that may happen between workers under a limit.")
    parser.add_argument("--case", default="", help="only the cases with that word in their name")
    parser.add_argument("--planted", action="store_true", help="each planted fault, which must be found")
    parser.add_argument("--ticks", type=int, default=0, help="so many more steps of time")
    given = parser.parse_args()
    wanted: list[tuple[str, Case, Mapping[str, str], bool]]
    wanted = [(case.name, larger(case, given.ticks), {}, False) for case in CASES]
    if given.planted:
        wanted = [(one.fault, one.case, one.edits, True) for one in PLANTED]
    failed = False
    with tempfile.TemporaryDirectory(prefix="mailerd-limits-") as folder:
        server = RedisServer(shipped_valkey(), Path(folder))
        server.start()
        try:
            for name, case, edits, planted in wanted:
                if given.case not in name:
                    continue
                began = time.monotonic()
                with server.client() as client:
                    found = explore(case, client, edits)
                failed |= bool(found.breach) is not planted
                print(told(name, found, time.monotonic() - began), flush=True)
        finally:
            server.close()
    return int(failed)


def told(name: str, found: Finding, seconds: float) -> str:
    """What was found, and the trace where something was."""
    line = f"{name}: {found.moments:,} moments, {found.moves:,} moves, {seconds:.1f} s"
    if not found.breach:
        return f"{line}: nothing wrong"
    steps = [f"{number:4}  {words}" for number, words in enumerate(found.trace, 1)]
    return "\n".join([f"{line}: BREACH", *steps, f"      -> {found.breach}"])


if __name__ == "__main__":
    sys.exit(main())
