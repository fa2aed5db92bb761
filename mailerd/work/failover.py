"""
A worker meets another life of Redis: it tells it what the board remembers, before it asks it for anything.

After a failover, or a crash, Redis may have forgotten what it acknowledged last: that somebody was claimed,
or has got the mail. So each new connection of a worker looks whose it is. Is it another life than the last
one, the whole board is replayed, the hands and rings of all workers of this host, and the workers of other
hosts are waited for a while, since they do the same. Until then nothing else goes over that connection.
Waited for are those who are registered and have not told: not who registers after its worker has told all,
and not who was reaped, though one whose lease lapsed in the failover may live and come later.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from mailerd.board import Answered, Phase, Slot
from mailerd.clock import Clock, Stop
from mailerd.config import Config
from mailerd.errors import RedisReplaced
from mailerd.outcome import Kind
from mailerd.queue.connection import connect
from mailerd.queue.eras import arrive, era_of, replay
from mailerd.queue.keys import Keys

log = logging.getLogger(__name__)

# Seconds: a worker that waits for Redis looks again after 3 s at the latest, or a little later.
LONGEST_WAIT = 6.0
LOOK_EVERY = 0.2


class Failover:
    """
    What one thread of a worker knows of the life of Redis.

    ``noted``: it is the worker's own, which waits for the other hosts, and the slot notes whom it has met.
    ``hang_up`` ends what is still connected to the life before. An old master that does not know yet that it
    is none would register a worker there that takes its jobs here, into a hand of which nobody here knows.
    """

    def __init__(
        self,
        config: Config,
        slot: Slot,
        clock: Clock,
        stop: Stop,
        pausing: Callable[[float], None],
        *,
        noted: bool,
        hang_up: Callable[[], None],
    ) -> None:
        self._config = config
        self._slot = slot
        self._clock = clock
        self._stop = stop
        self._pausing = pausing
        self._noted = noted
        self._hang_up = hang_up
        self._era = slot.era
        self._lock = threading.Lock()

    @property
    def era(self) -> str:
        """The life of Redis that was met last."""
        return self._era

    def meet(self, era: str) -> None:
        """
        See to it that this life knows what this host does.

        Raises ``RedisUnavailable``, and ``RedisReplaced`` once after a change: what was asked before it is to
        be thought over.
        """
        with self._lock:
            if era == self._era:
                return
            self._tell(era)
            former, self._era = self._era, era
            if self._noted:
                self._slot.era = era
        if former:
            self._hang_up()
            raise RedisReplaced("it is another life of Redis")

    def _tell(self, era: str) -> None:
        answered = self._remembered(era)
        if not self._era and (not answered or self._slot.era == era):
            return  # the first life that this slot meets, or that its worker has met
        keys = Keys(self._config.queue.name)
        client = connect(self._config.redis)
        try:
            if era_of(client) != era:
                raise RedisReplaced("Redis has changed once more")
            news = replay(client, keys, answered, era)
            log.log(
                logging.WARNING if news else logging.INFO,
                "Redis is another one than before, or was started again: it was told of the last hand-overs, "
                "%s of which it did not know",
                news or "none",
                extra={"event": "redis.replayed", "news": news},
            )
            missing = partial(arrive, client, keys, self._slot.incarnation, era, told=self._noted)
            if self._era and missing() and self._noted:
                self._wait_for_others(missing)
        finally:
            client.close()

    def _remembered(self, era: str) -> list[Answered]:
        """
        What the board tells, all but which claims came to nothing where they may not be over.

        Whoever has met this life has told it all, and by now may have booked what its hand still shows: that
        is asked after its hand was read.
        """
        now, peers = self._clock.now(), self._slot.peers
        open_claims = _OpenClaims(peers, self._slot if self._noted else None)
        heard = ((slot, slot.recall(now)) for slot in peers if slot.era != era)
        words = (one for slot, told in heard if slot.era != era for one in told)
        return [replace(one, outcomes=tuple(open_claims.without(one))) for one in words]

    def _wait_for_others(self, missing: Callable[[], set[str]]) -> None:
        here = {slot.incarnation for slot in self._slot.peers}
        give_up = self._clock.monotonic() + LONGEST_WAIT
        self._pausing(LONGEST_WAIT)
        while missing() - here and self._clock.monotonic() < give_up and not self._stop:
            self._stop.wait(LOOK_EVERY)


class _OpenClaims:
    """
    Whose word that a claim came to nothing may not be the last: whoever lives may have claimed once more.

    Only for ``own`` is it known whom it has in hand. What the dead had in hand is on their rings.
    """

    def __init__(self, peers: Sequence[Slot], own: Slot | None) -> None:
        self._living = {slot.incarnation for slot in peers if slot is not own}
        group = own.read_group() if own else None
        recipients = group.recipients if group else ()
        self._own = own.incarnation if own else ""
        self._in_hand = {one.contact_id for one in recipients if one.phase is not Phase.OUTCOME}

    def without(self, told: Answered) -> Iterator[tuple[str, Kind | None]]:
        """All that is sure of what is told."""
        for contact_id, kind in told.outcomes:
            claimed = told.incarnation == self._own and contact_id in self._in_hand
            if kind is not Kind.WITHHELD or not (claimed or told.incarnation in self._living):
                yield contact_id, kind
