"""
The limits' own scripts over a real server whose clock stands where a moment says: one step in one round trip.

What a moment keeps of Redis is relative to its own time, so that two ways to the same standing meet. Used by
``moves.py``; knows no property.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mailerd.queue.keys import Keys
from mailerd.queue.scripts import text_of

KEYS = Keys("email_queue")
NAME = "client:shop"
LIMIT, LINE = KEYS.limit(NAME), KEYS.line(NAME)
SLOT = 900_000
# Where every moment is played on the server's clock (ms): the begin of a slot of the day.
HOUR = 2_000_000 * SLOT
_CLOCK = "{email_queue}:now"
_CLOCK_OF_THE_SERVER = (
    "local t = redis.call('TIME')\n  return t[1] * 1000 + math.floor(t[2] / 1000)",
    f"return tonumber(redis.call('GET', '{_CLOCK}'))",
)
# The fields of a limit's hash that are moments.
_MOMENTS = (b"at", b"paused", b"called")
_LONG_AGO = -5000


@dataclass(frozen=True, slots=True)
class Kept:
    """
    What Redis keeps of the limit; moments and slots count from now.

    ``phase``: how far (ms) into a slot it is; ``hand``: incarnation, call, permits; ``queue``: the next one
    last, as in Redis.
    """

    phase: int = 0
    limit: tuple[tuple[bytes, bytes], ...] = ()
    rest: tuple[int, ...] = ()
    hand: tuple[tuple[str, int, int], ...] = ()
    day: tuple[tuple[int, int], ...] = ()
    line: tuple[bytes, ...] = ()
    queue: tuple[bytes, ...] = ()
    leases: tuple[str, ...] = ()

    def later(self, ms: int) -> Kept:
        """The same after so many milliseconds."""
        slots, phase = divmod(self.phase + ms, SLOT)
        fields = tuple((name, _moved(name, value, ms, slots)) for name, value in self.limit)
        rest = tuple(score - ms for score in self.rest if score > ms)
        day = tuple((slot - slots, count) for slot, count in self.day)
        return replace(self, phase=phase, limit=fields, rest=rest, day=day)


def _moved(name: bytes, value: bytes, ms: int, slots: int) -> bytes:
    if name == b"out":  # since when it is used up matters to nobody
        return b"0"
    by = ms if name in _MOMENTS else slots if name == b"pruned" else 0
    moved = int(value) - by if by else 0
    return b"%d" % (max(moved, _LONG_AGO) if name == b"called" and ms > 0 else moved) if by else value


class Scripts:
    """Runs them; ``edits``: a text in them and what stands there instead, for one that is planted."""

    def __init__(self, client: Any, edits: Mapping[str, str]) -> None:
        self._client = client
        self._shas = {name: self._load(name, edits) for name in ("permit", "line_up", "call_up")}

    def _load(self, name: str, edits: Mapping[str, str]) -> str:
        text = text_of(name)[0].decode()
        for old, new in (_CLOCK_OF_THE_SERVER, *((old, new) for old, new in edits.items() if old in text)):
            assert text.count(old) == 1, (name, old)
            text = text.replace(old, new)
        self._client.script_load(text)
        return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def run(
        self, kept: Kept, name: str, keys: Sequence[str], arguments: Sequence[object], own: bytes = b""
    ) -> tuple[Any, Kept]:
        """The script's answer, and what is kept afterwards; ``own``: what lies in the own list."""
        together = self._client.pipeline(transaction=False)
        now = HOUR + kept.phase
        _restore(together, kept, now, own)
        together.evalsha(self._shas[name], len(keys), *keys, *arguments)
        together.hgetall(LIMIT).zrange(f"{LIMIT}:rest", 0, -1, withscores=True)
        together.hgetall(f"{LIMIT}:hand").hgetall(f"{LIMIT}:day")
        together.lrange(LINE, 0, -1).lrange(KEYS.queue, 0, -1)
        answer, *found = together.execute()[-7:]
        return answer, _read(kept, now, *found)


def _restore(together: Any, kept: Kept, now: int, own: bytes) -> None:
    together.flushdb().set(_CLOCK, now)
    for name in kept.leases:
        together.set(KEYS.lease(name), 1)
    if kept.limit:
        slot = now // SLOT
        fields = {name: _moved(name, value, -now, -slot) for name, value in kept.limit}
        together.hset(LIMIT, mapping={**fields, b"serial": len(kept.rest)})
    if kept.rest:
        members = {serial: now + score for serial, score in enumerate(kept.rest, 1)}
        together.zadd(f"{LIMIT}:rest", members)
        if not kept.limit:
            together.hset(LIMIT, "serial", len(kept.rest))
    if kept.hand:
        together.hset(f"{LIMIT}:hand", mapping={inc: f"{call} {n}" for inc, call, n in kept.hand})
    if kept.day:
        together.hset(f"{LIMIT}:day", mapping={now // SLOT + slot: n for slot, n in kept.day})
    for key, pieces in ((LINE, kept.line), (KEYS.queue, kept.queue), (KEYS.hand("own"), own and (own,))):
        if pieces:
            together.rpush(key, *pieces)
    if kept.line:
        together.sadd(KEYS.lines, NAME)


def _read(
    before: Kept,
    now: int,
    fields: Mapping[bytes, bytes],
    rest: Sequence[tuple[bytes, float]],
    hand: Mapping[bytes, bytes],
    day: Mapping[bytes, bytes],
    line: Sequence[bytes],
    queue: Sequence[bytes],
) -> Kept:
    slot = now // SLOT
    kept = [(name, _moved(name, value, now, slot)) for name, value in fields.items() if name != b"serial"]
    in_hand = [(inc.decode(), *map(int, value.split())) for inc, value in hand.items()]
    return replace(
        before,
        limit=tuple(sorted(kept)),
        rest=tuple(sorted(int(score) - now for _, score in rest if score > now)),
        hand=tuple(sorted(in_hand)),
        day=tuple(sorted((int(name) - slot, int(n)) for name, n in day.items() if int(n))),
        line=tuple(line),
        queue=tuple(queue),
    )
