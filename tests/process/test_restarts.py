"""Restarts that no client notices: the socket is held, the old daemon drains, the new one takes over."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Callable

import pytest

from rigs.daemon import Daemon
from rigs.redis_server import RedisServer
from rigs.waiting import wait_until

Daemons = Callable[..., Daemon]
CLIENTS = 24


class Client:
    """Posts one batch after the other, on one connection or on a new one each; remembers every answer."""

    def __init__(self, port: int, name: str, *, keep_alive: bool) -> None:
        self.accepted: list[str] = []
        self.failures: list[str] = []
        self._port, self._name, self._keep_alive = port, name, keep_alive
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._done.set()
        self._thread.join(30)
        assert not self._thread.is_alive(), "a request hangs"

    def _run(self) -> None:
        connection = None
        number = 0
        while not self._done.wait(0.02):
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
        job = {"client_id": "c", "contact_ids": ["a"], "template_id": "t", "batch_id": batch_id}
        connection.request("POST", "/queue", json.dumps(job), {"Content-Type": "application/json"})
        response = connection.getresponse()
        body = response.read()
        if response.status == 202 and json.loads(body)["batch_id"] == batch_id:
            self.accepted.append(batch_id)
        else:
            self.failures.append(f"{batch_id}: {response.status} {body[:200]!r}")


@pytest.mark.parametrize("restarts", [2, pytest.param(10, marks=pytest.mark.slow)])
@pytest.mark.covers("supervisor-30", "supervisor-31")
def test_no_request_fails_over_restarts(daemons: Daemons, valkey: RedisServer, restarts: int) -> None:
    """24 clients, half of them keep-alive, get 202 for each request; each batch is worked off once."""
    daemon = daemons({"redis": {"url": valkey.url}, "queue": {"max_length": 0}})
    daemon.listener = socket.create_server(("127.0.0.1", daemon.port), backlog=1024)
    daemon.start()
    clients = [Client(daemon.port, f"client{n}", keep_alive=n % 2 == 0) for n in range(CLIENTS)]
    for _ in range(restarts):
        before = sum(len(client.accepted) for client in clients)
        wait_until(lambda before=before: sum(len(one.accepted) for one in clients) > before + 100, 20)
        assert daemon.term() == 0
        daemon.start()
    for client in clients:
        client.stop()

    assert [failure for client in clients for failure in client.failures] == []
    accepted = [batch for client in clients for batch in client.accepted]
    redis = valkey.client()
    wait_until(lambda: redis.llen("email_queue") == 0, 20)
    wait_until(lambda: redis.zcard("{email_queue}:ended") == len(accepted), 20)
    assert daemon.log.count("New Job Received") == len(accepted) == len(set(accepted))
    redis.close()
    daemon.listener.close()
