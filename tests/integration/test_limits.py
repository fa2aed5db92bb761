"""Limits as workers meet them, in this process: who waits, who does not, and what the batch says."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mailerd.config import Limits
from mailerd.contacts import Contact
from mailerd.outcome import Kind, Outcome
from mailerd.queue.payloads import Slice, parse
from mailerd.queue.upkeep import Upkeep
from rigs.ledger_bench import LedgerBench, contacts, job
from rigs.office import Office
from rigs.redis_server import RedisServer
from rigs.waiting import wait_until

Limited = Callable[..., Office]
THROTTLED = Outcome(Kind.THROTTLED, "454 Throttling failure")


@pytest.fixture
def limited(tmp_path: Path, valkey: RedisServer) -> Limited:
    """An office with limits: ``limited(per_second=5)``."""

    def made(**limits: Any) -> Office:
        return Office(LedgerBench(valkey.client(), valkey.url), tmp_path, "outbox", limits)

    return made


@pytest.mark.covers("queues-38")
def test_a_limited_client_holds_up_nobody_else(limited: Limited) -> None:
    """What its limit does not let through at once stands in line, and is called up at the limit's rate."""
    office = limited(clients=[{"client_id": "shop", "per_second": 4}])
    bench, man = office.bench, office.hire()
    upkeep = Upkeep(bench.client, bench.keys, office.config, bench.clock)
    bench.push(job(contacts(10)), job(contacts(10, 10), client="club"))
    began = time.monotonic()
    man.works()
    man.works()
    at_once = list(office.post.got)
    waiting = bench.batches.find("b1", "shop")[0].waiting_for

    def worked_off() -> bool:
        upkeep.call_up()
        while bench.queue():
            man.works()
        return bench.counts() == {"sent": 10}

    wait_until(worked_off, 10)
    took = time.monotonic() - began

    assert len(at_once) == 4 + 10
    assert waiting is not None
    assert waiting.startswith("client shop gets 4 mails a second; the next at ")
    assert 2.0 <= took < 4.0
    assert sorted(office.post.got) == sorted(contacts(20))
    assert bench.batches.find("b1", "shop")[0].waiting_for is None
    bench.assert_conserved()


@pytest.mark.parametrize(("limits", "largest"), [({"per_second": 3}, 3), ({"per_second": 0.2}, 1), ({}, 10)])
def test_a_slice_is_what_the_route_lets_through_in_a_second(
    limited: Limited, limits: dict[str, float], largest: int
) -> None:
    """So a short job waits a second for each worker, however slow the limit is; else the setting holds."""
    office = limited(**limits)
    bench, man = office.bench, office.hire()
    bench.push(job(contacts(150)))
    man.works()

    slices = [parse(raw, 2**20) for raw in bench.client.lrange(bench.keys.side("shop/b1"), 0, -1)]
    sizes = [len(each.contact_ids) for each in slices if isinstance(each, Slice)]
    assert (max(sizes), sum(sizes)) == (largest, 150)


def in_line(office: Office, name: str = "client:shop") -> list[list[str]]:
    """Who stands in this line, piece by piece."""
    bench = office.bench
    pieces = [parse(raw, 2**20) for raw in bench.client.lrange(bench.keys.line(name), 0, -1)]
    return [list(piece.contact_ids) for piece in pieces if isinstance(piece, Slice)]


def test_nobody_passes_those_who_stand_in_line(limited: Limited) -> None:
    """A job that comes when a permit is free again stands behind them, and they are called up first."""
    office = limited(clients=[{"client_id": "shop", "per_second": 2}])
    bench, man = office.bench, office.hire()
    upkeep = Upkeep(bench.client, bench.keys, office.config, bench.clock)
    bench.push(job(contacts(4)))
    man.works()
    bench.client.delete(f"{bench.keys.limit('client:shop')}:rest")
    bench.push(job(contacts(1, 4), batch="b2"), job(contacts(1, 5), client="club"))
    man.works()
    man.works()

    assert sorted(office.post.got) == ["c0", "c1", "c5"]
    assert in_line(office) == [["c2", "c3"], ["c4"]]
    assert bench.batches.find("b2", "shop")[0].waiting_for == "others stand in line for client shop"
    upkeep.call_up()
    man.works()
    assert sorted(office.post.got) == ["c0", "c1", "c2", "c3", "c5"]


def test_who_is_called_up_in_vain_stands_in_front_again(limited: Limited) -> None:
    """Its permits may have gone to somebody else meanwhile: it loses nothing by that."""
    office = limited(clients=[{"client_id": "shop", "per_second": 2}])
    bench, man, other = office.bench, office.hire(), office.hire()
    upkeep = Upkeep(bench.client, bench.keys, office.config, bench.clock)
    bench.push(job(contacts(8)))
    man.works()
    bench.client.delete(f"{bench.keys.limit('client:shop')}:rest")
    upkeep.call_up()
    assert other.handler._delivery is not None
    other.handler._delivery._limiter.take("shop", ["a@b.test"] * 2, called=True)
    man.works()

    assert len(office.post.got) == 2
    assert in_line(office) == [["c2", "c3"], ["c4", "c5"], ["c6", "c7"]]


def test_the_permits_of_the_dead_hold_no_line_up(limited: Limited) -> None:
    """Also where all who would ask for a permit stand in line themselves."""
    office = limited(clients=[{"client_id": "shop", "per_second": 2}])
    bench, man, dead = office.bench, office.hire(), office.hire()
    upkeep = Upkeep(bench.client, bench.keys, office.config, bench.clock)
    assert dead.handler._delivery is not None
    dead.handler._delivery._limiter.take("shop", ["a@b.test"] * 2)
    bench.push(job(contacts(2)))
    man.works()
    assert office.post.got == []
    dead.hands.die()
    wait_until(upkeep.call_up, 5)
    man.works()

    assert sorted(office.post.got) == ["c0", "c1"]


def test_a_limit_that_is_taken_away_leaves_nobody_in_line(limited: Limited) -> None:
    """Whoever stood in line for what the configuration no longer limits comes back to the queue."""
    office = limited(clients=[{"client_id": "shop", "per_second": 2}])
    bench, man = office.bench, office.hire()
    bench.push(job(contacts(6)))
    man.works()
    office.config = office.config.model_copy(update={"limits": Limits()})
    man = office.hire()
    upkeep = Upkeep(bench.client, bench.keys, office.config, bench.clock)
    upkeep.tend()
    while bench.queue():
        man.works()

    assert bench.counts() == {"sent": 6}
    assert in_line(office) == []
    assert not bench.client.exists(bench.keys.lines)
    bench.assert_conserved()


def test_a_limited_domain_holds_up_its_own_only(limited: Limited) -> None:
    """Its recipients stand in line, and the others of the slice have gone."""
    office = limited(domains=[{"domain": "example.com", "per_day": 3}])
    bench, man = office.bench, office.hire()
    far = {f"f{n}": Contact(f"f{n}", f"f{n}@other.test", {"name": "f"}) for n in range(4)}
    office.post.people.update(far)
    bench.push(job([*contacts(6), *far]))
    man.works()

    assert bench.counts() == {"sent": 3 + 4, "queued": 3}
    waiting = bench.batches.find("b1", "shop")[0].waiting_for
    assert waiting is not None
    assert waiting.startswith("the 3 mails that example.com gets in 24 hours are used up; the next by ")
    assert len(bench.client.lrange(bench.keys.line("domain:example.com"), 0, -1)) == 1


@pytest.mark.covers("mail-25")
def test_a_hundred_throttled_tries_are_no_attempt(limited: Limited) -> None:
    """However often it throttles, nobody is tried before the time; the first deferral is attempt one."""
    office = limited(per_second=0.3)
    bench, man = office.bench, office.hire()
    tries: list[str] = []
    office.post.before = tries.append
    office.post.outcomes["c0"] = THROTTLED
    bench.push(job(["c0"]))
    for _ in range(100):
        assert man.works().startswith("the route gets 0.2")
        tried = len(tries)
        man.works()
        assert len(tries) == tried
        bench.client.delete(f"{bench.keys.limit('route')}:rest")
    assert len(tries) == 100
    office.post.outcomes["c0"] = Outcome(Kind.DEFERRED, "450 later")
    man.works()

    assert bench.rows()["c0"].split(",")[2] == "1"
