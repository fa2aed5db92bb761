"""
The ring of a slot: what its workers' last hand-overs came to, the oldest overwritten first.

It stays when a worker dies and when the daemon is started again, so that a Redis that has forgotten some of
it (a failover, a crash) can be told once more. One writer, the slot's worker; others may read meanwhile.

Layout: how many bytes were ever written, and where among them the oldest whole record begins (8 bytes each);
then the room for records, which wraps round. A record is its length (4 bytes) and lines of text: when, by
whom and for which batch, then a letter and a contact for each recipient.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator

from mailerd.board.values import Answered
from mailerd.outcome import Kind

# About 60 bytes a recipient, fewer where they go in groups: the last four thousand or so.
ROOM = 256 * 1024
RING_SIZE = 16 + ROOM

_COUNTER = struct.Struct("@Q")
_LENGTH = struct.Struct("@I")
_LETTERS = {Kind.SENT: "s", Kind.UNKNOWN: "u", Kind.WITHHELD: "r"}
_KINDS = {letter: kind for kind, letter in _LETTERS.items()}
# Of a group: so that no record takes up the ring.
_IN_A_RECORD = 32


class Ring:
    """The ring whose counters lie at ``base`` of the mapped memory, a multiple of 8."""

    def __init__(self, memory: mmap.mmap, base: int) -> None:
        self._memory = memory
        self._base = base

    def add(self, answered: Answered) -> None:
        """Keep what hand-overs came to; to be called before it is booked."""
        head = f"{answered.at:.0f} {answered.incarnation} {answered.client_id} {answered.batch_id}"
        for start in range(0, len(answered.outcomes), _IN_A_RECORD):
            some = answered.outcomes[start : start + _IN_A_RECORD]
            lines = [f"{_LETTERS[kind]}{contact}" for contact, kind in some if kind is not None]
            self._append("\n".join([head, *lines]).encode())

    def read(self) -> list[Answered]:
        """What is kept, the oldest first."""
        return [_parsed(text) for text in self._texts()]

    def take_over(self, other: Ring) -> None:
        """Keep what another ring keeps as well."""
        for text in other._texts():
            self._append(text)

    def _append(self, text: bytes) -> None:
        record = _LENGTH.pack(len(text)) + text
        written, oldest = self._counter(0), self._counter(8)
        while written + len(record) - oldest > ROOM:
            oldest += _LENGTH.size + _LENGTH.unpack(self._piece(oldest, _LENGTH.size))[0]
            self._set_counter(8, oldest)  # before it is overwritten, for whoever reads meanwhile
        at, first = written % ROOM, self._base + 16
        fitting = min(len(record), ROOM - at)
        self._memory[first + at : first + at + fitting] = record[:fitting]
        self._memory[first : first + len(record) - fitting] = record[fitting:]
        self._set_counter(0, written + len(record))

    def _texts(self) -> Iterator[bytes]:
        written = self._counter(0)
        room = self._memory[self._base + 16 : self._base + 16 + min(written, ROOM)]
        place = self._counter(8)  # what was overwritten during the copy lies before it
        while place < written:
            length = _LENGTH.unpack(_around(room, place, _LENGTH.size))[0]
            yield _around(room, place + _LENGTH.size, length)
            place += _LENGTH.size + length

    def _piece(self, place: int, length: int) -> bytes:
        at, first = place % ROOM, self._base + 16
        end = self._memory[first + at : first + min(at + length, ROOM)]
        return end + self._memory[first : first + length - len(end)]

    def _counter(self, offset: int) -> int:
        number: int = _COUNTER.unpack_from(self._memory, self._base + offset)[0]
        return number

    def _set_counter(self, offset: int, number: int) -> None:
        _COUNTER.pack_into(self._memory, self._base + offset, number)


def _around(room: bytes, place: int, length: int) -> bytes:
    at = place % ROOM
    end = room[at : min(at + length, ROOM)]
    return end + room[: length - len(end)]


def _parsed(text: bytes) -> Answered:
    head, *lines = text.decode().split("\n")
    at, incarnation, client_id, batch_id = head.split(" ")
    outcomes = tuple((line[1:], _KINDS[line[0]]) for line in lines)
    return Answered(float(at), incarnation, client_id, batch_id, outcomes)
