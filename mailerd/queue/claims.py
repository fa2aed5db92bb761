"""
Claims: taking jobs from the queue into this worker's own hand, and the only four ways to let go of one.

A job is at every moment in exactly one list. ``take`` is one round trip that first looks into the own hand
(an answer may have been lost) and then blocks in the server. Short jobs come several at once, by the script
that also acks those before them. ``ack``, which may put a rest aside, ``give_back``, ``park`` and ``bury``
end the claim, each in one script that proves that it was still ours.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import uuid4

import redis

from mailerd.config import Config
from mailerd.errors import LeaseLost
from mailerd.queue.connection import Patience, connect, translated
from mailerd.queue.discards import DISCARDED, Discard, Discards
from mailerd.queue.keys import Keys
from mailerd.queue.lease import Lease
from mailerd.queue.payloads import OURS, Slice, job_id
from mailerd.queue.scripts import Argument, run

# How long the server holds an empty-handed worker (seconds): an idle worker costs one command in that time.
BLOCK = 5
# A job of more bytes is never taken together with others.
SHORT = 4096

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Claim:
    """A job in hand, and the receipt for it: its exact bytes in the list of that incarnation."""

    raw: bytes
    jid: str
    incarnation: str
    era: str = ""  # the life of Redis that it was taken from
    again: bool = False  # it had been in hand before that


@dataclass(frozen=True, slots=True)
class Line:
    """
    Pieces of a batch that stand in line, each for the limit of that name, and what the batch waits for.

    ``called``: they had been called up, in vain.
    """

    tag: str
    waiting_for: str
    called: bool
    pieces: tuple[tuple[str, Slice], ...]


class Taker:
    """
    Takes one job at a time over a connection of its own, which may block in the server.

    ``unblock`` may be called from another thread, also while ``take`` blocks.
    """

    def __init__(
        self,
        config: Config,
        keys: Keys,
        client: redis.Redis,
        patience: Patience,
        greet: Callable[[Any], None] | None = None,
        era: Callable[[], str] = str,
    ) -> None:
        self._keys = keys
        self._brpop = config.queue.fetch == "brpop"
        self._client = client
        self._patience = patience
        self._era = era
        self._blocking = connect(config.redis, greet=greet, timeout=BLOCK + 5)
        self._connection: Any = None  # redis-py's Connection, whose methods carry no types
        self._client_id = 0
        self._more_in_hand = True

    def take(self, lease: Lease) -> Claim | None:
        """
        The next job, or None when there was none for a while or ``unblock`` was called.

        Raises ``RedisUnavailable``.
        """
        with translated():
            try:
                raw = self._look_and_take(lease)
            except redis.exceptions.OutOfMemoryError:
                raw = run(self._client, "take", [self._keys.queue, self._keys.hand(lease.incarnation)])
                if raw is None:
                    raise  # to be asked again after a pause, since BLMOVE did not wait
        return Claim(raw, job_id(raw), lease.incarnation, self._era()) if raw is not None else None

    def unblock(self) -> None:
        """Make a blocked ``take`` return at once. Raises ``RedisUnavailable``."""
        if self._client_id:
            with translated():
                self._client.client_unblock(self._client_id)

    def hang_up(self) -> None:
        """Break the connection under a blocked ``take``: for a stop while Redis does not answer."""
        connection = self._connection
        if connection is not None:
            with suppress(OSError, AttributeError):
                connection._sock.shutdown(2)  # noqa: SLF001 - the only door to it

    def _look_and_take(self, lease: Lease) -> Any:
        hand = self._keys.hand(lease.incarnation)
        look = ("LINDEX", hand, -1)
        if self._more_in_hand:
            (held,) = self._exchange(look)
            self._more_in_hand = held is not None
            if held is not None:
                return held
        if self._brpop:
            return self._pop(lease, hand)
        held, moved = self._exchange(look, ("BLMOVE", self._keys.queue, hand, "RIGHT", "LEFT", BLOCK))
        # After a lost answer there may be one of each: the older first, the other with the next look.
        self._more_in_hand = held is not None
        return held if held is not None else moved

    def _pop(self, lease: Lease, hand: str) -> bytes | None:
        (popped,) = self._exchange(("BRPOP", self._keys.queue, BLOCK))
        if popped is None:
            return None
        arguments: list[Argument] = [lease.milliseconds, popped[1]]
        keys = [self._keys.lease(lease.incarnation), hand]
        self._patience.call(lambda: run(self._client, "record", keys, arguments))
        raw: bytes = popped[1]
        return raw

    def _exchange(self, *commands: tuple[Any, ...]) -> list[Any]:
        """One write, one answer each; an answer that does not come costs the connection."""
        connection = self._open()
        try:
            connection.send_packed_command(connection.pack_commands(commands))
            return [connection.read_response() for _ in commands]
        except BaseException:
            connection.disconnect()
            self._client_id = 0
            self._more_in_hand = True
            raise

    def _open(self) -> Any:
        if self._connection is None:
            self._connection = self._blocking.connection_pool.get_connection()
        if not self._client_id:
            self._connection.connect()
            self._connection.send_command("CLIENT", "ID")
            self._client_id = self._connection.read_response()
        return self._connection


class Claims:
    """
    The ways to end a claim. Each raises ``LeaseLost`` when the claim is no longer this incarnation's.

    A claim that began in another life of Redis, which may have forgotten what has been booked since, is not
    over: whatever should end it gives it back, and what is settled is not done again.
    """

    def __init__(
        self,
        client: redis.Redis,
        keys: Keys,
        lease: Lease,
        patience: Patience,
        era: Callable[[], str] = str,
    ) -> None:
        self._client = client
        self._era = era
        self._keys = keys
        self._lease = lease
        self._patience = patience
        self._done: list[Claim] = []
        self._discards = Discards()

    def done(self, claim: Claim) -> None:
        """The job is done: it is acked with the next take, or by ``settle``."""
        self._done.append(claim)

    def discard(self, discard: Discard) -> bool:
        """Discard those jobs with the next take; what cannot be is in hand ``again``. False: too many."""
        return self._discards.add(discard)

    def settle(self) -> list[Claim]:
        """Ack and discard now; the jobs that are left in hand, where there was anything to do."""
        return self.ack_and_take(0)

    def ack_and_take(self, most: int) -> list[Claim]:
        """
        Ack what is done, discard what is to be, and take at most so many short jobs, the oldest first.

        Jobs in hand that are neither done nor given back are returned instead, whatever ``most`` is. None are
        returned where nothing is to be acked and one is to be taken: that is ``Taker``'s.
        """
        if not self._done and not self._discards and most <= 1:
            return []  # the take that blocks does that
        while True:
            for claim in [each for each in self._done if each.era != self._era()]:
                self.give_back(claim)
                self._done.remove(claim)
            era = self._era()
            self._discards.keep(era)
            answer = self._patience.call(lambda: self._ack_and_take(most, era))  # noqa: B023 - called at once
            if answer is not None:
                break
        again = answer[0] == b"found"
        raws = self._discards.hear(answer[1:])
        self._done.clear()
        return [Claim(raw, job_id(raw), self._lease.incarnation, era, again) for raw in raws]

    def _ack_and_take(self, most: int, era: str) -> list[bytes] | None:
        # Asked at each try, as in ``_end``.
        if self._era() != era:
            return None
        name, keys = self._lease.incarnation, self._keys
        lists = [keys.lease(name), keys.hand(name), keys.queue, keys.workers, keys.jobs]
        arguments: list[Argument] = [self._lease.milliseconds, most, SHORT, OURS]
        done: list[Argument] = [value for claim in self._done for value in (claim.raw, claim.jid)]
        script = "ack_and_take"
        if self._discards:
            script = "discard"
            lists += self._discards.keys(keys)
            arguments += [DISCARDED.reason, len(self._done)]
            done += self._discards.arguments()
        answer: list[bytes] = run(self._client, script, lists, [*arguments, *done])
        if answer[0] == b"lost":
            raise LeaseLost
        return answer[1:]

    def ack(
        self, claim: Claim, rest: Slice | None = None, delay: float = 0.0, line: Line | None = None
    ) -> None:
        """The job is done; what is left of it, if anything, comes back after ``delay`` or from a line."""
        payload: tuple[Argument, Argument] = (uuid4().hex, rest.to_bytes()) if rest else ("", b"")
        keys = [*self._own(claim), self._keys.jobs, self._keys.retry, self._keys.later]
        arguments: list[Argument] = [*payload, int(delay * 1000)]
        script = "finish"
        if line is not None:
            script = "line_up"
            lines = list(dict.fromkeys(limit for limit, _ in line.pieces))
            keys += [self._keys.batch(line.tag), self._keys.lines, *map(self._keys.line, lines)]
            arguments += [line.waiting_for, int(line.called)]
            for limit, piece in line.pieces:
                arguments += [limit, lines.index(limit) + 1, piece.to_bytes()]
        if not self._end(claim, script, keys, arguments, claim.era):
            self.give_back(claim)

    def give_back(self, claim: Claim, tag: str = "", waiting_for: str = "") -> None:
        """Back to the head of the queue, untouched: the worker stops, or the route is out of order."""
        batch = self._keys.batch(tag) if tag else self._keys.unused
        keys = [*self._own(claim), self._keys.queue, self._keys.jobs, batch]
        self._end(claim, "give_back", keys, [waiting_for])

    def park(self, claim: Claim, tag: str) -> None:
        """Aside until its batch is resumed."""
        lists = [self._keys.queue, self._keys.batch(tag), self._keys.parked(tag)]
        self._end(claim, "park", [*self._own(claim), self._keys.jobs, *lists], [])

    def bury(self, claim: Claim, reason: str) -> None:
        """To the dead letters, its bytes unchanged."""
        keys = [*self._own(claim), self._keys.jobs, self._keys.dead, self._keys.letters]
        keys.append(self._keys.letter_reasons)
        if not self._end(claim, "bury", keys, [letter_id(claim), reason], claim.era):
            self.give_back(claim)

    def _own(self, claim: Claim) -> list[str]:
        return [self._keys.lease(claim.incarnation), self._keys.hand(claim.incarnation)]

    def _end(
        self, claim: Claim, script: str, keys: list[str], arguments: list[Argument], only_in: str = ""
    ) -> bool:
        """Run the script; with ``only_in`` in that life of Redis or not at all: then False."""
        receipt: list[Argument] = [self._lease.milliseconds, claim.raw, claim.jid]

        def end() -> Any:
            # Asked at each try: a new connection may have met another life and then has failed once.
            if only_in and self._era() != only_in:
                return None
            return run(self._client, script, keys, [*receipt, *arguments])

        answer = self._patience.call(end)
        if answer == b"lost":
            raise LeaseLost
        return answer is not None


def letter_id(claim: Claim) -> str:
    """A name for a dead letter: unique, since the same bytes may die more than once."""
    return f"{claim.jid[:12]}-{uuid4().hex[:6]}"
