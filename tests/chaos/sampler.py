"""
Conservation at every sample: one read of a batch's counters, which must add up to its recipients.

Also what was promised by a 202 must never be missing from them. A thread that reads Redis directly.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from typing import Any

import redis

from chaos.fleet import Fleet
from chaos.producers import Producers
from mailerd.outcome import State

NAMES = ("recipients", *State)
NEWEST = 12  # batches that are looked at in each round


def trouble(batch_id: str, says: Mapping[str, int], promised: int) -> str:
    """What is wrong with one read of a batch's counters; empty when nothing is."""
    total = sum(says[state] for state in State)
    if total != says["recipients"] or min(says.values()) < 0:
        return f"batch {batch_id}: {says['recipients']} recipients, and its states make {total}: {dict(says)}"
    if says["recipients"] < promised:
        return f"batch {batch_id}: {promised} were promised, it counts {says['recipients']}"
    return ""


class Sampler:
    """Samples until ``stop``; ``breaches`` are what it saw, each kind once a batch."""

    def __init__(self, fleet: Fleet, producers: Producers) -> None:
        self.samples = 0
        self.breaches: dict[str, str] = {}
        self._fleet = fleet
        self._producers = producers
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stop.set()
        self._thread.join()

    def sample(self) -> None:
        """Look at the newest batches."""
        promised = dict(self._producers.promised)
        tags = [
            (each, f"{self._producers.clients[each]}/{each}")
            for each in list(self._producers.clients)[-NEWEST:]
        ]
        client: Any = self._fleet.redis.client(socket_timeout=2)
        with contextlib.closing(client), contextlib.suppress(redis.RedisError, OSError):
            look = client.pipeline(transaction=False)
            for _, tag in tags:
                look.hmget(f"{{email_queue}}:batch:{tag}", *NAMES)
            for (batch_id, _), values in zip(tags, look.execute(), strict=True):
                says = dict(zip(NAMES, (int(value or 0) for value in values), strict=True))
                self.samples += 1
                if wrong := trouble(batch_id, says, promised.get(batch_id, 0)):
                    self.breaches.setdefault(batch_id, wrong)

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            self.sample()
