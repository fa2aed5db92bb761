"""
A master and its replicas under sentinels, as a run sees them: who is master now, and failovers as faults.

``master`` never waits: while the sentinels are silent it is whom they named last.
"""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import Self

import redis

from rigs.redis_server import RedisServer
from rigs.sentinels import Sentinels
from rigs.waiting import wait_until

REPLICAS = 2
# Milliseconds. A sentinel that was kept from running for 2 s does nothing for 30 s, and then takes no replica
# whose link to the dead master has been down for ten times this longer than it saw the master down.
QUICK = 3100
SUCCEEDED_WITHIN = 60.0
REJOINED_WITHIN = 30.0


class Group:
    """Use as a context manager."""

    def __init__(self, program: str, folder: Path) -> None:
        self._sentinels = Sentinels(program, folder, REPLICAS, quick=QUICK)
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="sentinels", daemon=True)
        self.master = self._sentinels.servers[0]

    @property
    def url(self) -> str:
        """As in ``redis.url``."""
        return self._sentinels.url

    def __enter__(self) -> Self:
        try:
            self._sentinels.start()
        except BaseException:
            self._sentinels.close()
            raise
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watcher.join()
        self._sentinels.close()

    def silence(self) -> None:
        """Stop the sentinels from answering."""
        self._sentinels.freeze()

    def listen(self) -> None:
        """Let them go on."""
        self._sentinels.thaw()

    def succeed(self, old: RedisServer) -> None:
        """Wait until another server than ``old`` is the master."""
        self.master = self._sentinels.wait_for_another(old, SUCCEEDED_WITHIN)

    def rejoin(self, old: RedisServer) -> None:
        """Wait until ``old`` is a replica again and every replica has its copy."""
        wait_until(lambda: self._is_whole(old), REJOINED_WITHIN, "a replica has no copy")

    def follow(self, old: RedisServer) -> None:
        """Let a server that was started again be a replica, as its configuration would say."""
        with contextlib.closing(old.client()) as client:
            client.replicaof("127.0.0.1", self.master.port)  # type: ignore[arg-type] # a port is a number

    def _is_whole(self, old: RedisServer) -> bool:
        with contextlib.suppress(redis.RedisError, OSError):
            with contextlib.closing(old.client(socket_timeout=1)) as client:
                facts = client.info("replication")
            with contextlib.closing(self.master.client(socket_timeout=1)) as client:
                copies = client.info("replication")["connected_slaves"]
            return facts["role"] == "slave" and facts["master_link_status"] == "up" and copies == REPLICAS
        return False

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            with contextlib.suppress(AssertionError, StopIteration):
                self.master = self._sentinels.master
