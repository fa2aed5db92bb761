"""The rules of this house that no linter checks."""

from __future__ import annotations

import ast
import fnmatch
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
CODE = sorted(ROOT.glob("mailerd/**/*.py"))
TESTS = sorted(ROOT.glob("tests/**/*.py"))

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(path: Path) -> Iterator[Function]:
    """Every function and method in a module."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, Function):
            yield node


def length(node: Function) -> int:
    """The lines from ``def`` to the end, docstring included, decorators not."""
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


def place(path: Path, line: int) -> str:
    """A position as editors understand it."""
    return f"{path.relative_to(ROOT)}:{line}"


def test_no_function_has_more_than_40_lines() -> None:
    """A function that does not fit on a screen has parts that want a name."""
    long = [
        f"{place(path, node.lineno)} {node.name}: {length(node)}"
        for path in CODE + TESTS
        for node in functions(path)
        if length(node) > 40
    ]

    assert long == []


def test_no_module_has_more_than_300_lines() -> None:
    """A module that is longer does more than its first paragraph says."""
    lengths = {path: len(path.read_text().splitlines()) for path in CODE}

    assert {str(path): lines for path, lines in lengths.items() if lines > 300} == {}


def test_no_test_sleeps() -> None:
    """A test waits for a condition with a deadline (rigs.waiting), never for a time to pass."""
    sleeps = [
        place(path, node.lineno)
        for path in TESTS
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and _name(node.func) == "sleep"
    ]

    assert sleeps == []


def test_every_test_says_in_a_sentence_what_must_hold() -> None:
    """The sentence is what one reads when the test fails in five years."""
    silent = [
        f"{place(path, node.lineno)} {node.name}"
        for path in TESTS
        for node in functions(path)
        if node.name.startswith("test_") and not (ast.get_docstring(node) or "").strip().endswith((".", "?"))
    ]

    assert silent == []


def test_the_top_level_is_exactly_the_six_entries() -> None:
    """Whoever looks at the repository sees six things; tool settings are in pyproject.toml or dot-files."""
    ignored = [line.strip("/") for line in (ROOT / ".gitignore").read_text().split()]
    visible = {
        path.name
        for path in ROOT.iterdir()
        if not path.name.startswith(".") and not any(fnmatch.fnmatch(path.name, name) for name in ignored)
    }

    assert visible == {"pyproject.toml", "README.md", "mailerd", "systemd", "tests", "config.example.toml"}


def test_only_the_clock_tells_the_time() -> None:
    """Time is an argument: within mailerd only the clock imports ``time``."""
    importers = {
        str(path.relative_to(ROOT))
        for path in CODE
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Import) and any(alias.name == "time" for alias in node.names))
        or (isinstance(node, ast.ImportFrom) and node.module == "time")
    }

    assert importers == {"mailerd/clock.py"}


def _name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""
