"""A master, its replicas and the sentinels that watch them, all real processes on ports of the loopback."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
import redis

from rigs.ports import free_port
from rigs.redis_server import RedisServer
from rigs.waiting import wait_until

MASTER = "mymaster"


class Sentinels:
    """
    A replication group under three sentinels that fail over within about a second.

    ``servers[0]`` begins as the master; ``master`` is whom the sentinels name now.
    """

    def __init__(self, program: str, folder: Path, replicas: int = 2, *, quick: int = 700) -> None:
        self._program = program
        self._folder = folder
        self._quick = quick  # milliseconds without an answer after which a server counts as down
        made = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")
        self.servers = [
            RedisServer(program, folder / f"server{number}", settings=made) for number in range(replicas + 1)
        ]
        self._ports = [free_port() for _ in range(3)]
        self._sentinels: list[subprocess.Popen[bytes]] = []

    @property
    def url(self) -> str:
        """As in ``redis.url``."""
        return f"redis+sentinel://{','.join(f'127.0.0.1:{port}' for port in self._ports)}/{MASTER}/0"

    @property
    def master(self) -> RedisServer:
        """Whom the first sentinel that answers names."""
        for port in self._ports:
            with contextlib.suppress(redis.RedisError), self._asking(port) as client:
                named = client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER)
                return next(server for server in self.servers if server.port == int(named[1]))
        raise AssertionError("no sentinel answers")

    @property
    def replicas(self) -> list[RedisServer]:
        """The others, alive or not."""
        return [server for server in self.servers if server is not self.master]

    def start(self) -> Self:
        """Start everything; return once every sentinel knows the others and every replica."""
        for server in self.servers:
            server.start()
        for server in self.servers[1:]:
            with contextlib.closing(server.client()) as client:
                client.replicaof("127.0.0.1", self.servers[0].port)  # type: ignore[arg-type] # a port is a number
        for port in self._ports:
            self._begin(port)
        wait_until(self._complete, 30, "the sentinels do not know everybody")
        return self

    def freeze(self) -> None:
        """Stop the sentinels from answering."""
        for process in self._sentinels:
            psutil.Process(process.pid).suspend()

    def thaw(self) -> None:
        """Let them go on."""
        for process in self._sentinels:
            psutil.Process(process.pid).resume()

    def failover(self) -> RedisServer:
        """Kill the master; return the new one once it takes writes."""
        old = self.master
        old.kill()
        return self.wait_for_another(old)

    def wait_for_another(self, than: RedisServer, deadline: float = 30.0) -> RedisServer:
        """Wait until the sentinels have made another server the master."""

        def there() -> bool:
            new = self.master
            with contextlib.suppress(redis.RedisError), contextlib.closing(new.client()) as client:
                return new is not than and client.info("replication")["role"] == "master"
            return False

        wait_until(there, deadline, "no failover")
        return self.master

    def close(self) -> None:
        """End everything; never fails."""
        for process in self._sentinels:
            process.kill()
            process.wait()
        for server in self.servers:
            server.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self, port: int) -> None:
        folder = self._folder / f"sentinel{port}"
        folder.mkdir(parents=True)
        lines = [
            f"port {port}",
            "bind 127.0.0.1",
            f"sentinel monitor {MASTER} 127.0.0.1 {self.servers[0].port} 2",
            f"sentinel down-after-milliseconds {MASTER} {self._quick}",
            f"sentinel failover-timeout {MASTER} 3000",
            f"sentinel parallel-syncs {MASTER} 2",
        ]
        (folder / "sentinel.conf").write_text("\n".join(lines) + "\n")
        command = [self._program, str(folder / "sentinel.conf"), "--sentinel"]
        with (folder / "sentinel.log").open("ab") as log:
            self._sentinels.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=folder))

    def _complete(self) -> bool:
        for port in self._ports:
            try:
                with self._asking(port) as client:
                    state = client.sentinel_master(MASTER)
            except redis.RedisError:
                return False
            if state["num-other-sentinels"] < 2 or state["num-slaves"] < len(self.servers) - 1:
                return False
        with contextlib.closing(self.servers[0].client()) as client:
            connected: int = client.info("replication")["connected_slaves"]
        return connected == len(self.servers) - 1

    def _asking(self, port: int) -> contextlib.closing[redis.Redis]:
        return contextlib.closing(redis.Redis(port=port, socket_timeout=1))
