"""The connections that the enqueue calls keep at hand, against a real server behind a proxy."""

from __future__ import annotations

import threading
from typing import Any

from mailerd.clock import SystemClock
from mailerd.config import Config
from mailerd.queue.enqueue import Enqueuer
from mailerd.queue.model import Admission
from rigs.ledger_bench import job
from rigs.proxy import Proxy
from rigs.redis_server import RedisServer


def test_when_all_kept_connections_have_died_the_next_request_is_queued_all_the_same(
    valkey: RedisServer,
) -> None:
    """Who finds one dead gives them all up, and tries once more on a new one."""
    with Proxy(valkey.port, delay=0.1) as proxy:
        config = Config.model_validate({"redis": {"url": f"redis://127.0.0.1:{proxy.port}/0"}})
        enqueuer = Enqueuer.of(config, SystemClock())
        told: list[Any] = []
        threads = [
            threading.Thread(target=lambda n=n: told.append(enqueuer.enqueue(job(["a"], f"kept-{n}"), "r")))
            for n in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        proxy.cut()
        told.append(enqueuer.enqueue(job(["a"], "kept-after"), "r"))
    assert [each.admission for each in told] == [Admission.QUEUED] * 5
