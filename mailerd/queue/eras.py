"""
Which life of Redis this is, and telling a new one what rings remember.

A life, an *era*, begins with another process or another history of replication: what was acknowledged last in
the one before may be missing. Who hands mails over meets each connection's era before anything is sent
(``work/failover.py``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from uuid import uuid4

import redis

from mailerd.board import Answered
from mailerd.errors import RedisUnavailable
from mailerd.outcome import Kind
from mailerd.queue.connection import translated
from mailerd.queue.keys import Batch, Keys, Rows, field_prefix
from mailerd.queue.lease import whereabouts
from mailerd.queue.ledger import ROWS_IN_A_SCRIPT, known_batch
from mailerd.queue.payloads import slice_of
from mailerd.queue.scripts import Argument, run

_LETTERS = {Kind.SENT: "s", Kind.UNKNOWN: "u", Kind.WITHHELD: "r", None: "c"}

# A recipient: contact, letter, incarnation, when.
_Told = tuple[str, str, str, int]


def greeting(meet: Callable[[str], None]) -> Callable[[Any], None]:
    """What a connection does first: log in, and have ``meet`` see the era; what that raises ends it."""

    def greet(connection: Any) -> None:
        connection.on_connect()
        try:
            meet(_era(connection))
        except BaseException:
            connection.disconnect()
            raise

    return greet


def _era(connection: Any) -> str:
    facts: dict[str, str] = {}
    for section in ("SERVER", "REPLICATION"):
        connection.send_command("INFO", section)
        lines = connection.read_response().decode(errors="replace").splitlines()
        facts |= dict(line.partition(":")[::2] for line in lines)
    if facts.get("role") == "slave":
        raise RedisUnavailable("this Redis is a replica and takes no writes")
    return _named(facts)


def era_of(client: redis.Redis) -> str:
    """The era that a client meets. Raises ``RedisUnavailable`` or ``RedisRefused``."""
    facts: dict[str, Any] = {}
    for section in ("server", "replication"):
        with translated():
            facts |= client.info(section)
    return _named(facts)


def _named(facts: Mapping[str, Any]) -> str:
    return f"{facts.get('run_id', '')}:{facts.get('master_replid', '')}"


def replay(client: redis.Redis, keys: Keys, answered: Iterable[Answered], era: str = "") -> int:
    """
    Tell what claims came to; of how many it was not known. Raises ``RedisUnavailable``.

    ``era``: whom others tell to be in the hand of a worker that has told it all itself is not believed to be.
    """
    news = 0
    for (client_id, batch_id), told in _by_batch(answered).items():
        known = known_batch(client, keys, client_id, batch_id)
        # Where not even the batch is known, no row is, wherever it would lie.
        batch = known[0] if known else Batch(client_id, batch_id, 0)
        for start in range(0, len(told), ROWS_IN_A_SCRIPT):
            news += _replay(client, keys, batch, era, told[start : start + ROWS_IN_A_SCRIPT])
    return news


def arrive(client: redis.Redis, keys: Keys, incarnation: str, era: str, *, told: bool = True) -> set[str]:
    """
    Say that this worker has met the era, and ``told`` it all; who has not. Raises ``RedisUnavailable``.

    It is registered as well, should the era have forgotten it: whatever it takes is found in its hand.

    Its keeper may meet an era before the worker itself, which may be at work in the one before.
    """
    own = [keys.workers, keys.arrivals, keys.unused]
    missing = run(client, "arrive", own, [incarnation, era, int(told), whereabouts()])
    return {name.decode() for name in missing}


def _by_batch(answered: Iterable[Answered]) -> dict[tuple[str, str], list[_Told]]:
    batches: dict[tuple[str, str], list[_Told]] = defaultdict(list)
    for one in answered:
        batches[one.client_id, one.batch_id] += _told(one)
    return {batch: _last_words(told) for batch, told in batches.items()}


def _told(one: Answered) -> Iterator[_Told]:
    return ((contact, _LETTERS[kind], one.incarnation, int(one.at)) for contact, kind in one.outcomes)


def _last_words(told: list[_Told]) -> list[_Told]:
    """
    All but the words that somebody has no mail, where the same incarnation told anything else of it.

    That was later, or is in doubt. Between two scripts somebody might claim whom the first had taken back.
    """
    otherwise = {(contact, incarnation) for contact, letter, incarnation, _ in told if letter != "r"}
    return [one for one in told if one[1] != "r" or (one[0], one[2]) not in otherwise]


def _replay(client: redis.Redis, keys: Keys, batch: Batch, era: str, told: list[_Told]) -> int:
    rows = Rows.of(keys, batch, [contact for contact, *_ in told])
    none = {contact: None for contact, letter, *_ in told if letter == "r"}
    small = slice_of(batch.client_id, batch.batch_id, tuple(none)).to_bytes() if none else b""
    arguments: list[Argument] = [batch.tag, era, uuid4().hex, small, field_prefix(batch)]
    for (index, _), one in zip(rows.contacts, told, strict=True):
        arguments += [index, *one]
    own = [keys.batch(batch.tag), keys.ended, keys.tombstone(batch.tag), keys.told(batch.tag), keys.unused]
    own += [keys.retry, keys.later, keys.arrivals]
    news: int = run(client, "replay", [*own, *rows.keys], arguments)
    return news
