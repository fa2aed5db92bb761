"""
Writes that replicas have confirmed: what ``redis.replicas`` asks for before anything is promised.

WAIT counts the replicas that have what its own connection wrote, so it goes out in the same write as the
script or command, and each of those writes something also when it is repeated. Used before a job counts as
accepted and before a recipient is handed over; where no replica is asked for, nobody waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis

from mailerd.errors import TooFewCopies
from mailerd.queue.connection import translated
from mailerd.queue.scripts import Argument, run, text_of

# Seconds; an HTTP client that must hear of a failure within 3 s waits for this as well.
LONGEST_WAIT = 0.8


def run_copied(
    client: redis.Redis, name: str, keys: Sequence[str], arguments: Sequence[Argument], replicas: int
) -> tuple[Any, int]:
    """
    Run one script; its answer, and how many replicas have confirmed it in time (0 where none is asked for).

    Raises ``RedisUnavailable`` or ``RedisRefused``; so few copies are no fault here.
    """
    if not replicas:
        return run(client, name, keys, arguments), 0
    text, sha = text_of(name)
    with translated():
        try:
            return _with_wait(client, ("EVALSHA", sha, len(keys), *keys, *arguments), replicas)
        except redis.exceptions.NoScriptError:
            return _with_wait(client, ("EVAL", text, len(keys), *keys, *arguments), replicas)


def run_confirmed(
    client: redis.Redis, name: str, keys: Sequence[str], arguments: Sequence[Argument], replicas: int
) -> Any:
    """The same, and ``TooFewCopies`` is raised where not so many have confirmed it."""
    answer, copies = run_copied(client, name, keys, arguments, replicas)
    require(copies, replicas)
    return answer


def push_confirmed(client: redis.Redis, queue: str, raw: bytes, replicas: int) -> None:
    """``LPUSH``; raises ``TooFewCopies`` where not so many replicas have confirmed it."""
    with translated():
        _, copies = _with_wait(client, ("LPUSH", queue, raw), replicas)
    require(copies, replicas)


def require(copies: int, replicas: int) -> None:
    """Raise ``TooFewCopies`` unless so many replicas have confirmed."""
    if copies < replicas:
        raise TooFewCopies(copies, replicas)


def misfit(wanted: int, connected: int) -> tuple[str, str] | None:
    """
    What is wrong with asking for so many copies where so many replicas are, and what helps.

    Fewer confirmations than replicas hold as long as a failover chooses well: Sentinel takes the replica that
    has most by what it last heard of each, of those that answer in that moment.
    """
    asked = f"redis.replicas asks for {'1 copy' if wanted == 1 else f'{wanted} copies'}"
    says = f"{asked} and {connected} replicas are connected"
    if connected < wanted:
        advice = "start the replicas, see that they reach the master, or ask for fewer"
        return f"{says}: until they are there nothing is taken or sent", advice
    if 0 < wanted < connected:
        risk = "a failover may choose one that has not confirmed, and forget what was accepted"
        return f"{says}: {risk}", f"set redis.replicas = {connected}"
    return None


def connected_replicas(client: redis.Redis) -> int:
    """How many replicas are connected to this server. Raises ``RedisUnavailable`` or ``RedisRefused``."""
    facts: Any
    with translated():
        facts = client.info("replication")
    return int(facts.get("connected_slaves", 0))


def _with_wait(client: redis.Redis, command: tuple[Any, ...], replicas: int) -> tuple[Any, int]:
    both: Any = client.pipeline(transaction=False)
    both.execute_command(*command).execute_command("WAIT", replicas, int(LONGEST_WAIT * 1000))
    # Errors as they are: redis-py would put the whole command in front of their words.
    answer, copies = both.execute(raise_on_error=False)
    for each in (answer, copies):
        if isinstance(each, Exception):
            raise each
    return answer, copies
