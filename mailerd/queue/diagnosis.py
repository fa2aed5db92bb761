"""
What is wrong with a Redis or with a queue in it, and what to do about it.

Reads only, and may look at everything: an operator asks, with ``mailerd doctor``, when something seems stuck.
What keeps mail from being lost is looked at again at each start (``probe.py``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import redis

from mailerd.clock import SystemClock
from mailerd.queue.alerts import RelayNotes, SharedAlert
from mailerd.queue.batches import queue_status
from mailerd.queue.connection import translated
from mailerd.queue.copies import misfit
from mailerd.queue.headroom import NEARLY_FULL
from mailerd.queue.keys import Keys
from mailerd.queue.metrics import Metrics
from mailerd.queue.payloads import TICKET

# What a janitor anywhere does within a second; so long afterwards it is not done at all (ms).
OVERDUE = 60_000
QUITE_FULL = 0.75


@dataclass(frozen=True, slots=True)
class Complaint:
    """One thing that is wrong, and what helps."""

    what: str
    advice: str


def diagnose(client: redis.Redis, keys: Keys, replicas: int = 0) -> Iterator[Complaint]:
    """Everything that is wrong, the server first. Raises ``RedisUnavailable`` or ``RedisRefused``."""
    with translated():
        facts: Any = client.info()
    yield from _of_the_server(facts)
    yield from _of_the_replicas(facts, replicas)
    yield from _of_the_workers(client, keys)
    yield from _of_the_chores(client, keys)
    yield from _of_the_lists(client, keys)
    for where, why in RelayNotes(client, keys, SystemClock()).read().items():
        yield Complaint(f"the relay {where} is left alone: {why}", "mailerd check --online tries it now")
    if alert := SharedAlert(client, keys.alert).read():
        seen = f"the route was blocked {alert.ago:.0f} s ago: {alert.reason}"
        yield Complaint(seen, "it is tried again by itself; mailerd check --online tries it now")
    gap = Metrics(client, keys).read().conservation_gap
    if gap:
        yield Complaint(f"{gap:+,} recipients are in no state", "this is an error of mailerd: report it")


def _of_the_server(facts: Mapping[str, Any]) -> Iterator[Complaint]:
    policy = facts.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        yield Complaint(f"Redis evicts keys when it is full ({policy})", "set maxmemory-policy noeviction")
    if facts.get("role") == "slave":
        yield Complaint("this Redis is a replica and takes no writes", "set redis.url to its primary")
    if str(facts.get("aof_enabled")) != "1":
        yield Complaint("Redis keeps no append-only file: a crash forgets jobs", "set appendonly yes")
    elif facts.get("aof_last_write_status", "ok") != "ok":
        yield Complaint("Redis cannot write its append-only file", "look at its log, and at its disk")
    if facts.get("rdb_last_bgsave_status", "ok") != "ok":
        yield Complaint("Redis cannot save: it may refuse writes (MISCONF)", "look at its log and its disk")
    used = facts.get("used_memory", 0) / (facts.get("maxmemory") or float("inf"))
    if used > QUITE_FULL:
        what = f"{min(100 * used, 100):.0f} % of Redis' maxmemory are used"
        refused = ": new jobs are refused" if used > NEARLY_FULL else ""
        yield Complaint(what + refused, "raise maxmemory, or shorten queue.retention_days")


def _of_the_replicas(facts: Mapping[str, Any], wanted: int) -> Iterator[Complaint]:
    there = facts.get("connected_slaves", 0)
    if wrong := misfit(wanted, there):
        yield Complaint(*wrong)
    for number in range(there):
        replica = facts.get(f"slave{number}")
        if isinstance(replica, dict) and replica.get("state") != "online":
            yield Complaint(
                f"the replica {replica.get('ip')}:{replica.get('port')} is connected and has no copy yet",
                "wait for its first synchronisation, or look at its log",
            )


def _of_the_workers(client: redis.Redis, keys: Keys) -> Iterator[Complaint]:
    status = queue_status(client, keys)
    for worker in status.workers:
        if not worker.alive:
            where = f"{worker.incarnation} ({worker.host}, pid {worker.pid})"
            yield Complaint(
                f"worker {where} has no lease any more and is not cleaned up, {worker.in_hand} jobs in hand",
                "within 20 s any running daemon does; start one, or look at its log",
            )
    if status.length and not any(worker.alive for worker in status.workers):
        yield Complaint(f"{status.length:,} jobs wait and no worker lives", "start mailerd")


def _of_the_chores(client: Any, keys: Keys) -> Iterator[Complaint]:
    with translated():
        seconds, micros = client.time()
        long_ago = seconds * 1000 + micros // 1000 - OVERDUE
        overdue = client.zcount(keys.retry, "-inf", long_ago)
        swept = client.lindex(keys.sweeps, 0)
    if overdue:
        yield Complaint(
            f"{overdue:,} jobs that were put aside are overdue",
            "a running daemon brings them back: start one",
        )
    if swept and int(swept.split()[-1]) < long_ago:
        action, tag, _ = swept.decode().split()
        yield Complaint(f"{action} of batch {tag} is not finished", "a running daemon finishes it: start one")


def _of_the_lists(client: Any, keys: Keys) -> Iterator[Complaint]:
    with translated():
        known = {name.decode() for name in client.hkeys(keys.workers)}
        known |= {name.decode() for name in client.zrange(keys.graves, 0, -1)}
        hands = dict(_lists(client, keys.hand("")))
        for incarnation, length in hands.items():
            if incarnation not in known:
                yield Complaint(
                    f"{length} jobs lie in the hand of {incarnation}, whom nobody knows",
                    f"give them back: LMOVE {json.dumps(keys.hand(incarnation))} {keys.queue} RIGHT RIGHT",
                )
        for tag, length in _lists(client, keys.side("")):
            if not _ticket_goes_round(client, keys, tag, known | hands.keys()):
                yield Complaint(
                    f"{length} slices of batch {tag} wait and no ticket goes round",
                    f"push one: LPUSH {keys.queue} {json.dumps(f'{TICKET}{tag}')} (with queue.fetch = "
                    f'"brpop" ask again first: it may be on its way)',
                )
        for tag, length in _lists(client, keys.parked("")):
            if client.hget(keys.batch(tag), "halt") != b"paused" and not client.llen(keys.sweeps):
                yield Complaint(
                    f"{length} jobs of batch {tag} are parked though it is not paused",
                    f"pause and resume it: mailerd batch pause {tag.partition('/')[2]}",
                )


def _ticket_goes_round(client: Any, keys: Keys, tag: str, hands: AbstractSet[str]) -> bool:
    """Whether the batch's record says so, and it lies in some list; with ``brpop`` it may have been lost."""
    with client.pipeline() as pipe:
        pipe.hexists(keys.batch(tag), "ticket")
        for name in (keys.queue, keys.parked(tag), *map(keys.hand, hands)):
            pipe.lpos(name, f"{TICKET}{tag}")
        is_noted, *places = pipe.execute()
    return bool(is_noted) and any(place is not None for place in places)


def _lists(client: Any, prefix: str) -> Iterator[tuple[str, int]]:
    pattern = "".join(f"[{letter}]" if letter in "[]*?^" else letter for letter in prefix)
    for name in client.scan_iter(f"{pattern}*", 1000, _type="LIST"):
        yield name.decode().removeprefix(prefix), client.llen(name)
