"""
The man page (roff), made of what ``--help`` and ``mailerd help`` say, so that nothing is written twice.

Pure; ``mailerd help --man`` prints it, and ``mailerd.1`` beside this file, which the wheel installs, is its
output; a test holds the two together.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator

import click

from mailerd.cli.topics import NAMES, Block, Entries, Example, Paragraph, topic

_SPECIAL = {
    "\\": r"\e",
    "-": r"\-",
    "'": r"\(aq",
    '"': r"\(dq",
    "`": r"\(ga",
    "^": r"\(ha",
    "~": r"\(ti",
}
_HEADINGS = {"exit-codes": "EXIT STATUS"}


def manual(root: click.Context) -> str:
    """The page; ``root`` is the context of the group of all commands."""
    pages = [_head(root), *_commands(root), *(_topic(name) for name in NAMES)]
    return "".join(line + "\n" for page in pages for line in page)


def _head(root: click.Context) -> Iterator[str]:
    description = _plain(root.command.help)
    yield '.TH MAILERD 1 "" mailerd'
    yield ".nh"  # a broken name of a setting is a wrong one
    yield ".SH NAME"
    yield r"mailerd \- a supervised daemon that sends e\-mail batches from a Redis queue"
    yield ".SH SYNOPSIS"
    yield from (".B mailerd", r"[\fIOPTIONS\fR] \fICOMMAND\fR [\fIARGUMENTS\fR]")
    yield ".SH DESCRIPTION"
    yield from _filled(description)
    yield from _options(root)
    yield ".SH COMMANDS"


def _commands(parent: click.Context) -> Iterator[Iterator[str]]:
    group = parent.command
    if not isinstance(group, click.Group):
        return
    for name in group.list_commands(parent):
        if command := group.get_command(parent, name):
            ctx = click.Context(command, info_name=name, parent=parent)
            yield _command(ctx)
            yield from _commands(ctx)


def _command(ctx: click.Context) -> Iterator[str]:
    command = ctx.command
    yield f".SS {_escaped(' '.join([ctx.command_path, *command.collect_usage_pieces(ctx)]))}"
    for text in filter(None, (command.help, command.epilog)):
        for paragraph in inspect.cleandoc(text).split("\n\n"):
            yield ".PP"
            yield from _paragraph(paragraph)
    yield from _options(ctx)


def _paragraph(text: str) -> Iterator[str]:
    # click's own mark for lines that stay as they are.
    if text.startswith("\b\n"):
        yield from _block(Example(tuple(text.split("\n")[1:])))
    else:
        yield from _filled(_plain(text))


def _options(ctx: click.Context) -> Iterator[str]:
    # What every command has is said once, at the top.
    everywhere = {"--help", *(("--config",) if ctx.parent else ())}
    for option in ctx.command.get_params(ctx):
        record = option.get_help_record(ctx) if isinstance(option, click.Option) else None
        if record and not everywhere & set(option.opts):
            yield from _entry(*record)


def _topic(name: str) -> Iterator[str]:
    shown = topic(name)
    yield f".SH {_escaped(_HEADINGS.get(name, name.replace('-', ' ').upper()))}"
    yield from _filled(f"{shown.title}.")
    for block in shown.blocks:
        yield ".PP"
        yield from _block(block)


def _block(block: Block) -> Iterator[str]:
    match block:
        case Paragraph(text):
            yield from _filled(text)
        case Entries(items):
            for name, text in items:
                yield from _entry(name, text)
        case Example(lines):
            yield from (".RS 4", ".nf", *map(_line, lines), ".fi", ".RE")


def _entry(name: str, text: str) -> Iterator[str]:
    yield ".TP"
    yield f".B {_escaped(name)}"
    yield from _filled(text)


def _filled(text: str) -> Iterator[str]:
    yield from map(_line, textwrap.wrap(text, 90, break_on_hyphens=False, break_long_words=False))


def _line(text: str) -> str:
    return (r"\&" if text.startswith((".", "'")) else "") + _escaped(text)


def _escaped(text: str) -> str:
    return "".join(
        _SPECIAL.get(letter) or (letter if letter.isascii() else f"\\[u{ord(letter):04X}]") for letter in text
    )


def _plain(text: str | None) -> str:
    return " ".join(inspect.cleandoc(text or "").split())
