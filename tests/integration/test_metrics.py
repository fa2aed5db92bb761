"""``/metrics`` over the real queue and a real board: what Prometheus' own checker and a dashboard need."""

from __future__ import annotations

import json
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailerd.board import Board, Event, SlotState
from mailerd.outcome import Kind, State
from rigs import needs
from rigs.door import Door, job
from rigs.redis_server import RedisServer

DASHBOARD = Path(__file__).parents[2] / "systemd" / "grafana-dashboard.json"
LABELS = {"version", "python", "state", "outcome", "event", "worker", "le", "limit"}
LIMITS = {"per_second": 14, "clients": [{"client_id": "shop", "per_day": 1000}]}

Samples = dict[str, dict[str, float]]


@pytest.fixture
def door(valkey: RedisServer, tmp_path: Path) -> Iterator[Door]:
    """A door of a daemon whose two first workers have done everything that is counted."""
    board = Board.create(tmp_path, 3, 1)
    with Door(valkey.url, limits=LIMITS) as door:
        door.slots += board.slots
        for number, slot in enumerate(board.slots[:2], 1):
            slot.open("someone", 1, 0.0)
            slot.tally.event(Event.BORN, number)
            slot.tally.event(Event.LEASE_LOST)
            slot.tally.event(Event.LIMITED, 1 + number)
            slot.tally.outcome(Kind.SENT, 10 * number)
            slot.tally.outcome(Kind.UNKNOWN)
            slot.tally.handed_over(0.02 * number)
            slot.tally.picked_up(7.0)
            slot.state = SlotState.SENDING
        door.overview.events["recipient_unknown"] += 1
        yield door
    board.close()


def samples(door: Door) -> Samples:
    """Every sample by its name and its labels as they are written."""
    found: Samples = defaultdict(dict)
    for line in door.get("/metrics").body.decode().splitlines():
        if not line.startswith("#"):
            name, labels, value = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line).groups()  # type: ignore[union-attr]  # a line that does not match fails the test
            found[name][labels or ""] = float(value)
    return found


def test_promtool_has_nothing_to_say(door: Door) -> None:
    """Names, types, units and help texts follow the conventions."""
    program = needs.program("promtool", "the package prometheus")
    page = door.get("/metrics").body
    checked = subprocess.run([program, "check", "metrics"], input=page, capture_output=True, check=False)

    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_the_content_type_is_that_of_the_text_format(door: Door) -> None:
    """Prometheus chooses its parser by it."""
    assert door.get("/metrics").headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


def test_the_queue_is_told(door: Door) -> None:
    """Jobs, batches and recipients by state, and that nothing is missing."""
    door.post(job("b-1", "shop", "a", "b"))
    door.post(job("b-2", "shop", "a"))
    found = samples(door)

    assert found["mailerd_redis_up"] == {"": 1}
    assert found["mailerd_queue_jobs"] == {"": 2}
    assert found["mailerd_queue_oldest_seconds"][""] < 10
    assert found["mailerd_batches"]['state="open"'] == 2
    assert found["mailerd_recipients"] == {f'state="{state}"': 3 * (state == "queued") for state in State}
    assert found["mailerd_conservation_gap"] == {"": 0}


def test_workers_add_up(door: Door) -> None:
    """Outcomes, events and durations are sums over workers; a slot that nobody ever had is left out."""
    found = samples(door)

    assert found["mailerd_outcomes_total"]['outcome="sent"'] == 30
    assert found["mailerd_outcomes_total"]['outcome="failed"'] == 0
    assert found["mailerd_events_total"] == {
        'event="lease_lost"': 2,
        'event="lease_reaped"': 0,
        'event="death_settled"': 0,
        'event="recipient_busy"': 0,
        'event="recipient_limited"': 5,
        'event="recipient_unknown"': 3,
    }
    assert found["mailerd_worker_state"]['worker="1",state="sending"'] == 1
    assert found["mailerd_worker_state"]['worker="2",state="idle"'] == 0
    assert found["mailerd_worker_restarts_total"] == {'worker="1"': 0, 'worker="2"': 1}
    assert found["mailerd_worker_deaths_total"] == {'worker="1"': 0, 'worker="2"': 0}


def test_limits_are_told(door: Door, valkey: RedisServer) -> None:
    """What each lets through now and today, and what stands in line for it; nothing where there is none."""
    found = samples(door)

    assert found["mailerd_limit_rate"] == {'limit="route"': 14}
    assert found["mailerd_limit_in_use"] == {'limit="route"': 0}
    assert found["mailerd_limit_day_left"] == {'limit="client:shop"': 1000}
    assert found["mailerd_limit_slices_in_line"] == {'limit="route"': 0, 'limit="client:shop"': 0}
    with Door(valkey.url) as unlimited:
        assert not any(name.startswith("mailerd_limit") for name in samples(unlimited))


def test_histograms_count_what_is_at_most_their_bound(door: Door) -> None:
    """Each bucket holds all smaller ones; the last is the count."""
    found = samples(door)
    buckets = found["mailerd_hand_over_seconds_bucket"]

    assert [buckets[f'le="{bound}"'] for bound in ("0.01", "0.025", "0.05", "60", "+Inf")] == [0, 1, 2, 2, 2]
    assert list(buckets.values()) == sorted(buckets.values())
    assert found["mailerd_hand_over_seconds_count"] == {"": 2}
    assert found["mailerd_hand_over_seconds_sum"][""] == pytest.approx(0.06)
    assert found["mailerd_pick_up_seconds_bucket"]['le="5"'] == 0
    assert found["mailerd_pick_up_seconds_bucket"]['le="10"'] == 2


def test_labels_are_bounded(door: Door) -> None:
    """No batch, client or contact ever becomes a label, whatever comes in."""
    before = {name: set(of_name) for name, of_name in samples(door).items()}
    for number in range(20):
        door.post(job(f"b-{number}", f"client-{number}", f"contact-{number}"))
    after = {name: set(of_name) for name, of_name in samples(door).items()}
    names = {
        name for of_name in after.values() for labels in of_name for name in re.findall(r'(\w+)="', labels)
    }

    assert after == before | {"mailerd_queue_oldest_seconds": {""}}
    assert names == LABELS


def test_without_redis_the_daemon_is_still_told(redis_servers: object, tmp_path: Path) -> None:
    """The page comes within the time of a scrape, says so, and leaves out what nobody knows."""
    server = redis_servers().start()  # type: ignore[operator]  # the fixture's own type is in conftest
    with Door(server.url) as door:
        server.stop()
        answer = door.get("/metrics")
        found = samples(door)

    assert answer.status == 200
    assert found["mailerd_redis_up"] == {"": 0}
    assert "mailerd_build_info" in found
    assert "mailerd_outcomes_total" in found
    assert "mailerd_queue_jobs" not in found


def test_only_a_key_for_every_client_opens_the_metrics(valkey: RedisServer) -> None:
    """They count everybody's recipients, so a client's own key does not."""
    with Door(valkey.url, {"shop-token": "shop", "every-token": "*"}) as door:
        door.get("/metrics").problem(401)
        door.get("/metrics", key="shop-token").problem(403)
        assert door.get("/metrics", key="every-token").status == 200


def test_the_dashboard_asks_for_nothing_else(door: Door) -> None:
    """Every name and every label value in it exists; every family but the build's is shown somewhere."""
    found = samples(door)
    door.post(job("b-1"))
    found |= samples(door)
    queries = [
        target["expr"] for panel in json.loads(DASHBOARD.read_text())["panels"] for target in panel["targets"]
    ]
    asked = {name for query in queries for name in re.findall(r"mailerd_\w+", query)}
    states = {
        name
        for query in queries
        for names in re.findall(r'state!?=~?"([^"]+)"', query)
        for name in names.split("|")
    }
    known = {
        state
        for of_name in found.values()
        for labels in of_name
        for state in re.findall(r'state="(\w+)"', labels)
    }

    assert asked <= set(found) | {"mailerd_worker_uss_bytes"}
    assert states <= known
    assert {re.sub("_(bucket|sum|count)$", "", name) for name in found} - {"mailerd_redis_up"} <= {
        re.sub("_(bucket|sum|count)$", "", name) for name in asked
    }
