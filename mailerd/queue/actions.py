"""
An operator's word on a whole batch: cancel, pause, resume, retry.

In force at once: every claim of a recipient asks for it. What takes longer, such as settling the rows of a
cancelled batch, is left to the janitor of any daemon. Called by the API and the commands.
"""

from __future__ import annotations

import redis

from mailerd.queue.copies import run_confirmed
from mailerd.queue.keys import Keys
from mailerd.queue.model import Action, Effect


class Actions:
    """What can be done with the batches of one queue."""

    def __init__(self, client: redis.Redis, keys: Keys, replicas: int = 0) -> None:
        self._client = client
        self._replicas = replicas
        self._keys = keys

    def act(self, action: Action, client_id: str, batch_id: str) -> Effect:
        """
        Carry it out. Raises ``RedisUnavailable``.

        ``retry`` opens again whoever failed, was invalid or expired; it does not touch unknown ones, which
        want somebody to look, nor a cancelled batch.
        """
        tag = f"{client_id}/{batch_id}"
        keys = [self._keys.batch(tag), self._keys.ended, self._keys.sweeps]
        return Effect(run_confirmed(self._client, "act", keys, [tag, action], self._replicas).decode())
