"""Restarts and stops of the unit under clients that post all the time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from rigs.clients import Client, accepted, several, wait_for_more
from rigs.daemon import Sections
from rigs.service import PORT, Service
from rigs.sink import Sink
from rigs.waiting import holds_for, wait_until

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(900)]

CLIENTS = 24
RESTARTS = 10


@pytest.fixture
def clients(service: Service, sections: Sections) -> Iterator[list[Client]]:
    """24 clients, half of them keep-alive, posting to the started unit."""
    del sections["contacts"]  # then an address is its own contact
    service.configure(sections)
    service.start()
    made = several(CLIENTS, PORT, 0.1)
    yield made
    for client in made:
        client.stop()


@pytest.mark.covers("supervisor-30", "supervisor-31")
def test_no_request_fails_over_restarts(service: Service, clients: list[Client], sink: Sink) -> None:
    """Ten restarts: nobody is refused, cut off or answered wrongly, and each batch is delivered once."""
    for _ in range(RESTARTS):
        wait_for_more(clients, 30, service.journal)
        service.restart()
    wait_for_more(clients, 30, service.journal)
    for client in clients:
        client.stop()

    assert [failure for client in clients for failure in client.failures] == []
    batches = accepted(clients)
    sink.wait_for(len(batches), 90.0)
    assert sink.recipients() == Counter(f"{batch}@example.com" for batch in batches)


@pytest.mark.covers("supervisor-30")
def test_a_kill_refuses_nobody(service: Service, clients: list[Client], sink: Sink) -> None:
    """Killed as a whole, it is back on the same socket: who was not in the middle of a request waits."""
    for _ in range(2):
        wait_for_more(clients, 30, service.journal)
        restarts = service.restarts
        service.systemctl("kill", "-s", "KILL", "mailerd")
        wait_until(lambda restarts=restarts: service.restarts > restarts and service.is_up, 30.0)
    wait_for_more(clients, 30, service.journal)
    for client in clients:
        client.stop()

    assert not [failure for client in clients for failure in client.failures if "Refused" in failure]


def test_a_stop_lasts(service: Service, clients: list[Client]) -> None:
    """Stopped under load it exits 0, and no request brings it back."""
    wait_for_more(clients, 100, service.journal)

    service.stop()

    assert service.show("ExecMainStatus") == "0"
    holds_for(lambda: service.state == "inactive" and not service.processes(), 2.0)
    assert any("refused" in failure for client in clients for failure in client.failures)
