"""
Values of headers as bytes, so that no text adds a header of its own.

Pure. Used by ``composer.py``, ``addresses.py`` and ``settings.py``.
"""

from __future__ import annotations

import base64
import textwrap

SOFT_LINE = 76  # RFC 2045 and 2047: no encoded line is longer
HARD_LINE = 998  # RFC 5322
_WORD_BYTES = 39  # as an encoded word that, with the longest name before it, stays within the soft line


def header(text: str) -> bytes:
    """
    ``text`` as the value of an unstructured header, folded.

    What is not plain ASCII, or would not survive the folding, goes as encoded words (RFC 2047).
    """
    if not is_plain(text) or "  " in text or text != text.strip():
        return encoded_words(text)
    if len(text) <= SOFT_LINE - 16:
        return text.encode()
    lines = textwrap.wrap(text, SOFT_LINE - 16, break_long_words=False, break_on_hyphens=False)
    if max(map(len, lines)) > HARD_LINE - 80:
        return encoded_words(text)
    return "\r\n ".join(lines).encode()


def line(name: str, text: str) -> bytes:
    """
    A whole header of one line, without its end; only encoded words are folded.

    Folding a List-Unsubscribe broke other people's DKIM. Plain text must fit a line: see ``fits``.
    """
    value = text.strip()
    return f"{name}: ".encode() + (value.encode() if is_plain(value) else encoded_words(value))


def fits(name: str, text: str) -> bool:
    """Whether ``line`` makes lines of them that every server takes."""
    return len(name) + len(text) + 2 <= HARD_LINE


def is_plain(text: str) -> bool:
    """Whether it can stand in a header as it is."""
    return text.isascii() and text.isprintable() and "=?" not in text


def encoded_words(text: str) -> bytes:
    """``text`` as encoded words in base64, one a line."""
    raw = text.encode("utf-8", "replace")
    words = []
    start = 0
    while start < len(raw):
        end = min(start + _WORD_BYTES, len(raw))
        while end < len(raw) and raw[end] & 0xC0 == 0x80:  # noqa: PLR2004 - the second half of a character
            end -= 1
        words.append(b"=?utf-8?b?" + base64.b64encode(raw[start:end]) + b"?=")
        start = end
    return b"\r\n ".join(words)
