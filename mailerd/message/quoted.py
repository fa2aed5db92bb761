"""
Quoted-printable (RFC 2045), for texts of which most is the same from mail to mail.

Pure but for what it remembers of texts it has encoded. Lines end with CRLF and are at most 76 bytes long.
Called by ``body.py``.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Iterable

from mailerd.message.headers import SOFT_LINE

_MOST_KEPT = 512
_LONGEST_LINE, _LONGEST_PIECE = 1_000, 16_000  # 512 of these would be 20 MB
# SMTP doubles a dot at the beginning of a line, and one such line (CSS has them) has the whole mail copied.
_DOTS = re.compile(rb"^\.", re.MULTILINE)
# b2a_qp counts a space at the end of a line as one byte and then writes three.
_TOO_LONG = re.compile(rb"^(.{74,75})(=(?:20|09))$", re.MULTILINE)


class _Remembered(dict[str, bytes]):
    """Texts, none over ``longest``, and what ``encode`` makes of them; forgets all once there are many."""

    def __init__(self, encode: Callable[[str], bytes], longest: int) -> None:
        super().__init__()
        self._encode, self._longest = encode, longest

    def __missing__(self, text: str) -> bytes:
        encoded = self._encode(text)
        if len(text) <= self._longest:
            if len(self) >= _MOST_KEPT:
                self.clear()
            self[text] = encoded
        return encoded


def quoted_lines(text: str) -> bytes:
    """``text``, which ends with a line end, each of its lines remembered."""
    lines = text.split("\n")
    lines.pop()
    return b"".join(map(_lines.__getitem__, lines))


def quoted_pieces(pieces: Iterable[str]) -> bytes:
    """The pieces of a text, each in lines of its own: what does not end with a line end gets a soft one."""
    return b"".join(map(_pieces.__getitem__, pieces))


def _line(line: str) -> bytes:
    short = _short(line)
    return short + b"\r\n" if short else _encoded(line + "\n")


def _piece(piece: str) -> bytes:
    short = _short(piece)
    if short:
        return short + b"=\r\n"
    encoded = _encoded(piece)
    if not piece or piece.endswith("\n"):
        return encoded
    if len(encoded) - encoded.rfind(b"\n") > SOFT_LINE:
        encoded = encoded[:-1] + b"=\r\n" + encoded[-1:]
    return encoded + b"=\r\n"


def _short(text: str) -> bytes:
    """What fits a line, though a soft line end follow; empty where it does not."""
    encoded = binascii.b2a_qp(text.encode("utf-8", "replace"), istext=True)
    fits = len(encoded) < SOFT_LINE and b"\n" not in encoded and encoded[:1] != b"."
    return encoded if fits else b""


def _encoded(text: str) -> bytes:
    encoded = binascii.b2a_qp(text.encode("utf-8", "replace"), istext=True)
    if b"=20\n" in encoded or b"=09\n" in encoded:
        encoded = _TOO_LONG.sub(rb"\1=\n\2", encoded)
    if encoded[:1] == b"." or b"\n." in encoded:
        encoded = _DOTS.sub(b"=2E=\n", encoded)
    return encoded.replace(b"\n", b"\r\n")


_lines, _pieces = _Remembered(_line, _LONGEST_LINE), _Remembered(_piece, _LONGEST_PIECE)
