"""
``mailerd help``: short texts about what is not one command's matter, and the man page.

Prints; opens nothing.
"""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator

import click

from mailerd.cli.topics import NAMES, Block, Entries, Example, Topic, topic

_WIDEST = 100


def _matching(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in NAMES if name.startswith(incomplete)]


@click.command("help")
@click.argument("words", metavar="[TOPIC]", nargs=-1, shell_complete=_matching)
@click.option("--man", is_flag=True, help="Print the man page: mailerd help --man | man -l -")
@click.pass_context
def help_(ctx: click.Context, words: tuple[str, ...], *, man: bool) -> None:
    """
    Explain a topic, or a command.

    Without a topic, list them.
    """
    root = ctx.find_root()
    if man:
        from mailerd.cli.manual import manual

        click.echo(manual(root), nl=False)
    elif not words:
        click.echo(_overview(), nl=False)
    elif len(words) == 1 and words[0] in NAMES:
        click.echo("\n".join(lines(topic(words[0]), _width())))
    else:
        click.echo(_help_of(root, words))


def lines(shown: Topic, width: int) -> Iterator[str]:
    """A topic as a terminal of that width shows it."""
    yield shown.title
    for block in shown.blocks:
        yield ""
        yield from _lines(block, width)


def _lines(block: Block, width: int) -> Iterator[str]:
    match block:
        case Example(verbatim):
            yield from ("    " + line for line in verbatim)
        case Entries(items):
            wide = max(len(name) for name, _ in items) + 4
            for name, text in items:
                yield from textwrap.wrap(
                    text,
                    width,
                    initial_indent=f"  {name}".ljust(wide),
                    subsequent_indent=" " * wide,
                    break_on_hyphens=False,
                    break_long_words=False,
                )
        case paragraph:
            yield from textwrap.wrap(paragraph.text, width, break_on_hyphens=False, break_long_words=False)


def _width() -> int:
    return min(_WIDEST, shutil.get_terminal_size((80, 24)).columns)


def _overview() -> str:
    rows = [(name, topic(name).title) for name in NAMES]
    wide = max(len(name) for name, _ in rows) + 2
    listed = "".join(f"  {name:<{wide}}{title}\n" for name, title in rows)
    return f"Topics:\n{listed}\nmailerd help TOPIC explains one, mailerd --help lists the commands.\n"


def _help_of(root: click.Context, words: tuple[str, ...]) -> str:
    ctx = root
    for word in words:
        command = ctx.command.get_command(ctx, word) if isinstance(ctx.command, click.Group) else None
        if command is None:
            known = ", ".join(NAMES)
            raise click.UsageError(
                f"{' '.join(words)} is neither a topic nor a command; the topics are {known}."
            )
        ctx = click.Context(command, info_name=word, parent=ctx)
    return ctx.get_help()
