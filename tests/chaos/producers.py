"""
The producers of a run: HTTP with a repeat after each lost answer, and foreign LPUSH; what they were told.

One thread, which keeps so many recipients on their way; it stops where the run tells it to.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from collections.abc import Callable, Iterator

import redis

from chaos.fleet import Fleet
from chaos.jobs import Batch, Push

PATIENCE = 3.0  # seconds for an answer; then the same request again, to the other host


class Producers:
    """
    Pushes batches while fewer than ``backlog`` recipients are on their way.

    ``pause`` seconds pass between two batches. ``accepted``: what producers were told is safe, by batch.
    ``refused``: answers that must not come.
    """

    def __init__(
        self,
        fleet: Fleet,
        batches: Iterator[Batch],
        settled: Callable[[], int],
        *,
        backlog: int,
        most: int,
        pause: float,
    ) -> None:
        self.accepted: dict[str, set[str]] = {}
        self.promised: dict[str, int] = {}
        self.tried: dict[str, set[str]] = {}
        self.clients: dict[str, str] = {}
        self.refused: list[str] = []
        self.repeats = 0
        self.recipients = 0
        self.backlog = backlog
        self.held = False  # a fault wants the queue to be empty
        self._fleet = fleet
        self._batches = batches
        self._settled = settled
        self.most = most  # recipients that may be pushed so far
        self._pause = pause
        self._stop = threading.Event()
        self._turn = 0
        self._thread = threading.Thread(target=self._run, name="producers", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Push no new batch; what is being pushed is finished first."""
        self._stop.set()
        self._thread.join(60)

    def wait(self, seconds: float) -> None:
        """Let them push for a while."""
        self._thread.join(seconds)

    def drained(self) -> bool:
        """Whether they have nothing more to push."""
        return self.recipients >= self.most or not self._thread.is_alive()

    def _run(self) -> None:
        for batch in self._batches:
            while not self._stop.is_set() and self._has_enough():
                self._stop.wait(0.02)
            if self._stop.is_set():
                return
            self.tried[batch.batch_id] = set(batch.contact_ids)
            self.clients[batch.batch_id] = batch.pushes[0].client_id
            for push in batch.pushes:
                self._until_accepted(push)
            self.recipients += len(batch.contact_ids)
            self._stop.wait(self._pause)

    def _has_enough(self) -> bool:
        return self.held or self.recipients >= self.most or self.recipients - self._settled() >= self.backlog

    def _until_accepted(self, push: Push) -> None:
        send = self._post if push.http else self._lpush
        while not send(push):
            self.repeats += 1
            threading.Event().wait(0.1)
        self.accepted.setdefault(push.batch_id, set()).update(push.contact_ids)
        if push.http:
            self.promised[push.batch_id] = len(push.contact_ids)

    def _post(self, push: Push) -> bool:
        self._turn += 1
        host = self._fleet.hosts[self._turn % len(self._fleet.hosts)]
        connection = http.client.HTTPConnection("127.0.0.1", host.daemon.port, timeout=PATIENCE)
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
            connection.request("POST", "/queue", _body(push), {"Content-Type": "application/json"})
            response = connection.getresponse()
            said = response.read()
            if response.status not in (200, 202, 429, 503):
                self.refused.append(f"POST {push.batch_id}: {response.status} {said.decode()[:300]}")
            return response.status in (200, 202)
        return False

    def _lpush(self, push: Push) -> bool:
        client = self._fleet.redis.client(socket_timeout=PATIENCE)
        with contextlib.closing(client), contextlib.suppress(redis.RedisError, OSError):
            client.lpush("email_queue", _body(push))
            return self._fleet.group is None or int(client.wait(1, 1000)) > 0
        return False


def _body(push: Push) -> bytes:
    job = {
        "client_id": push.client_id,
        "contact_ids": list(push.contact_ids),
        "template_id": "plain",
        "batch_id": push.batch_id,
    }
    return json.dumps(job).encode()
