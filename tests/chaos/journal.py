"""
Whom the ledger took for unknown, from Redis' own append-only file: every change of every row stands in it.

The product is not asked: with mail.unknown = "resend" a row is unknown for an instant or in its reason only.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

RESENT = b"why:sent again, as mail.unknown says"
_BATCH, _ROWS = b"{email_queue}:batch:", b"{email_queue}:rows:"


@dataclass
class Marks:
    """
    How often, by contact.

    ``lost``: its answer was taken for lost. ``again``: it was due again for that, or as a dead one's.
    ``ended``: who is unknown in the end since a later try, or a cancel, came to no.
    """

    lost: Counter[str] = field(default_factory=Counter)
    again: Counter[str] = field(default_factory=Counter)
    ended: set[str] = field(default_factory=set)


def marks(commands: Iterable[list[bytes]]) -> Marks:
    """What these commands, in order, made of the rows."""
    found, before = Marks(), {}
    resent: dict[bytes, set[bytes]] = defaultdict(set)
    for command in commands:
        for tag, name, value in _fields(command):
            if name.startswith(RESENT):
                resent[tag].add(value)
            if not value[:1].isalpha():
                continue
            old, before[name] = before.get(name, b""), value
            what = _becomes(old, value, resent[tag])
            found.lost[name.decode()] += what == "lost"
            found.again[name.decode()] += bool(what)
            (found.ended.add if _is_ended(value) else found.ended.discard)(name.decode())
    return found


def _becomes(old: bytes, new: bytes, resent: set[bytes]) -> str:
    number = new.split(b",")[1] if b"," in new else b""
    # Of whom has been in doubt before a ring may tell the same once more, or that another answer was lost.
    if new[:1] == b"u" and old[:1] == b"c" and b"?" in old and not _is_ended(new):
        return "again"
    # Of whom is due again for a lost answer a ring may tell the same once more: that is no other answer.
    known = old[:1] == b"u" or (old[:1] == b"d" and old.split(b",")[1] in resent) or _is_ended(new)
    if (new[:1] == b"u" and not known) or (new[:1] == b"d" and number in resent):
        return "lost"
    # Who claims what a dead incarnation had claimed does not know whether it was handed over.
    return "again" if new[:1] == old[:1] == b"c" and number != old.split(b",")[1] else ""


def _is_ended(row: bytes) -> bool:
    """Unknown for what was before its last try: the answer to that was no."""
    return row[:1] == b"u" and b"?" in row


def _fields(command: list[bytes]) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Each field that is set: the batch, a contact or the name of another field, its value."""
    if command[0].upper() not in (b"HSET", b"HMSET", b"HSETNX"):
        return
    key, pairs = command[1], zip(command[2::2], command[3::2], strict=True)
    if key.startswith(_ROWS):
        tag = key[len(_ROWS) :].rpartition(b":")[0]
        yield from ((tag, name, value) for name, value in pairs)
    elif key.startswith(_BATCH):
        for name, value in pairs:
            if name.startswith((b":", b"why:")):
                yield key[len(_BATCH) :], name.removeprefix(b":"), value


def commands(folder: Path) -> Iterator[list[bytes]]:
    """The commands in the append-only file below a server's folder, of Redis 6 or later."""
    files = sorted(folder.glob("appendonlydir/*.incr.aof"), key=lambda file: int(file.name.split(".")[-3]))
    for file in files or folder.glob("appendonly.aof"):
        with file.open("rb") as stream:
            while line := stream.readline():
                yield [stream.read(int(stream.readline()[1:]) + 2)[:-2] for _ in range(int(line[1:]))]
