"""Fixtures of the tests under a real systemd: each runs on every release of ``rigs.debian``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rigs import debian
from rigs.container import Container
from rigs.daemon import Sections
from rigs.debian import Debian
from rigs.project import Project
from rigs.service import Service, install
from rigs.sink import Sink
from rigs.tls_server import TlsServer


@pytest.fixture(scope="session")
def roots() -> None:
    """The root file systems, made where they are missing."""
    debian.prepare()


@pytest.fixture(scope="session", params=debian.RELEASES, ids=lambda release: release.name)
def installed(
    request: pytest.FixtureRequest, roots: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """A booted machine with mailerd installed as the README says."""
    release: Debian = request.param
    container = Container(release.name, release.root, tmp_path_factory.mktemp(release.name))
    try:
        container.boot()
        install(container, release)
        yield Service(container)
    finally:
        container.close()


@pytest.fixture
def service(installed: Service) -> Iterator[Service]:
    """The unit, stopped and with nothing of an earlier test; the test is on the machine's network."""
    if not installed.container.init:
        installed.container.boot()
    installed.reset()
    with installed.container.network():
        yield installed


@pytest.fixture
def sink(service: Service, tmp_path: Path) -> Iterator[Sink]:
    """A mail server on the machine's network that keeps the truth."""
    with Sink(tmp_path / "sink") as server:
        yield server


@pytest.fixture
def sections(service: Service, sink: Sink) -> Sections:
    """A configuration that sends to the sink, templates and contacts in /etc/mailerd; written there."""
    project = Project(service.container.path("/etc/mailerd"))
    project.contacts(400)
    made: Sections = {
        "contacts": {"url": "sqlite:////etc/mailerd/contacts.db"},
        "mail": {"transport": "smtp", "from": "News <news@sender.test>", "retry_delays": [1, 1, 1]},
        "smtp": {"host": "127.0.0.1", "port": sink.port, "tls": "none"},
    }
    service.configure(made)
    return made


@pytest.fixture
def tls_server(service: Service) -> Iterator[TlsServer]:
    """A mail server with TLS and a login on the machine's network."""
    server = TlsServer()
    server.start()
    yield server
    service.stop()  # which takes leave of it
    server.stop()
