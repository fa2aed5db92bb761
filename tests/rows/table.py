"""
The reported failures, row by row, and what answers each here: tests with its mark, or why it cannot happen.

    python tests/rows/table.py > tests/rows/TABLE.md

The rows stand in ``queues.toml``, ``mail.toml`` and ``supervisor.toml``; the marks are read from the source
of the tests, so that a parametrized one counts once. A unit test holds it together; ``guards.py`` uses it.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
# mail: the rows about providers' events have their tests where those are built.
NUMBERS = {
    "queues": tuple(range(1, 45)),
    "mail": (*range(1, 11), *range(16, 33), 34, 35),
    "supervisor": tuple(range(1, 41)),
}
SUBJECTS = {
    "queues": "Job queues",
    "mail": "Mail senders",
    "supervisor": "Supervisors and services",
}
# Share of the rows that may be answered by a reason instead of a test.
MOST_REASONS = 0.15
_KEYS = {"failure", "cannot_happen", "guard"}


@dataclass(frozen=True)
class Guard:
    """An edit of the product that takes out what guards a row, and the test that must fail then."""

    row: str
    file: str
    find: str
    replace: str
    caught_by: str

    @property
    def test(self) -> str:
        """The test without its parameters."""
        return self.caught_by.partition("[")[0]


@dataclass(frozen=True)
class Row:
    """One reported failure; ``tests`` bear its mark, ``cannot_happen`` is the reason where there is none."""

    name: str
    failure: str
    cannot_happen: str
    tests: tuple[str, ...]
    guards: tuple[Guard, ...]


def rows(source: str) -> list[Row]:
    """The rows of one source, in their order. Raises where the file does not have the form."""
    tables = tomllib.loads((ROOT / f"tests/rows/{source}.toml").read_text())
    marked = marks()
    return [_row(f"{source}-{number}", tables[number], marked) for number in sorted(tables, key=int)]


def _row(name: str, table: dict[str, object], marked: dict[str, list[str]]) -> Row:
    if foreign := set(table) - _KEYS:
        raise ValueError(f"{name}: unknown keys {sorted(foreign)}")
    guards = table.get("guard", [])
    return Row(
        name=name,
        failure=str(table["failure"]),
        cannot_happen=str(table.get("cannot_happen", "")),
        tests=tuple(sorted(marked.get(name, []))),
        guards=tuple(Guard(row=name, **guard) for guard in guards),  # type: ignore[attr-defined]
    )


@cache
def marks() -> dict[str, list[str]]:
    """For each row the tests that are marked with it: ``tests/unit/test_x.py::test_y``."""
    found: dict[str, list[str]] = {}
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        text = file.read_text()
        if "covers(" not in text:
            continue
        for function in ast.walk(ast.parse(text)):
            if isinstance(function, ast.FunctionDef):
                for row in _covered(function):
                    found.setdefault(row, []).append(f"{file.relative_to(ROOT)}::{function.name}")
    return found


def _covered(function: ast.FunctionDef) -> Iterator[str]:
    for mark in function.decorator_list:
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.covers":
            yield from (ast.literal_eval(argument) for argument in mark.args)


def missing(source: str, all_rows: list[Row]) -> list[str]:
    """Rows that are not there, that nothing answers, or that have both a test and a reason."""
    names = {row.name for row in all_rows}
    expected = {f"{source}-{number}" for number in NUMBERS[source]}
    wrong = [f"{name}: no such row is wanted" for name in sorted(names - expected)]
    wrong += [f"{name}: the row is missing" for name in sorted(expected - names)]
    for row in all_rows:
        if not row.tests and not row.cannot_happen:
            wrong.append(f"{row.name}: neither a test nor a reason")
        if row.tests and row.cannot_happen:
            wrong.append(f"{row.name}: a reason beside {', '.join(row.tests)}")
    return wrong


def loose_guards(all_rows: list[Row]) -> list[str]:
    """Guards whose edit does not fit the product, or whose test does not bear the row's mark."""
    wrong = []
    for row in all_rows:
        for guard in row.guards:
            times = (ROOT / guard.file).read_text().count(guard.find)
            if times != 1:
                wrong.append(f"{row.name}: {guard.file} has {times} times {guard.find!r}")
            if guard.test not in row.tests:
                wrong.append(f"{row.name}: {guard.test} does not bear the mark")
    return wrong


def markdown() -> str:
    """The table of all rows."""
    lines = [
        "# Failures that others reported, and the tests that would have caught them here",
        "",
        "Made by `tests/rows/table.py` from the TOML files beside it and the tests' marks.",
        "✂: `tests/rows/guards.py` takes the guard out of a copy of the product and sees the test fail.",
    ]
    for source, subject in SUBJECTS.items():
        lines += [
            "",
            f"## {subject}",
            "",
            "| row | what went wrong elsewhere | caught here by |",
            "|---|---|---|",
        ]
        lines += [f"| {row.name} | {row.failure} | {_answer(row)} |" for row in rows(source)]
    return "\n".join(lines) + "\n"


def _answer(row: Row) -> str:
    if row.cannot_happen:
        return f"cannot happen: {row.cannot_happen}"
    proven = {guard.test for guard in row.guards}
    return "<br>".join(f"`{test.removeprefix('tests/')}`{' ✂' * (test in proven)}" for test in row.tests)


if __name__ == "__main__":
    print(markdown(), end="")
