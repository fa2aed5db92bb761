"""
The Lua scripts beside this file: loaded once, called by hash, sent again where the server forgot them.

Each ``.lua`` file states its KEYS, ARGV and every answer on top; ``prelude.lua`` stands before each, and
``prelude_limits.lua`` before those about limits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

import redis

from mailerd.queue.connection import translated

Argument = str | bytes | int

_OF_LIMITS = frozenset({"call_up", "grant", "limits", "permit"})


@cache
def text_of(name: str) -> tuple[bytes, str]:
    """A script as it is sent, and its hash."""
    folder = resources.files("mailerd.queue") / "scripts"
    parts = ("prelude", "prelude_limits", name) if name in _OF_LIMITS else ("prelude", name)
    text = b"".join((folder / f"{part}.lua").read_bytes() for part in parts)
    return text, hashlib.sha1(text, usedforsecurity=False).hexdigest()


def preload() -> None:
    """Read every script now, before workers are forked who would each read them."""
    for script in (resources.files("mailerd.queue") / "scripts").iterdir():
        name, _, kind = script.name.partition(".")
        if kind == "lua" and not name.startswith("prelude"):
            text_of(name)


def run(client: redis.Redis, name: str, keys: Sequence[str], arguments: Sequence[Argument] = ()) -> Any:
    """
    Run one script; the answer is the script's own, byte strings for text.

    Raises ``RedisUnavailable`` or ``RedisRefused``. A lost answer leaves open whether it ran; every script
    may be repeated.
    """
    text, sha = text_of(name)
    with translated():
        try:
            return client.evalsha(sha, len(keys), *keys, *arguments)
        except redis.exceptions.NoScriptError:
            return client.eval(text.decode(), len(keys), *keys, *arguments)
