"""A dry run over the real door, queue and process: what is told, and that nothing comes of it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mailerd.clock import SystemClock
from mailerd.config import Config
from mailerd.job import EmailJob
from mailerd.preflight.apart import Apart
from rigs.door import Door, job
from rigs.redis_server import RedisServer

ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


@pytest.fixture
def door(valkey: RedisServer) -> Iterator[Door]:
    with Door(valkey.url) as door:
        yield door


def configured(folder: Path, text: str) -> Config:
    """A configuration with the template hello of this text."""
    template = folder / "hello"
    template.mkdir()
    (template / "subject.txt").write_text("Hello")
    (template / "body.txt").write_text(text)
    mail = {"transport": "outbox", "from": "a@example.com"}
    return Config.model_validate({"mail": mail, "templates": {"path": str(folder)}})


def test_a_dry_run_tells_and_queues_nothing(door: Door, valkey: RedisServer, tmp_path: Path) -> None:
    """By the configuration in force; of many contacts the first hundred are looked at."""
    door.gate.config = configured(tmp_path, "Hello {{ code }}")
    contacts = [f"c{number}@example.org" for number in range(149)]

    answer = door.post(job("b-1", "shop", "nobody", *contacts), "/queue?dry_run=1")

    assert answer.status == 200
    said = answer.json
    assert (said["queued"], said["batch_id"], said["replayed"]) == (False, "b-1", False)
    assert (said["recipients"], said["examined"], said["good"]) == (150, 100, False)
    assert [(one["about"], one["recipients"]) for one in said["findings"]] == [
        ("variable.missing", 99),
        ("contact.unknown", 1),
    ]
    assert said["forecast"]["mails"] == 148
    with valkey.client() as client:
        assert client.keys() == []


def test_a_template_without_end_is_broken_off(tmp_path: Path) -> None:
    """Whatever it does, the client has an answer in time, and a second client need not wait for it."""
    apart = Apart(lambda: configured(tmp_path, ENDLESS), patience=1.5)
    wanted = EmailJob("shop", ("a@example.org",), "hello", "b-1")
    began = SystemClock().monotonic()

    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(apart.look, [wanted, wanted]))

    assert answers.count(None) == 1
    [report] = filter(None, answers)
    assert [finding["about"] for finding in report["findings"]] == ["unfinished"]
    assert SystemClock().monotonic() - began < 10
