"""
The texts of ``mailerd help`` and of the man page: which there are, and what they are made of.

They lie in ``texts/``, one file a topic: its title in the first line, then paragraphs, lists (two spaces,
a name, what is to be said of it) and examples (four spaces). Pure but for reading them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files

# In the order in which somebody new wants them.
NAMES = ("configuration", "drain", "unknown", "signals", "exit-codes", "redis", "redis-keys")
_ENTRY = re.compile(r" {2}(\S.*?) {2,}(\S.*)")


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Running text."""

    text: str


@dataclass(frozen=True, slots=True)
class Entries:
    """Names, each with what is to be said of it."""

    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Example:
    """Lines that stand as they are."""

    lines: tuple[str, ...]


Block = Paragraph | Entries | Example


@dataclass(frozen=True, slots=True)
class Topic:
    """One text."""

    name: str
    title: str
    blocks: tuple[Block, ...]


def topic(name: str) -> Topic:
    """The text of that name, one of ``NAMES``."""
    text = files("mailerd.cli").joinpath("texts", f"{name}.txt").read_text("utf-8")
    title, _, body = text.partition("\n")
    return Topic(name, title, tuple(map(_block, body.strip("\n").split("\n\n"))))


def _block(text: str) -> Block:
    lines = text.split("\n")
    if lines[0].startswith("    "):
        return Example(tuple(line[4:] for line in lines))
    if lines[0].startswith("  "):
        return Entries(tuple(_entries(lines)))
    return Paragraph(" ".join(lines))


def _entries(lines: list[str]) -> Iterator[tuple[str, str]]:
    name, words = "", ""
    for line in lines:
        entry = _ENTRY.fullmatch(line)
        if entry is None:
            words += " " + line.strip()
            continue
        if name:
            yield name, words
        name, words = entry[1], entry[2]
    yield name, words
