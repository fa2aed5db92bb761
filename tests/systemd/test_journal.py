"""What ``journalctl`` finds of the unit."""

from __future__ import annotations

import json

import pytest

from rigs.daemon import Sections
from rigs.service import UNIT, Service
from rigs.waiting import wait_until

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.parametrize("form", ["text", "json"])
def test_entries_are_found_by_batch_event_and_worker(service: Service, sections: Sections, form: str) -> None:
    """A batch's entries, of whichever process, by its id; they belong to the unit and have priorities."""
    service.configure(sections | {"log": {"format": form}})
    service.start()
    for batch in ("spring", "autumn"):
        service.post(batch, ["user1", "user2"])
        service.wait_for_batch(batch)

    def found(*matches: str) -> list[dict[str, str]]:
        return [json.loads(line) for line in service.journal("-o", "json", *matches).splitlines()]

    wait_until(lambda: len(found("MAILERD_EVENT=job.received")) == 2, 10.0, service.journal)
    (received,) = found("MAILERD_BATCH=spring", "MAILERD_EVENT=job.received")
    assert "New Job Received: {ClientID:shop ContactIDs:[user1 user2]" in received["MESSAGE"]
    assert received["_SYSTEMD_UNIT"] == UNIT
    assert received["PRIORITY"] == "6"
    assert received["MAILERD_WORKER"] in {"1", "2"}
    started = found("MAILERD_WORKER=1", "MAILERD_EVENT=worker.started")
    assert len(started) == 1
    assert int(started[0]["_PID"]) != int(service.show("MainPID"))
