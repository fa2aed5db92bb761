"""
What the commands print: text of strangers made safe for a terminal, times, tables that fit, JSON.

Knows no command and no Redis. What goes to standard output is the answer; complaints go to standard error.
"""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain, islice
from typing import Any

import click
from rich.cells import cell_len

from mailerd.errors import EXIT_NO, EXIT_USAGE, MailerdError

_GAP = "  "
_ENDLESS = 1_000_000  # where no terminal tells: a line stays whole for grep
_LOOK_AHEAD = 200  # rows that decide how wide the columns are
_WIDEST = 40  # a longer cell moves what stands right of it, and is never cut
_ROOM = 20  # with less than this for its last column, a row takes two lines

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask.")


class AnswerIsNo(MailerdError):
    """There is nothing to show or to do."""

    exit_code = EXIT_NO


class AskedAmiss(MailerdError):
    """The command cannot tell what is meant."""

    exit_code = EXIT_USAGE


def complain(text: str) -> None:
    """One line on standard error."""
    click.echo(f"mailerd: {printable(text)}", err=True)


def confirmed(question: str, *, yes: bool) -> bool:
    """Whether it is to be done; asks on standard error unless ``yes`` was given."""
    if yes:
        return True
    if sys.stdin is None or not sys.stdin.isatty():
        raise AskedAmiss(f"{question} Nobody is here to answer: give --yes")
    return click.confirm(question, err=True)


def printable(text: str) -> str:
    """``text`` with an escape sequence in place of each character that could steer a terminal."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text
    )


def when(seconds: float) -> str:
    """A time (seconds since 1970) as people read it, in the zone of their host."""
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def span(seconds: float) -> str:
    """A length of time, roughly: ``12 s``, ``3 min``, ``2 h 5 min``, ``4 days 6 h``."""
    whole = round(seconds)
    if whole < 120:  # noqa: PLR2004 - two minutes
        return f"{whole} s"
    hours, minutes = divmod(whole // 60, 60)
    if hours >= 72:  # noqa: PLR2004 - three days
        return f"{hours // 24:,} days {hours % 24} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def counted(number: int, noun: str) -> str:
    """``1 job``, ``2,000 jobs``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def show_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Print names and values below each other."""
    for name, value in facts:
        click.echo(f"{name:<12}{printable(value)}".rstrip())


def show_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """
    Print rows as they come, at most as wide as the terminal: the last column wraps, the others stay whole.

    In a pipe or a file each row is one line. The rows are not kept, so there may be millions of them.
    """
    width = shutil.get_terminal_size((_ENDLESS, 24)).columns
    for line in table(head, rows, width):
        click.echo(line)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], width: int) -> Iterator[str]:
    """The lines of ``show_table``."""
    coming = (tuple(printable(cell) for cell in row) for row in rows)
    first = [tuple(head), *islice(coming, _LOOK_AHEAD)]
    widths = [min(_WIDEST, max(map(cell_len, column))) for column in zip(*first, strict=True)][:-1]
    for row in chain(first, coming):
        yield from _row(row, widths, width)


def _row(row: Sequence[str], widths: Sequence[int], width: int) -> Iterator[str]:
    *cells, last = row
    left = _GAP.join(cell + " " * (wide - cell_len(cell)) for cell, wide in zip(cells, widths, strict=True))
    indent = cell_len(left) + len(_GAP) if cells else 0
    if cell_len(last) <= width - indent:
        yield (left + _GAP + last if cells else last).rstrip()
        return
    if width - indent < _ROOM:
        yield left.rstrip()
        left, indent = " " * len(_GAP), 2 * len(_GAP)
    first, *more = textwrap.wrap(last, width - indent, break_long_words=False, break_on_hyphens=False)
    yield left + _GAP + first
    yield from (" " * indent + line for line in more)


def show_json(value: Any) -> None:
    """Print one JSON value on one line, in UTF-8 whatever the terminal speaks."""
    click.echo(json.dumps(value, ensure_ascii=False).encode())


def show_json_list(items: Iterable[Any], beside: Mapping[str, Any] | None = None, name: str = "") -> None:
    """Print a JSON list whose items are written as they come; with ``beside`` as ``name`` in that object."""
    opening, closing = "[", "]"
    if beside is not None:
        opening = json.dumps({**beside, name: []}, ensure_ascii=False).removesuffix("]}")
        closing = "]}"
    before = opening  # written with the first item: where there is none to be had, nothing was begun
    for item in items:
        click.echo(f"{before}\n{json.dumps(item, ensure_ascii=False)}".encode(), nl=False)
        before = ","
    click.echo(((opening if before == opening else "") + closing).encode())
