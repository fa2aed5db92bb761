"""
What RFC 5322 and RFC 2045 demand of a mail, looked at byte by byte.

Shares no code with mailerd and trusts no parser: the standard library's forgives too much. ``faults`` names
each thing that a strict server could refuse, or two servers read differently.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections import Counter
from collections.abc import Iterator

Headers = list[tuple[str, str]]

_FIELD = re.compile(r"([!-9;-~]+): ([ -~]*(?:\r\n [ -~]*)*)")
_QUOTED = re.compile(rb"(?:[!-<>-~ \t]|=[0-9A-F]{2})*=?")
_MANY = {"received", "dkim-signature"}
_LEAST = {"from", "to", "subject", "date", "message-id", "mime-version", "content-type"}


def faults(content: bytes) -> list[str]:
    """Everything that is wrong with this mail."""
    head, separator, body = content.partition(b"\r\n\r\n")
    found = [*_of_lines(content)]
    if not separator:
        return [*found, "no empty line after the headers"]
    headers = fields(head)
    found += _of_headers(head, headers)
    names = {name.lower() for name, _ in headers}
    found += [f"no {name}" for name in sorted(_LEAST - names)]
    return found + list(_of_entity({name.lower(): value for name, value in headers}, body))


def fields(head: bytes) -> Headers:
    """The headers as they stand, names and unfolded values; what is no header is left out."""
    lines = re.sub(r"\r\n(?=[ \t])", "\0", head.decode("latin-1")).split("\r\n")
    parts = (line.replace("\0", "").partition(":") for line in lines)
    return [(name, value.strip()) for name, colon, value in parts if colon]


def _of_lines(content: bytes) -> Iterator[str]:
    if not content.endswith(b"\r\n"):
        yield "does not end with CRLF"
    rest = content.replace(b"\r\n", b"")
    if b"\r" in rest or b"\n" in rest:
        yield "a CR or LF by itself"
    if b"\0" in content or not content.isascii():
        yield "NUL or a byte beyond ASCII"
    if max(map(len, content.split(b"\r\n"))) > 998:
        yield "a line over 998"


def _of_headers(head: bytes, headers: Headers) -> Iterator[str]:
    for field in re.split(r"\r\n(?![ \t])", head.decode("latin-1")):
        found = _FIELD.fullmatch(field)
        if not found:
            yield f"no header: {field[:60]!r}"
        elif not all(line.strip() for line in found[2].split("\r\n")):
            yield f"an empty line within {found[1]}"
    counted = Counter(name.lower() for name, _ in headers)
    yield from (f"{name} {count} times" for name, count in counted.items() if count > 1 and name not in _MANY)


def _of_entity(headers: dict[str, str], body: bytes) -> Iterator[str]:
    kind = headers.get("content-type", "")
    if kind.startswith("multipart/"):
        yield from _of_parts(kind, headers, body)
        return
    encoding = headers.get("content-transfer-encoding", "")
    match encoding:
        case "7bit":
            if 'charset="us-ascii"' not in kind:
                yield f"7bit as {kind}"
        case "quoted-printable":
            yield from _of_quoted_printable(body)
        case "base64":
            yield from _of_base64(body)
        case _:
            yield f"the encoding {encoding!r}"


def _of_parts(kind: str, headers: dict[str, str], body: bytes) -> Iterator[str]:
    found = re.fullmatch(r'multipart/[a-z]+; boundary="([^"]{1,70})"', kind)
    if not found or "content-transfer-encoding" in headers:
        yield f"a multipart of the form {kind!r}"
        return
    border = b"--" + found[1].encode()
    first, *parts, last = re.split(rb"(?:\A|\r\n)" + re.escape(border) + rb"(?=\r\n|--\r\n)", body)
    if first or last != b"--\r\n" or not parts:
        yield "its parts do not begin and end where they should"
    for part in parts:
        head, _, inner = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        inside = fields(head)
        yield from _of_headers(head, inside)
        yield from _of_entity({name.lower(): value for name, value in inside}, inner)


def _of_quoted_printable(body: bytes) -> Iterator[str]:
    for line in body.split(b"\r\n"):
        if len(line) > 76:
            yield "a quoted-printable line over 76"
        if line.endswith((b" ", b"\t")) or not _QUOTED.fullmatch(line):
            yield f"not quoted-printable: {line!r}"


def _of_base64(body: bytes) -> Iterator[str]:
    if max(map(len, body.split(b"\r\n"))) > 76:
        yield "a base64 line over 76"
    try:
        base64.b64decode(body.replace(b"\r\n", b""), validate=True)
    except binascii.Error as error:
        yield f"not base64: {error}"
