"""The whole machine is booted: mailerd goes on where it was, also after a power cut, or waits for Redis."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rigs.daemon import Sections
from rigs.project import address
from rigs.service import UNIT, Service
from rigs.sink import Sink
from rigs.waiting import wait_until

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(900)]

CONTACTS = [f"user{n}" for n in range(1, 201)]
STARTS_ALLOWED = 5  # by systemd's default, in 10 s
MOST_IN_HAND = 8  # 2 workers with 4 connections each


@pytest.fixture
def redis_on_disk(service: Service) -> Iterator[None]:
    """Redis writes each change down before it answers; undone after the test."""
    redis = service.container
    redis.run("redis-cli", "CONFIG", "SET", "appendonly", "yes")
    redis.run("redis-cli", "CONFIG", "SET", "appendfsync", "always")
    redis.run("redis-cli", "CONFIG", "REWRITE")
    yield
    redis.run("redis-cli", "CONFIG", "SET", "appendonly", "no")
    redis.run("redis-cli", "CONFIG", "REWRITE")


@pytest.fixture
def no_redis_at_boot(service: Service) -> Iterator[None]:
    """Redis is started by hand only; undone after the test."""
    service.systemctl("disable", "redis-server")
    yield
    # Enabled while it runs, it would get its alias back, and systemd would take it for stopped.
    service.systemctl("stop", "redis-server")
    service.systemctl("enable", "redis-server")


def test_redis_comes_long_after_the_boot(
    service: Service, sections: Sections, no_redis_at_boot: None
) -> None:
    """Started at boot without Redis it is not active, and never gives up; it is soon after Redis is there."""
    machine = service.container
    # So short that it is started more often than systemd allows by default.
    service.configure(sections | {"redis": {"startup_timeout": 0.1}})
    machine.reboot()

    with machine.network():  # a new one
        assert service.systemctl("is-enabled", UNIT).strip() == "enabled"
        assert service.systemctl("is-active", "redis-server", check=False).strip() == "inactive"
        wait_until(lambda: service.restarts >= STARTS_ALLOWED + 1, 60.0, service.journal)
        assert service.state == "activating"
        service.systemctl("start", "redis-server")
        wait_until(lambda: service.is_up, 30.0, service.journal)


@pytest.mark.parametrize("how", ["reboot", "power cut"])
def test_the_machine_goes_down_in_mid_batch(
    service: Service, sections: Sections, sink: Sink, redis_on_disk: None, how: str
) -> None:
    """After the boot the batch is finished by itself: nobody twice; unknown at most who was in hand."""
    machine = service.container
    service.start()
    sink.behave(delay=0.05)
    service.post("spring", CONTACTS)
    sink.wait_for(20)

    if how == "reboot":
        machine.reboot()
    else:
        machine.cut_the_power()
        machine.boot()

    assert len(sink.mails()) < len(CONTACTS)
    sink.stop()
    sink.behave()
    with machine.network():  # a new one
        sink.start()
        wait_until(lambda: service.is_up, 30.0, service.journal)
        wait_until(lambda: service.batch("spring")["state"] in {"done", "needs_attention"}, 90.0)
        counts = service.batch("spring")["counts"]
    mailed = sink.recipients()
    assert set(mailed) <= {address(contact) for contact in CONTACTS}
    assert set(mailed.values()) == {1}
    assert counts["sent"] + counts.get("unknown", 0) == len(CONTACTS)
    assert counts.get("unknown", 0) <= (0 if how == "reboot" else MOST_IN_HAND)
