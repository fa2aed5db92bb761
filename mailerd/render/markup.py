"""
HTML with Jinja tags in it, taken apart so that each of the two can be worked on.

An HTML parser takes Jinja's tags for text: it moves a ``{% for %}`` out of its table and escapes the ``<`` of
an ``{% if a < b %}``. So every tag is masked by a word first, and the HTML is only taken apart, never
written anew. Pure. Used by ``css.py`` and ``plaintext.py``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from jinja2 import Environment

_ATTRIBUTE = re.compile(r"""([^\s=/"'>]+)(?:\s*=\s*("[^"]*"|'[^']*'|[^\s"'>]+))?""")
_ELEMENT = r"""(?:"[^"]*"|'[^']*'|[^"'>])*"""
_PIECE = re.compile(
    r"(?P<comment><!--.*?-->)"
    rf"|<(?P<raw>style|script|title|textarea)\b(?P<raw_attributes>{_ELEMENT})>(?P<content>.*?)</(?P=raw)\s*>"
    rf"|<(?P<end>/?)(?P<name>[a-z][^\s/>]*)(?P<attributes>{_ELEMENT})>"
    r"|<[!?][^>]*>",
    re.IGNORECASE | re.DOTALL,
)
_NAMED_BLOCK = re.compile(r"\{%[-+]?\s*(end)?block\b")


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of an element: its name in small letters, its value without quotes, where it stands."""

    name: str
    value: str
    span: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Piece:
    """
    One piece of HTML. The sources of all pieces, joined, are the whole.

    ``kind``: text, comment, raw (style, script, title, textarea with their content), start, end, other.
    """

    kind: str
    source: str
    name: str = ""
    attributes: str = ""
    content: str = ""

    def each_attribute(self) -> list[Attribute]:
        """The attributes in their order."""
        return [
            Attribute(found[1].lower(), _unquoted(found[2] or ""), found.span())
            for found in _ATTRIBUTE.finditer(self.attributes)
        ]


@dataclass(slots=True)
class Masked:
    """A template's source with a word in the place of each of its tags."""

    text: str = ""
    _word: str = "jinja"
    _tags: list[str] = field(default_factory=list)
    _kinds: list[str] = field(default_factory=list)

    def pattern(self) -> re.Pattern[str]:
        """Matches one mask."""
        return re.compile(rf"{self._word}(\d+)tag")

    def unmask(self, text: str) -> str:
        """``text`` with every mask replaced by the tag that it stands for."""
        return self.pattern().sub(lambda found: self._tags[int(found[1])], text)

    def kinds(self, text: str) -> set[str]:
        """The kinds of tags in ``text``: variable, block, comment, raw."""
        return {self._kinds[int(number)] for number in self.pattern().findall(text)}

    def blocks(self, text: str, *, named: bool) -> str:
        """The masks of the block tags in ``text``, with or without ``{% block name %}`` and its end."""
        numbers = [int(number) for number in self.pattern().findall(text)]
        return "".join(
            f"{self._word}{number}tag"
            for number in numbers
            if self._kinds[number] == "block" and (named or not _NAMED_BLOCK.match(self._tags[number]))
        )

    def keep(self, wanted: Callable[[str], bool], text: str) -> str:
        """``text`` without the masks of unwanted kinds."""
        return self.pattern().sub(lambda found: found[0] if wanted(self._kinds[int(found[1])]) else "", text)

    def mask(self, tag: str, kind: str) -> str:
        """A new mask for ``tag``."""
        self._tags.append(tag)
        self._kinds.append(kind)
        return f"{self._word}{len(self._tags) - 1}tag"


def masked(source: str, environment: Environment) -> Masked:
    """``source``, which must be free of syntax errors, with its tags masked; Jinja's own lexer finds them."""
    word = "jinja"
    while word in source.lower():
        word += "x"
    result = Masked(_word=word)
    written: list[str] = []
    tag: list[str] = []
    for _, kind, value in environment.lex(source):
        if kind == "data":
            written.append(value)
            continue
        tag.append(value)
        if kind.endswith("_end") or kind == "raw_begin":
            written.append(result.mask("".join(tag), kind.partition("_")[0]))
            tag.clear()
    result.text = "".join(written)
    return result


def pieces(text: str) -> list[Piece]:
    """The pieces of masked HTML."""
    found: list[Piece] = []
    end = 0
    for match in _PIECE.finditer(text):
        if match.start() > end:
            found.append(Piece("text", text[end : match.start()]))
        found.append(_piece(match))
        end = match.end()
    if end < len(text):
        found.append(Piece("text", text[end:]))
    return found


def _piece(match: re.Match[str]) -> Piece:
    if match["raw"]:
        return Piece("raw", match[0], match["raw"].lower(), match["raw_attributes"], match["content"])
    if match["name"]:
        return Piece("end" if match["end"] else "start", match[0], match["name"].lower(), match["attributes"])
    return Piece("comment" if match["comment"] else "other", match[0])


def _unquoted(value: str) -> str:
    return value[1:-1] if value[:1] in ("'", '"') else value
