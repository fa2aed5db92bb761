"""
A worker meets another life of Redis: it tells it what the board remembers, before it asks it for anything.

After a failover, or a crash, Redis may have forgotten what it acknowledged last: that somebody was claimed,
or has got the mail. So each new connection of a worker looks whose it is. Is it another life than the last
one, the whole board is replayed, the hands and rings of all workers of this host, and the workers of other
hosts are waited for a while, since they do the same. Until then nothing else goes over that connection.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial

from mailerd.board import Slot
from mailerd.clock import Clock, Stop
from mailerd.config import Config
from mailerd.errors import RedisUnavailable
from mailerd.queue.connection import connect
from mailerd.queue.eras import arrive, era_of, replay
from mailerd.queue.keys import Keys

log = logging.getLogger(__name__)

# Seconds: a worker that waits for Redis looks again after 5 s at the latest.
LONGEST_WAIT = 6.0
LOOK_EVERY = 0.2


class Failover:
    """
    What one thread of a worker knows of the life of Redis.

    ``noted``: it is the worker's own, which waits for the other hosts, and the slot notes whom it has met.
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
    ) -> None:
        self._config = config
        self._slot = slot
        self._clock = clock
        self._stop = stop
        self._pausing = pausing
        self._noted = noted
        self._era = slot.era
        self._lock = threading.Lock()

    def meet(self, era: str) -> None:
        """Return once that life knows what this host does. Raises ``RedisUnavailable``."""
        with self._lock:
            if era != self._era:
                self._tell(era)
                self._era = era
                if self._noted:
                    self._slot.era = era

    def _tell(self, era: str) -> None:
        answered = [one for slot in self._slot.peers for one in slot.recall(self._clock.now())]
        if not answered and not self._era:
            return  # the first life that this slot meets
        keys = Keys(self._config.queue.name)
        client = connect(self._config.redis)
        try:
            if era_of(client) != era:
                raise RedisUnavailable("Redis has changed once more")
            news = replay(client, keys, answered)
            log.warning(
                "Redis is another one than before, or was started again: it was told of the last hand-overs, "
                "%d of which it did not know",
                news,
                extra={"event": "redis.replayed", "news": news},
            )
            missing = partial(arrive, client, keys, self._slot.incarnation, era)
            if self._era and missing() and self._noted:
                self._wait_for_others(missing)
        finally:
            client.close()

    def _wait_for_others(self, missing: Callable[[], set[str]]) -> None:
        here = {slot.incarnation for slot in self._slot.peers}
        give_up = self._clock.monotonic() + LONGEST_WAIT
        self._pausing(LONGEST_WAIT)
        while missing() - here and self._clock.monotonic() < give_up and not self._stop:
            self._stop.wait(LOOK_EVERY)
