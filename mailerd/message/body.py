"""
The body of a mail: its text, or its text and its HTML, each in the encoding that suits it.

Pure; all it writes is ASCII in CRLF lines of at most 998 bytes, whatever the text. What is plain ASCII goes
as it is, mostly ASCII as quoted-printable, anything else as base64. Never as 8bit: a server that finds no
8BITMIME behind it must translate it, which breaks signatures. Called by ``composer.py``.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Sequence

from mailerd.message.headers import HARD_LINE
from mailerd.message.quoted import quoted_lines, quoted_pieces
from mailerd.message.rendered import Rendered

# Neither quoted-printable nor base64 can produce "=_" (RFC 2045), and text that has it goes as one of these.
_BOUNDARY = b"=_mailerd"
_OPENING = b'Content-Type: multipart/alternative; boundary="%b"\r\n' % _BOUNDARY
_BEFORE = b"--" + _BOUNDARY + b"\r\n"
_BETWEEN = b"\r\n" + _BEFORE
_AFTER = b"\r\n--" + _BOUNDARY + b"--\r\n"

_NEWLINE = re.compile(r"\r\n?")
_PLAIN = bytes([*b"\t\n", *range(32, 127)])


def body(rendered: Rendered) -> tuple[bytes, bytes]:
    """The headers that describe the body, each with its line end, and the body."""
    head, text = _part(b"plain", rendered.text, ())
    if rendered.html is None:
        return head, text
    other, html = _part(b"html", rendered.html, rendered.pieces)
    parts = (_BEFORE, head, b"\r\n", text, _BETWEEN, other, b"\r\n", html, _AFTER)
    return _OPENING, b"".join(parts)


def _part(kind: bytes, text: str, pieces: Sequence[str]) -> tuple[bytes, bytes]:
    """Headers and content; ``pieces``, where there are some, are ``text``."""
    if "\r" in text:
        text, pieces = _NEWLINE.sub("\n", text), ()
    if not text.endswith("\n"):
        text, pieces = text + "\n", (*pieces, "\n") if pieces else ()
    raw = text.encode("utf-8", "replace")
    if _is_plain(raw):
        charset, encoding, encoded = b"us-ascii", b"7bit", raw.replace(b"\n", b"\r\n")
    elif (len(raw) - len(text)) * 10 > len(raw):
        # Mostly beyond ASCII: base64 is the shorter one.
        charset, encoding, encoded = b"utf-8", b"base64", _base64(raw.replace(b"\n", b"\r\n"))
    else:
        charset, encoding = b"utf-8", b"quoted-printable"
        encoded = quoted_pieces(pieces) if pieces else quoted_lines(text)
    head = b'Content-Type: text/%b; charset="%b"\r\nContent-Transfer-Encoding: %b\r\n'
    return head % (kind, charset, encoding), encoded


def _is_plain(raw: bytes) -> bool:
    if not raw.isascii() or raw.translate(None, _PLAIN) or _BOUNDARY in raw:
        return False
    return len(max(raw.split(b"\n"), key=len)) <= HARD_LINE


def _base64(raw: bytes) -> bytes:
    encoded = binascii.b2a_base64(raw, newline=False)
    return b"".join([encoded[start : start + 76] + b"\r\n" for start in range(0, len(encoded), 76)])
