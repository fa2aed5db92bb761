"""
Takes each guard out of a copy of the product and sees its test fail.

    python tests/rows/guards.py [--row queues-14 ...] [--source queues ...] [--jobs 2]

First every test runs once as things are and must pass; then each guard is taken out by its edit, its test
must fail, and the edit is taken back. Exits with 1 when a test fails as things are, or passes without its
guard. Needs what the tests need (``pip install -e '.[test]'``).
"""

from __future__ import annotations

import argparse
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from rows.table import NUMBERS, ROOT, Guard, rows  # found by the line above

COPIED = ("mailerd", "tests", "systemd", "pyproject.toml", "config.example.toml", "README.md")
# A test without its guard may wait for what never comes: pytest fails it after so many seconds,
PATIENCE = 60
# and what even then does not end is killed after so many.
LIMIT = 120
LIMIT_ALL = 1200
PASSED, FAILED = 0, 1


@dataclass(frozen=True)
class Ran:
    """How a run of pytest ended; ``status`` is its exit code, or what went wrong with it."""

    status: int | str
    seconds: float
    output: str


class Copy:
    """A copy of the checkout in a folder of its own, whose package its tests import."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, folder / name)
        self._environ = {**os.environ, "PYTHONPATH": str(folder)}
        self._edits = 0

    def imported(self) -> Path:
        """Where its tests import the product from."""
        command = [sys.executable, "-c", "import mailerd; print(mailerd.__file__)"]
        said = subprocess.run(command, cwd="/", env=self._environ, check=True, capture_output=True, text=True)
        return Path(said.stdout.strip())

    def belongs_here(self) -> bool:
        """Whether that is this copy."""
        return self.imported().is_relative_to(self._folder.resolve())

    def without(self, guard: Guard) -> Ran:
        """Run the guard's test without the guard."""
        file = self._folder / guard.file
        text = file.read_text()
        if text.count(guard.find) != 1:
            return Ran("the edit does not fit", 0.0, "")
        self._write(file, text.replace(guard.find, guard.replace))
        try:
            return self.run([guard.caught_by], LIMIT)
        finally:
            self._write(file, text)

    def _write(self, file: Path, text: str) -> None:
        # Size and second may be as they were: then Python would take what it had compiled before.
        file.write_text(text)
        self._edits += 1
        second = time.time() + self._edits
        os.utime(file, (second, second))

    def run(self, tests: Sequence[str], limit: float) -> Ran:
        """Run these tests, slow ones too."""
        options = ["-q", "-x", "-m", "", "--timeout", str(PATIENCE)]
        # The plugins cost a third of a second, each time.
        options += ["-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:anyio"]
        command = [sys.executable, "-m", "pytest", *options, *tests]
        began = time.monotonic()
        process = subprocess.Popen(
            command,
            cwd=self._folder,
            env=self._environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return Ran("no end", time.monotonic() - began, "")
        return Ran(process.returncode, time.monotonic() - began, output)


class Report:
    """Prints a line for each run, and what went wrong in the end."""

    def __init__(self, expected: int) -> None:
        self.wrong: list[str] = []
        self._expected = expected
        self._done = 0

    def passes_with_guards(self, ran: Ran) -> bool:
        """As things are, every test must pass."""
        if ran.status == PASSED and " skipped" not in ran.output:
            return True
        print(ran.output)
        self.wrong.append(f"as things are, not every test ran and passed ({ran.status})")
        return False

    def without(self, guard: Guard, ran: Ran) -> None:
        """Without its guard, a test must fail: not be refused, nor skipped."""
        self._done += 1
        seen = ran.status == FAILED
        verdict = "seen" if seen else f"NOT SEEN ({ran.status})"
        told = f"{guard.row} {guard.file}: {verdict} by {guard.caught_by}"
        print(f"{self._done:3}/{self._expected} {ran.seconds:5.1f} s  {told}", flush=True)
        if not seen:
            self.wrong.append(told)
            print(ran.output[-3000:], flush=True)


def main() -> int:
    """Run what the arguments ask for; 0 when every guard is seen."""
    arguments = _arguments()
    guards = list(_guards(arguments.row, arguments.source))
    if not guards:
        print("no such guard")
        return 1
    began = time.monotonic()
    report = Report(len(guards))
    with tempfile.TemporaryDirectory(prefix="mailerd-guards-") as folder:
        copies = [Copy(Path(folder) / str(number)) for number in range(arguments.jobs)]
        for copy in copies:
            if not copy.belongs_here():
                print(f"the tests would not test their copy, but {copy.imported()}")
                return 1
        if _as_things_are(copies, guards, report):
            _without(copies, guards, report)
    print(
        f"{len(guards)} guards, {len({guard.row for guard in guards})} rows, {time.monotonic() - began:.0f} s"
    )
    for line in report.wrong:
        print(f"WRONG: {line}")
    return 1 if report.wrong else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.strip().partition("\n")[0])
    parser.add_argument("--row", nargs="+", help="only these rows, such as queues-14")
    parser.add_argument(
        "--source", nargs="+", choices=NUMBERS, default=list(NUMBERS), help="only these rows' files"
    )
    parser.add_argument("--jobs", type=int, default=2, help="how many tests run at a time")
    return parser.parse_args()


def _guards(names: Sequence[str] | None, sources: Iterable[str]) -> Iterable[Guard]:
    for source in sources:
        for row in rows(source):
            if names is None or row.name in names:
                yield from row.guards


def _as_things_are(copies: Sequence[Copy], guards: Sequence[Guard], report: Report) -> bool:
    tests = sorted({guard.caught_by for guard in guards})
    shares = [tests[number :: len(copies)] for number in range(len(copies))]
    work = [(copy, share) for copy, share in zip(copies, shares, strict=True) if share]
    with ThreadPoolExecutor(len(copies)) as threads:
        began = time.monotonic()
        ran = list(threads.map(lambda each: each[0].run(each[1], LIMIT_ALL), work))
    print(f"{len(tests)} tests as things are: {time.monotonic() - began:.0f} s", flush=True)
    told = [report.passes_with_guards(each) for each in ran]
    return all(told)


def _without(copies: Sequence[Copy], guards: Sequence[Guard], report: Report) -> None:
    free: queue.SimpleQueue[Copy] = queue.SimpleQueue()
    for copy in copies:
        free.put(copy)

    def work(guard: Guard) -> None:
        copy = free.get()
        ran = copy.without(guard)
        free.put(copy)
        report.without(guard, ran)

    with ThreadPoolExecutor(len(copies)) as threads:
        list(threads.map(work, guards))


if __name__ == "__main__":
    sys.exit(main())
