"""
What lies in Redis and belongs to nobody: reads the queue's keys directly, as an auditor would.

A job in the hand of an incarnation that nobody will look at again, and open recipients without any job. And
what a run itself leaves behind on this machine.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from mailerd.queue.keys import Keys

KEYS = Keys("email_queue")
FOLDERS = "mailerd-chaos-"


def orphans(client: Any) -> list[str]:
    """The hands with a job in them whose incarnation neither lives nor is remembered."""
    prefix = KEYS.hand("")
    found = []
    for hand in client.scan_iter(match=f"{prefix}*", count=1000):
        name = hand.decode().removeprefix(prefix)
        look = client.pipeline(transaction=True)
        look.llen(hand).exists(KEYS.lease(name)).hexists(KEYS.workers, name).zscore(KEYS.graves, name)
        held, lives, listed, buried = look.execute()
        if held and not lives and not listed and buried is None:
            found.append(f"a job lies in the hand of incarnation {name}, at which nobody will ever look")
    return found


def stirs(client: Any, fetch: str) -> bool:
    """
    Whether any job is anywhere: waiting, aside, parked, cut into slices, in line or in a hand.

    With brpop a ticket may be lost like any job; then the slices that wait for it stir nobody.
    """
    if client.llen(KEYS.queue) or client.zcard(KEYS.retry) or client.llen(KEYS.sweeps):
        return True
    patterns = [f"{KEYS.hand('')}*", f"{KEYS.parked('')}*", KEYS.line("*")]
    if fetch != "brpop":
        patterns.append(f"{KEYS.side('')}*")
    return any(client.llen(key) for each in patterns for key in client.scan_iter(match=each, count=1000))


def open_recipients(client: Any) -> int:
    """How many recipients are queued, sending or deferred."""
    counts = client.hmget(KEYS.totals, "queued", "sending", "deferred")
    return sum(int(count or 0) for count in counts)


def dead_letters(client: Any) -> list[str]:
    """Why jobs were buried."""
    return [reason.decode() for reason in client.hvals(KEYS.letter_reasons)]


def on_this_machine() -> list[str]:
    """The folders of runs where temporary files go, and the file systems that are mounted below them."""
    mine = f"{tempfile.gettempdir()}/{FOLDERS}"
    mounts = (line.split()[1] for line in Path("/proc/mounts").read_text().splitlines())
    folders = map(str, Path(tempfile.gettempdir()).glob(f"{FOLDERS}*"))
    return sorted({*folders, *(mount for mount in mounts if mount.startswith(mine))})
