"""
``mailerd dead``: the jobs that nobody will work on any more, and what to do about each.

A letter keeps its producer's bytes unchanged; whoever looks at them gets them escaped, or exactly with --raw.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

import click

from mailerd.cli.configuration import config_option, configuration
from mailerd.cli.output import (
    AnswerIsNo,
    complain,
    confirmed,
    counted,
    json_option,
    printable,
    show_facts,
    show_json,
    show_json_list,
    show_table,
    when,
    yes_option,
)
from mailerd.cli.queue import Queue, opened
from mailerd.errors import EXIT_CLEAN, EXIT_NO
from mailerd.queue.model import DeadLetter, rfc_3339

_LISTED = 50
_SHOWN = 10_000  # bytes of a letter that are shown unless it is asked for whole

_letters = click.argument("letter_ids", metavar="[ID]...", nargs=-1)
_all = click.option("--all", "everything", is_flag=True, help="Every letter there is now.")


@click.group()
def dead() -> None:
    """
    Look at dead letters, queue them again, or drop them.

    A job becomes a dead letter when nobody can work on it: it is no job, its template is missing or broken,
    or it killed every worker that took it. Its open recipients are then failed, with the same reason.
    """


@dead.command("list")
@config_option
@click.option(
    "-n", "--limit", type=click.IntRange(1), help=f"At most so many.  [default: {_LISTED}, with --json all]"
)
@json_option
def list_(limit: int | None, *, as_json: bool) -> None:
    """List dead letters, those that died last first."""
    with opened(configuration()) as queue:
        names = queue.dead_letters.ids()
        if as_json:
            show_json_list(map(_as_json, islice(_each(queue, names), limit)))
            return
        most = limit or _LISTED
        if names:
            show_table(["letter", "died", "bytes", "reason"], map(_row, islice(_each(queue, names), most)))
    shown = f"; the newest {most} are shown" if len(names) > most else ""
    click.echo(f"\n{counted(len(names), 'dead letter')}{shown}." if names else "No dead letters.")


@dead.command()
@config_option
@click.argument("letter_id", metavar="ID")
@click.option("--raw", is_flag=True, help="Write the exact bytes and nothing else.")
@json_option
def show(letter_id: str, *, raw: bool, as_json: bool) -> None:
    """Show why a letter is dead, and its bytes."""
    with opened(configuration()) as queue:
        letter = queue.dead_letters.get(letter_id)
    if letter is None:
        raise AnswerIsNo(f"there is no dead letter {letter_id}; see mailerd dead list")
    if raw:
        click.echo(letter.raw, nl=False)
    elif as_json:
        show_json({**_as_json(letter), **_content(letter.raw)})
    else:
        _show(letter)


@dead.command()
@config_option
@_letters
@_all
@yes_option
@json_option
def retry(letter_ids: Sequence[str], *, everything: bool, yes: bool, as_json: bool) -> int:
    """
    Put letters back on the queue, once what was wrong is mended.

    Opens exactly the recipients that failed with the letter; nobody who got a mail gets another.
    """
    with opened(configuration()) as queue:
        names = _chosen(queue, letter_ids, everything)
        if everything and not confirmed(
            f"Put {counted(len(names), 'dead letter')} back on the queue?", yes=yes
        ):
            return EXIT_NO
        return _do("retried", queue.dead_letters.retry, names, as_json=as_json)


@dead.command()
@config_option
@_letters
@_all
@yes_option
@json_option
def drop(letter_ids: Sequence[str], *, everything: bool, yes: bool, as_json: bool) -> int:
    """Forget letters for good; their recipients stay as they are."""
    with opened(configuration()) as queue:
        names = _chosen(queue, letter_ids, everything)
        if everything and not confirmed(f"Forget {counted(len(names), 'dead letter')} for good?", yes=yes):
            return EXIT_NO
        return _do("dropped", queue.dead_letters.drop, names, as_json=as_json)


def _each(queue: Queue, names: Sequence[str]) -> Iterator[DeadLetter]:
    # One at a time: a letter may be tens of megabytes.
    for name in names:
        letter = queue.dead_letters.get(name)
        if letter is not None:
            yield letter


def _chosen(queue: Queue, letter_ids: Sequence[str], everything: bool) -> Sequence[str]:
    if everything == bool(letter_ids):
        raise click.UsageError("Name the letters by their ids, or give --all.")
    if not everything:
        return list(dict.fromkeys(letter_ids))
    names = queue.dead_letters.ids()
    if not names:
        raise AnswerIsNo("there are no dead letters")
    return names


def _do(done: str, action: Callable[[str], bool], names: Sequence[str], *, as_json: bool) -> int:
    results = {}
    for name in names:
        results[name] = action(name)
        if not results[name]:
            complain(f"there is no dead letter {name}")
        elif not as_json:
            click.echo(f"{done} {name}")
    if as_json:
        found = [name for name, result in results.items() if result]
        show_json({done: found, "missing": [name for name in names if name not in found]})
    return EXIT_CLEAN if all(results.values()) else EXIT_NO


def _row(letter: DeadLetter) -> tuple[str, ...]:
    return letter.letter_id, when(letter.died_at), f"{len(letter.raw):,}", letter.reason


def _as_json(letter: DeadLetter) -> dict[str, Any]:
    return {
        "letter_id": letter.letter_id,
        "reason": letter.reason,
        "died_at": rfc_3339(letter.died_at),
        "size": len(letter.raw),
    }


def _content(raw: bytes) -> dict[str, str | None]:
    """The bytes for JSON: as text where they are UTF-8, and always in base64."""
    text = None
    with suppress(UnicodeDecodeError):
        text = raw.decode()
    return {"raw": text, "raw_base64": base64.b64encode(raw).decode()}


def _show(letter: DeadLetter) -> None:
    show_facts(
        [
            ("letter", letter.letter_id),
            ("died", when(letter.died_at)),
            ("reason", letter.reason),
            ("bytes", f"{len(letter.raw):,}"),
        ]
    )
    click.echo()
    click.echo(escaped(letter.raw[:_SHOWN]))
    if len(letter.raw) > _SHOWN:
        click.echo(
            f"… and {len(letter.raw) - _SHOWN:,} bytes more: mailerd dead show --raw {letter.letter_id}"
        )


def escaped(raw: bytes) -> str:
    """Bytes as a terminal may show them; only line ends do anything there."""
    lines = raw.decode(errors="backslashreplace").split("\n")
    return "\n".join(map(printable, lines))
