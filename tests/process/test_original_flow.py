"""The original system's flow, word for word, against Debian's own redis-server."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rigs import needs
from rigs.daemon import Daemon
from rigs.ports import free_port
from rigs.redis_server import RedisServer
from rigs.waiting import wait_until

Daemons = Callable[..., Daemon]
RECEIVED = (
    "New Job Received: {ClientID:test-client ContactIDs:[test1 test2] TemplateID:test-template BatchID:%s}"
)


@pytest.fixture
def debian_redis(redis_servers: Callable[..., RedisServer], debian_redis_program: str) -> RedisServer:
    """Debian's redis-server, append-only, running."""
    return redis_servers(debian_redis_program, append_only=True).start()


def redis_cli(server: RedisServer, *command: str) -> str:
    """What redis-cli prints."""
    program = needs.program("redis-cli", "the package redis-tools")
    run = subprocess.run(
        [program, "-p", str(server.port), *command], capture_output=True, check=True, text=True
    )
    return run.stdout.strip()


def received(daemon: Daemon, batch_id: str) -> int:
    """How often the log says that this job was received."""
    return daemon.log.count(f"BatchID:{batch_id}}}")


@pytest.mark.parametrize("fetch", ["blmove", "brpop"])
def test_the_original_flow(daemons: Daemons, debian_redis: RedisServer, fetch: str) -> None:
    """One POST and the three log lines; foreign and bad jobs; Redis away and back; a clean stop."""
    daemon = daemons({"queue": {"fetch": fetch}}, {"REDIS_ADDR": debian_redis.addr}).start()
    daemon.wait_for_line(f"Server starting on port {daemon.port}")
    daemon.wait_for_line("Worker started")

    batch_id = post_test(daemon)
    daemon.wait_for_line(RECEIVED % batch_id, 2)

    foreign = job("pushed-by-hand")
    assert redis_cli(debian_redis, "LPUSH", "email_queue", json.dumps(foreign)) == "1"
    daemon.wait_for_line("BatchID:pushed-by-hand}", 2)

    redis_cli(debian_redis, "LPUSH", "email_queue", "{")
    redis_cli(debian_redis, "LPUSH", "email_queue", json.dumps(job("after-a-bad-one")))
    daemon.wait_for_line("BatchID:after-a-bad-one}", 2)

    away_and_back(daemon, debian_redis)

    wait_until(
        lambda: redis_cli(debian_redis, "LLEN", "email_queue") == "0", message="the queue is not empty"
    )
    assert [received(daemon, batch) for batch in (batch_id, "pushed-by-hand", "after-a-bad-one")] == [1, 1, 1]
    assert daemon.term() == 0
    assert daemon.survivors() == []


def job(batch_id: str) -> dict[str, Any]:
    """A job such as the original's example."""
    return {
        "client_id": "c",
        "contact_ids": ["c1", "c2"],
        "template_id": "welcome-email",
        "batch_id": batch_id,
    }


def post_test(daemon: Daemon) -> str:
    """POST /queue/test as curl does, its answer checked; the new batch."""
    answer = daemon.post("/queue/test")
    assert answer.status == 200
    assert answer.json == {"queued": True, "batch_id": answer.json["batch_id"]}
    assert uuid.UUID(answer.json["batch_id"]).version == 4
    return str(answer.json["batch_id"])


def away_and_back(daemon: Daemon, redis: RedisServer) -> None:
    """While Redis is away an enqueue fails at once; once it is back, the same processes go on."""
    pids = {worker.pid for worker in daemon.workers()}
    redis.stop()
    answer = daemon.post("/queue/test")
    assert (answer.status, answer.headers["Content-Type"]) == (500, "application/problem+json")
    wait_until(lambda: daemon.get("/readyz").status == 503, 3, "ready without Redis")
    redis.start()
    wait_until(lambda: daemon.get("/readyz").status == 200, 10, "not ready after Redis came back")
    daemon.wait_for_line(RECEIVED % post_test(daemon), 10)
    assert {worker.pid for worker in daemon.workers()} == pids


def test_without_workers_the_job_can_be_looked_at(daemons: Daemons, debian_redis: RedisServer) -> None:
    """With workers.processes = 0 redis-cli shows the job in the list, exactly as JSON of the four fields."""
    daemon = daemons({"workers": {"processes": 0}}, {"REDIS_ADDR": debian_redis.addr}).start()
    batch_id = post_test(daemon)

    assert redis_cli(debian_redis, "LLEN", "email_queue") == "1"
    assert json.loads(redis_cli(debian_redis, "LRANGE", "email_queue", "0", "-1")) == {
        "client_id": "test-client",
        "contact_ids": ["test1", "test2"],
        "template_id": "test-template",
        "batch_id": batch_id,
    }
    assert daemon.term() == 0


def test_redis_down_at_start_is_fatal(daemons: Daemons) -> None:
    """HTTP answers meanwhile, and after startup_timeout the exit code is 69."""
    nowhere = {"REDIS_ADDR": f"127.0.0.1:{free_port()}"}
    daemon = daemons({"redis": {"startup_timeout": 2}}, nowhere).start(ready=False)
    wait_until(lambda: "Server starting" in daemon.log, 5, daemon.tail)

    assert daemon.get("/readyz").status == 503
    assert daemon.get("/healthz").status == 200
    assert daemon.wait(6) == 69
    assert "Traceback" not in daemon.log
    assert daemon.survivors() == []


def test_redis_that_comes_late_is_no_failure(
    daemons: Daemons, redis_servers: Callable[..., RedisServer], valkey_program: str
) -> None:
    """Within startup_timeout Redis may still come up."""
    server = redis_servers(valkey_program)
    daemon = daemons({}, {"REDIS_ADDR": server.addr}).start(ready=False)
    wait_until(lambda: "Server starting" in daemon.log, 5, daemon.tail)
    server.start()
    daemon.wait_for_line("Worker started", 8)
    wait_until(lambda: daemon.get("/readyz").status == 200, 5, daemon.tail)

    assert daemon.term() == 0


def test_a_port_in_use_is_named_with_its_holder(daemons: Daemons, valkey: RedisServer) -> None:
    """The second daemon on a port ends with 71 and says which process holds it."""
    first = daemons({"redis": {"url": valkey.url}}).start()
    second = daemons({"redis": {"url": valkey.url}, "api": {"port": first.port}}).start(ready=False)

    assert second.wait(10) == 71
    assert str(first.port) in second.log
    assert str(first.pid) in second.log
    assert "Traceback" not in second.log


def test_unknown_keys_are_all_named(daemons: Daemons, tmp_path: Path) -> None:
    """A bad configuration ends with 78 before anything starts, with every problem and its path."""
    sections = {"smtp": {"prot": 25}, "queue": {"slice": 0}, "typo": {"x": 1}}
    daemon = daemons(sections).start(ready=False)

    assert daemon.wait(10) == 78
    for path in ("smtp.prot", "queue.slice", "typo"):
        assert path in daemon.log
    assert "Traceback" not in daemon.log
