"""Fixtures of the contract tests: the same suite over fakeredis and over a real Valkey."""

from __future__ import annotations

from collections.abc import Iterator

import fakeredis
import pytest
import redis

from rigs.ledger_bench import LedgerBench
from rigs.redis_server import RedisServer


@pytest.fixture(params=["fakeredis", "valkey"])
def client(request: pytest.FixtureRequest) -> Iterator[redis.Redis]:
    """A client of an empty server, of each kind."""
    if request.param == "fakeredis":
        made: redis.Redis = fakeredis.FakeRedis()
    else:
        made = request.getfixturevalue("valkey").client()
    yield made
    made.close()


@pytest.fixture
def bench(client: redis.Redis) -> LedgerBench:
    """An empty queue."""
    return LedgerBench(client)


@pytest.fixture
def real_bench(valkey: RedisServer) -> Iterator[LedgerBench]:
    """An empty queue on the real server, for what fakeredis does not do: blocking, refusing when full."""
    client = valkey.client()
    yield LedgerBench(client, valkey.url)
    client.close()
