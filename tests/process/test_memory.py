"""What the daemon's processes share of their memory."""

from __future__ import annotations

from collections.abc import Callable

import psutil
import pytest

from rigs.daemon import Daemon
from rigs.redis_server import RedisServer

pytestmark = pytest.mark.slow

MB = 1 << 20


def board_of(process: psutil.Process) -> float:
    """The megabytes of the board that a process has looked at."""
    return float(sum(one.rss for one in process.memory_maps() if one.path.endswith("/state/board"))) / MB


def test_what_was_loaded_is_there_once(daemons: Callable[..., Daemon], valkey: RedisServer) -> None:
    """Main and those below it share most of what it had loaded; of the board each maps what it reads."""
    daemon = daemons({"redis": {"url": valkey.url}}).start()
    main = psutil.Process(daemon.pid)
    memory = main.memory_full_info()

    assert memory.uss < 0.4 * memory.rss
    for process in (main, daemon.supervisor(), *daemon.workers()):
        assert board_of(process) < 1
    assert daemon.term() == 0
