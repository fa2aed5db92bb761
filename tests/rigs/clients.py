"""Clients that post one batch after the other while something happens to the daemon."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable

from rigs.waiting import wait_until


class Client:
    """
    Posts one batch after the other, on one connection or on a new one each; remembers every answer.

    Each batch has one recipient, whose address begins with the batch's id.
    """

    def __init__(
        self, port: int, name: str, *, keep_alive: bool, template_id: str = "t", pause: float = 0.02
    ) -> None:
        self.accepted: list[str] = []
        self.failures: list[str] = []
        self._port, self._name, self._keep_alive = port, name, keep_alive
        self._template_id, self._pause = template_id, pause
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let it finish the request in hand."""
        self._done.set()
        self._thread.join(30)
        assert not self._thread.is_alive(), "a request hangs"

    def _run(self) -> None:
        connection = None
        number = 0
        while not self._done.wait(self._pause):
            number += 1
            connection = connection or http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
            try:
                self._post(connection, f"{self._name}-{number}")
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(f"{self._name}-{number}: {error!r}")
                connection.close()
                connection = None
            if not self._keep_alive and connection is not None:
                connection.close()
                connection = None
        if connection is not None:
            connection.close()

    def _post(self, connection: http.client.HTTPConnection, batch_id: str) -> None:
        job = {
            "client_id": "c",
            "contact_ids": [f"{batch_id}@example.com"],
            "template_id": self._template_id,
            "batch_id": batch_id,
        }
        connection.request("POST", "/queue", json.dumps(job), {"Content-Type": "application/json"})
        response = connection.getresponse()
        body = response.read()
        if response.status == 202 and json.loads(body)["batch_id"] == batch_id:
            self.accepted.append(batch_id)
        else:
            self.failures.append(f"{batch_id}: {response.status} {body[:200]!r}")


def several(number: int, port: int, pause: float) -> list[Client]:
    """So many clients, every second one keep-alive."""
    return [
        Client(port, f"client{n}", keep_alive=n % 2 == 0, template_id="plain", pause=pause)
        for n in range(number)
    ]


def accepted(clients: list[Client]) -> list[str]:
    """The batches that they were told are accepted."""
    return [batch for client in clients for batch in client.accepted]


def wait_for_more(clients: list[Client], batches: int, told: Callable[[], str]) -> None:
    """Wait until so many more batches are accepted; ``told`` is what the service says if they are not."""
    wanted = len(accepted(clients)) + batches
    wait_until(lambda: len(accepted(clients)) >= wanted, 30.0, lambda: told()[-3000:])
