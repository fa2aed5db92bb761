"""``systemctl start mailerd``, and what else an administrator types, under a real systemd."""

from __future__ import annotations

import pytest

from rigs.daemon import Sections
from rigs.debian import CHECKOUT
from rigs.project import address
from rigs.service import UNIT, Service
from rigs.sink import Sink
from rigs.waiting import holds_for, wait_until

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(900)]


def test_start_post_mail(service: Service, sections: Sections, sink: Sink) -> None:
    """Once started it takes jobs at once, and what is posted arrives as mail."""
    service.start()

    assert service.request("GET", "/readyz").status == 200
    service.post("spring", ["user1", "user2"])
    sink.wait_for(2)
    assert sink.recipients() == {"user1@example.com": 1, "user2@example.com": 1}
    assert service.wait_for_batch("spring")["counts"]["sent"] == 2


def test_status_shows_what_it_is_doing(service: Service, sections: Sections) -> None:
    """The status line has workers, queue and Redis; the processes are told apart by their titles."""
    service.start()

    def status() -> str:
        return service.systemctl("status", UNIT)

    line = 'Status: "2/2 workers, Redis up, 0 jobs queued"'
    wait_until(lambda: line in status(), 10.0, status)
    for each in ("mailerd\n", '"mailerd: supervisor"\n', '"mailerd: worker 1 idle"\n'):
        assert each in status()
    service.systemctl("stop", "redis-server")
    wait_until(lambda: "2/2 workers, Redis away" in status(), 15.0, status)


def test_a_bad_configuration_is_no_loop(service: Service, sections: Sections) -> None:
    """It says what is wrong, exits 78 and stays down."""
    service.configure(sections | {"smtp": {"host": "127.0.0.1", "prot": 25}})

    assert_stays_down(service, 78)
    assert "smtp.prot" in service.journal()


def test_a_wrong_command_is_no_loop(service: Service, sections: Sections) -> None:
    """A unit with an option that does not exist exits 2 and stays down."""
    service.drop_in("[Service]\nExecStart=\nExecStart=/opt/mailerd/current/bin/mailerd run --fast\n")

    assert_stays_down(service, 2)
    assert "--fast" in service.journal()


def assert_stays_down(service: Service, status: int) -> None:
    """Started, it ends with that status, and systemd does not try again."""
    service.systemctl("start", UNIT, check=False)

    assert service.show("ExecMainStatus") == str(status)
    holds_for(lambda: service.state == "failed", 1.5)  # it would be started again after 1 s
    assert service.restarts == 0


def test_stop_drains(service: Service, sections: Sections, sink: Sink) -> None:
    """Mails in hand are finished, the rest waits in Redis for the next start, and the exit code is 0."""
    service.start()
    sink.behave(delay=0.5)
    contacts = [f"user{n}" for n in range(1, 31)]
    service.post("spring", contacts)
    wait_until(lambda: len(sink.open()) >= 4)

    service.stop()

    assert (service.state, service.show("Result")) == ("inactive", "success")
    assert service.show("ExecMainStatus") == "0"
    assert service.processes() == {}
    assert sink.open() == []
    assert len(sink.mails()) < len(contacts)
    sink.behave()
    service.start()
    service.wait_for_batch("spring")
    assert sink.recipients() == {address(contact): 1 for contact in contacts}


@pytest.mark.covers("supervisor-36")
def test_a_long_drain_gets_its_time(service: Service, sections: Sections, sink: Sink) -> None:
    """A mail in hand that takes longer than systemd would wait is finished: more time is asked for."""
    service.drop_in("[Service]\nTimeoutStopSec=2\n")
    service.start()
    sink.behave(delay=5)
    service.post("spring", ["user1"])
    wait_until(lambda: len(sink.open()) == 1)

    service.stop()

    assert (service.state, service.show("Result")) == ("inactive", "success")
    assert sink.recipients() == {"user1@example.com": 1}
    assert "Killing" not in service.journal()
    sink.behave()
    service.start()
    assert service.wait_for_batch("spring")["counts"] == {"sent": 1}


@pytest.mark.covers("supervisor-37", "supervisor-38")
def test_reload(service: Service, sections: Sections, sink: Sink) -> None:
    """A good file is in force in new workers, a bad one changes nothing; neither reload hangs."""
    if service.systemd_version >= 253:
        service.drop_in((CHECKOUT / "systemd/notify-reload.conf").read_text(), "notify-reload.conf")
    service.start()
    before, main = service.workers, service.main

    service.configure(sections | {"workers": {"processes": 3}})
    service.reload()
    if service.systemd_version < 253:  # there it returns at once
        wait_until(lambda: len(service.workers) == 3 and not service.workers & before, 20.0)
    assert (len(service.workers), service.workers & before, service.main) == (3, set(), main)

    after = service.workers
    service.configure(sections | {"workers": {"processes": "many"}})
    service.reload()
    service.wait_for_line("Nothing is changed")
    assert (service.workers, service.state) == (after, "active")
    service.post("spring", ["user1"])
    sink.wait_for(1)


def test_verify_is_silent(service: Service) -> None:
    """Systemd has nothing to say about the unit and its drop-in, and what it refers to is there."""
    if service.systemd_version >= 253:
        service.drop_in((CHECKOUT / "systemd/notify-reload.conf").read_text(), "notify-reload.conf")

    assert service.container.run("systemd-analyze", "verify", UNIT) == ""
    service.container.run("test", "-e", service.show("Documentation").removeprefix("file://"))
