"""A dry run at the real daemon: by the settings in force, and with nothing left behind."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest

from rigs.daemon import Daemon
from rigs.project import Project, job
from rigs.redis_server import RedisServer
from rigs.sink import Sink
from rigs.toml import toml


def told(daemon: Daemon, contacts: list[str]) -> dict[str, Any]:
    """The findings by name."""
    answer = daemon.post("/queue?dry_run=1", job("spring", contacts))
    assert answer.status == 200
    return {finding["about"]: finding for finding in answer.json["findings"]}


@pytest.mark.slow
def test_a_dry_run_goes_by_the_settings_in_force(
    daemons: Callable[..., Daemon], valkey: RedisServer, sink: Sink, project: Project
) -> None:
    """Also after a reload; nobody is mailed, no batch is known, and the stop is clean."""
    contacts = project.contacts(2)
    daemon = daemons(project.sections(valkey, sink)).start()

    found = told(daemon, [*contacts, "nobody"])
    assert found["contact.unknown"]["examples"] == ["nobody"]
    assert "mail.redirected" not in found
    mail = {**daemon.sections["mail"], "redirect_to": "qa@example.com"}
    (daemon.folder / "config.toml").write_text(toml({**daemon.sections, "mail": mail}))
    daemon.signal(signal.SIGHUP)
    daemon.wait_for_line("Reloaded: ")

    assert told(daemon, contacts)["mail.redirected"]["examples"] == ["qa@example.com"]
    assert daemon.get("/batches/spring").status == 404
    assert sink.recipients() == {}
    assert daemon.term() == 0
    assert daemon.survivors() == []
