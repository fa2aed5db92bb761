"""
Starts mailerd with a defect planted: ``planted.py NAME run``. Each takes one guard of the protocol away.

From outside: a script's text or a method is replaced before the daemon's own main is called.
"""

from __future__ import annotations

# ruff: noqa: PLC0415, ARG005 - what is patched is imported by its patch; a stand-in takes what it replaces
import hashlib
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

from mailerd.queue import scripts

_FENCE = "if redis.call('PEXPIRE', KEYS[1], ARGV[1]) == 0 then return"
_read = scripts.text_of


def _rewrite(change: Callable[[str, str], str], *, wanted: str = "") -> None:
    @cache
    def text(name: str) -> tuple[bytes, str]:
        old = _read(name)[0].decode()
        new = change(name, old)
        assert new != old or name != wanted, f"{name} has no such guard any more"
        return new.encode(), hashlib.sha1(new.encode(), usedforsecurity=False).hexdigest()

    scripts.text_of = text


def no_fencing() -> None:
    """A lapsed lease stops nobody."""
    from mailerd.queue.lease import Lease

    fence = "redis.call('PEXPIRE', KEYS[1], ARGV[1]) if false then return"
    _rewrite(lambda name, text: text.replace(_FENCE, fence), wanted="claim")
    Lease.lives = lambda self: True  # type: ignore[method-assign]


def no_ledger() -> None:
    """Whoever asks for a recipient gets it."""
    _rewrite(
        lambda name, text: (
            text.replace("  return 'settled'\nend", "  return 'claimed', row\nend")
            if name == "claim"
            else text
        ),
        wanted="claim",
    )


def client_retries() -> None:
    """The client library repeats a BLMOVE whose answer was lost, and nobody looks into the own hand."""
    from mailerd.queue.claims import BLOCK, Taker

    def take(self: Any, lease: Any) -> Any:
        hand = self._keys.hand(lease.incarnation)
        command = ("BLMOVE", self._keys.queue, hand, "RIGHT", "LEFT", BLOCK)
        try:
            return self._exchange(command)[0]
        except (OSError, scripts.redis.ConnectionError):
            return self._exchange(command)[0]

    Taker._look_and_take = take  # type: ignore[method-assign]
    look = "local hand = redis.call('LRANGE', KEYS[2], 0, -1)"
    _rewrite(lambda name, text: text.replace(look, "local hand = {}"), wanted="ack_and_take")


def no_linger() -> None:
    """Nobody looks into the hand of a dead incarnation again."""
    grave = "redis.call('ZADD', KEYS[{}], 'NX', now_ms(), ARGV[1])"
    _rewrite(lambda name, text: text.replace(grave.format(5), "").replace(grave.format(4), ""), wanted="reap")


def ack_before_mark() -> None:
    """A job is acked before it is worked on."""
    from mailerd.work.handler import Handler

    deliver = Handler._deliver

    def acked_first(self: Any, claims: Any, *given: Any, **named: Any) -> str:
        for claim in claims:
            self._claims.ack(claim)
        return deliver(self, claims, *given, **named)

    Handler._deliver = acked_first  # type: ignore[method-assign]


def board_ignored() -> None:
    """What a dead worker noted on its board is not read."""
    from mailerd.board import Slot

    Slot.read_group = lambda self: None  # type: ignore[method-assign]


def busy_is_dead() -> None:
    """Whoever claimed a recipient counts as dead."""
    alive = "return redis.call('EXISTS', ARGV[4] .. other) == 1"
    _rewrite(lambda name, text: text.replace(alive, "return false"), wanted="claim")


def cursor_not_compared() -> None:
    """A job's contacts are admitted wherever its cursor is."""
    _rewrite(lambda name, text: text.replace("if cursor ~= at then", "if false then"), wanted="admit")


def no_rest_for_the_dead() -> None:
    """What a dead worker had in hand may be used again at once."""
    freed = "redis.call('HDEL', limit.key .. ':hand', inc)\n      rest(limit, n, 0)"
    _rewrite(lambda name, text: text.replace(freed, freed.partition("\n")[0]), wanted="permit")


PLANTS = {
    "no-fencing": no_fencing,
    "no-ledger": no_ledger,
    "client-retries": client_retries,
    "no-linger": no_linger,
    "ack-before-mark": ack_before_mark,
    "board-ignored": board_ignored,
    "busy-is-dead": busy_is_dead,
    "cursor-not-compared": cursor_not_compared,
    "no-rest-for-the-dead": no_rest_for_the_dead,
}

if __name__ == "__main__":
    PLANTS[sys.argv.pop(1)]()
    from mailerd.cli import main

    main()
