"""Restarts that no client notices: the socket is held, the old daemon drains, the new one takes over."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from rigs.clients import Client
from rigs.daemon import Daemon
from rigs.redis_server import RedisServer
from rigs.waiting import wait_until

Daemons = Callable[..., Daemon]
CLIENTS = 24


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
