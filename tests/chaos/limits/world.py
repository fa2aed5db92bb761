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
# A case has the first, or both.
LIMITS = (LIMIT, KEYS.limit("route"))
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
class Standing:
    """How one limit stands; ``hand``: incarnation, call, permits."""

    fields: tuple[tuple[bytes, bytes], ...] = ()
    rest: tuple[int, ...] = ()
    hand: tuple[tuple[str, int, int], ...] = ()
    day: tuple[tuple[int, int], ...] = ()

    def later(self, ms: int, slots: int) -> Standing:
        """The same after so many milliseconds, which are so many slots."""
        fields = tuple((name, _moved(name, value, ms, slots)) for name, value in self.fields)
        rest = tuple(score - ms for score in self.rest if score > ms)
        return replace(self, fields=fields, rest=rest, day=tuple((slot - slots, n) for slot, n in self.day))


@dataclass(frozen=True, slots=True)
class Kept:
    """
    What Redis keeps of the limits; moments and slots count from now.

    ``phase``: how far (ms) into a slot it is; ``asked``: for so long (ms) nobody else asks the account;
    ``queue``: the next one last, as in Redis.
    """

    phase: int = 0
    limits: tuple[Standing, ...] = (Standing(),)
    asked: int = 0
    line: tuple[bytes, ...] = ()
    queue: tuple[bytes, ...] = ()
    leases: tuple[str, ...] = ()

    def later(self, ms: int) -> Kept:
        """The same after so many milliseconds."""
        slots, phase = divmod(self.phase + ms, SLOT)
        limits = tuple(limit.later(ms, slots) for limit in self.limits)
        return replace(self, phase=phase, limits=limits, asked=max(0, self.asked - ms))


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
        self._shas = {name: self._load(name, edits) for name in ("permit", "grant", "line_up", "call_up")}

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
        for limit in LIMITS[: len(kept.limits)]:
            together.hgetall(limit).zrange(f"{limit}:rest", 0, -1, withscores=True)
            together.hgetall(f"{limit}:hand").hgetall(f"{limit}:day")
        together.pttl(KEYS.account).lrange(LINE, 0, -1).lrange(KEYS.queue, 0, -1)
        answer, *found, asked, line, queue = together.execute()[-4 - 4 * len(kept.limits) :]
        limits = tuple(_read(now, *found[at : at + 4]) for at in range(0, len(found), 4))
        kept = replace(kept, limits=limits, asked=_asked(kept.asked, asked))
        return answer, replace(kept, line=tuple(line), queue=tuple(queue))


def _restore(together: Any, kept: Kept, now: int, own: bytes) -> None:
    together.flushdb().set(_CLOCK, now)
    for name in kept.leases:
        together.set(KEYS.lease(name), 1)
    for key, limit in zip(LIMITS, kept.limits, strict=False):
        _restore_limit(together, key, limit, now)
    if kept.asked:
        together.set(KEYS.account, 1, px=kept.asked)
    for key, pieces in ((LINE, kept.line), (KEYS.queue, kept.queue), (KEYS.hand("own"), own and (own,))):
        if pieces:
            together.rpush(key, *pieces)
    if kept.line:
        together.sadd(KEYS.lines, NAME)


def _restore_limit(together: Any, key: str, limit: Standing, now: int) -> None:
    slot = now // SLOT
    if limit.fields:
        fields = {name: _moved(name, value, -now, -slot) for name, value in limit.fields}
        together.hset(key, mapping=fields)
    if limit.fields or limit.rest:
        together.hset(key, "serial", len(limit.rest))
    if limit.rest:
        together.zadd(f"{key}:rest", {serial: now + score for serial, score in enumerate(limit.rest, 1)})
    if limit.hand:
        together.hset(f"{key}:hand", mapping={inc: f"{call} {n}" for inc, call, n in limit.hand})
    if limit.day:
        together.hset(f"{key}:day", mapping={slot + each: n for each, n in limit.day})


def _asked(before: int, left: int) -> int:
    """How long nobody else asks the account; the server's own clock went on a little."""
    if left <= 0 or before - 1000 < left <= before:
        return before if left > 0 else 0
    return next((whole for whole in (15_000, 60_000) if left <= whole), round(left, -3))


def _read(
    now: int,
    fields: Mapping[bytes, bytes],
    rest: Sequence[tuple[bytes, float]],
    hand: Mapping[bytes, bytes],
    day: Mapping[bytes, bytes],
) -> Standing:
    slot = now // SLOT
    kept = [(name, _moved(name, value, now, slot)) for name, value in fields.items() if name != b"serial"]
    in_hand = [(inc.decode(), *map(int, value.split())) for inc, value in hand.items()]
    return Standing(
        fields=tuple(sorted(kept)),
        rest=tuple(sorted(int(score) - now for _, score in rest if score > now)),
        hand=tuple(sorted(in_hand)),
        day=tuple(sorted((int(name) - slot, int(n)) for name, n in day.items() if int(n))),
    )
