"""
The text part of a template that has only HTML: derived once, and itself a template.

Kept HTML-to-text libraries (inscriptis, html2text) lay out tables and take Jinja's tags for their content, so
that a loop's end comes out before its body. Here every tag keeps its place by construction. Breaks are
marked, and what is left of them is joined by ``tidy`` in each rendered text, since what stands between two
breaks may render empty.
"""

from __future__ import annotations

import html
import re

from jinja2 import Environment

from mailerd.render.markup import Masked, Piece, masked, pieces

_LINE, _PARAGRAPH = "\x1e", "\x1d"  # ASCII's own separators of records and of groups
_BREAKS = re.compile(rf"\s*[{_LINE}{_PARAGRAPH}]\s*")
_BLANKS = re.compile(" {2,}")
_WHITESPACE = re.compile(r"\s+")
_OPENING = re.compile(r"\{(?=[{%#])")

_PARAGRAPHS = frozenset({"p", "h1", "h2", "h3", "h4", "h5", "h6", "table", "ul", "ol", "blockquote", "pre"})
_LINES = frozenset({"address", "article", "body", "dd", "div", "dl", "dt", "footer", "header", "main", "nav"})
_LINES |= {"section", "tbody", "tfoot", "thead", "tr", "caption", "center", "form", "li"}
_CELLS = frozenset({"td", "th"})


def derive_text(source: str, environment: Environment) -> str:
    """The source of a text template that says what the HTML template ``source`` says."""
    template = masked(source, environment)
    writer = _Writer(template)
    for piece in pieces(template.text):
        writer.take(piece)
    joined = _BREAKS.sub(lambda run: _PARAGRAPH if _PARAGRAPH in run[0] else _LINE, "".join(writer.written))
    return template.unmask(_BLANKS.sub(" ", joined))


def tidy(text: str) -> str:
    """A rendered text with its breaks in place: lines and paragraphs, never more than one empty line."""
    paragraphs = list(filter(None, map(str.strip, text.split(_PARAGRAPH))))
    tidied = "\n\n".join(paragraphs)
    if _LINE in tidied:
        tidied = "\n\n".join(map(_lines, paragraphs))
    while "  " in tidied:
        tidied = tidied.replace("  ", " ")
    return tidied + "\n"


def _lines(paragraph: str) -> str:
    lines = [line.strip() for line in paragraph.split(_LINE)]
    return "\n".join([line for line in lines if line])


class _Writer:
    """Takes the pieces in their order and writes the text."""

    def __init__(self, template: Masked) -> None:
        self.written: list[str] = []
        self._template = template
        self._links: list[str] = []
        self._hidden = False

    def take(self, piece: Piece) -> None:
        """Write what a reader sees of the piece; of what nobody sees, the Jinja blocks."""
        if piece.kind == "text" and not self._hidden:
            self.written.append(self._said(piece.source))
        elif piece.kind == "start":
            self._start(piece)
        elif piece.kind == "end":
            self._end(piece.name)
        else:
            # A {% block title %} of a frame would show what the body puts there: nobody sees titles.
            unseen = self._hidden or piece.kind == "raw"
            self.written.append(self._template.blocks(piece.source, named=not unseen))

    def _start(self, piece: Piece) -> None:
        attributes = {found.name: found.value for found in piece.each_attribute()}
        match piece.name:
            case "head" | "body":
                self._hidden = piece.name == "head"
            case "br":
                self.written.append(_LINE)
            case "hr":
                self.written.append(_PARAGRAPH + "-" * 40 + _PARAGRAPH)
            case "li":
                self.written.append(_LINE + "* ")
            case "img":
                self.written.append(self._said(attributes.get("alt", "")))
            case "a":
                self._links.append(attributes.get("href", ""))
            case _:
                self._break(piece.name)

    def _end(self, name: str) -> None:
        if name == "head":
            self._hidden = False
        elif name == "a":
            link = self._said(self._links.pop()).strip() if self._links else ""
            said = "".join(self.written[-1:]).strip()
            if link and link[0] != "#" and said not in (link, link.removeprefix("mailto:")):
                self.written.append(f" ({link})")
        else:
            self._break(name)

    def _break(self, name: str) -> None:
        if name in _PARAGRAPHS:
            self.written.append(_PARAGRAPH)
        elif name in _LINES:
            self.written.append(_LINE)
        elif name in _CELLS:
            self.written.append(" ")

    def _said(self, source: str) -> str:
        words = _WHITESPACE.sub(" ", html.unescape(source))
        # A brace that the HTML hid from Jinja (&#123;, {% raw %}) must stay hidden from it.
        literal = _OPENING.sub(lambda _: self._template.mask("{{ '{' }}", "variable"), words)
        return self._template.keep(lambda kind: kind in ("variable", "block"), literal)
