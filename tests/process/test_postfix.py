"""The real daemon and a real Postfix: TLS, login, signatures, a relay that is down, recipients it refuses."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest

from mailerd.clock import SystemClock
from mailerd.queue.alerts import RelayNotes
from mailerd.queue.keys import Keys
from rigs.daemon import Daemon
from rigs.ports import free_port
from rigs.postfix import USER, Postfix
from rigs.project import Project, address, job
from rigs.redis_server import RedisServer
from rigs.signatures import keys, pem, verdicts
from rigs.sink import Sink
from rigs.waiting import wait_until

pytestmark = [pytest.mark.root, pytest.mark.slow]

Daemons = Callable[..., Daemon]


@pytest.fixture
def postfix() -> Iterator[Postfix]:
    with Postfix() as server:
        yield server


def recipients(mails: list[bytes]) -> list[str]:
    """Whom Postfix delivered to."""
    return sorted(
        found.decode() for mail in mails for found in re.findall(rb"(?m)^Delivered-To: (\S+)\r$", mail)
    )


def test_signed_mail_goes_unharmed_through_postfix_though_the_first_relay_is_down(
    daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project, postfix: Postfix
) -> None:
    """Over verified TLS and a login, each of 200 people once, and both signatures hold where it arrived."""
    contacts = project.contacts(200)
    dkim = [{"domain": "example.com", "selector": name, "key": pem(key)} for name, key in keys().items()]
    smtp = {"port": free_port(), "relays": [postfix.settings]}
    mail = {"dkim": dkim, "from": "Grüße <news@example.com>"}
    daemon = daemons(project.sections(valkey, sink, smtp=smtp, mail=mail)).start()
    daemon.post("/queue", job("news", contacts, "welcome"))
    batch = daemon.wait_for_batch("news", 60)
    arrived = postfix.wait_for(200)

    assert batch["counts"] == {"sent": 200}
    assert recipients(arrived) == sorted(map(address, contacts))
    for content in arrived:
        signed = content[content.index(b"DKIM-Signature:") :]
        assert verdicts(signed) == [True, True]
    assert f"sasl_username={USER}@postfix.test" in postfix.log
    assert daemon.log.count(f"Mail goes through localhost:{postfix.port} now: ") == 1  # for both workers
    assert "The route is blocked" not in daemon.log
    notes = RelayNotes(valkey.client(), Keys("email_queue"), SystemClock())
    assert list(notes.read()) == [f"127.0.0.1:{smtp['port']}"]
    assert daemon.term() == 0


@pytest.mark.covers("mail-21")
def test_a_password_that_postfix_refuses_is_mended_without_a_loss(
    daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project, postfix: Postfix
) -> None:
    """It blocks the route, said once by however many workers; after the mending everybody gets the mail."""
    contacts = project.contacts(20)
    smtp = {**postfix.settings, "password": "wrong"}
    daemon = daemons(project.sections(valkey, sink, smtp=smtp, workers={"processes": 4})).start()
    batches = [f"news{number}" for number in range(8)]
    for batch_id in batches:
        daemon.post("/queue", job(batch_id, contacts))
    wait_until(lambda: postfix.log.count("authentication failed") >= 4, 20, daemon.tail)
    waits = lambda: {daemon.batch(batch_id)["waiting_for"] for batch_id in batches} - {None}  # noqa: E731 # asked again and again
    (reason,) = wait_until(waits, 10, daemon.tail)
    postfix.knows("wrong")
    ended = [daemon.wait_for_batch(batch_id, 60) for batch_id in batches]

    assert "535 5.7.8" in reason
    assert all(batch["counts"] == {"sent": 20} for batch in ended)
    assert len(postfix.wait_for(160)) == 160
    assert daemon.log.count("The route is blocked: ") == 1
    assert daemon.term() == 0


def test_who_postfix_refuses_is_refused_alone(
    daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project
) -> None:
    """Its 550 fails exactly those to whom it says it, however many are under way to it at once."""
    contacts = project.contacts(60)
    with Postfix(refuse="7@example") as postfix:
        daemon = daemons(project.sections(valkey, sink, smtp=postfix.settings)).start()
        daemon.post("/queue", job("news", contacts))
        batch = daemon.wait_for_batch("news", 60)
        arrived = postfix.wait_for(60 - batch["counts"].get("failed", 0))

    assert batch["counts"] == {"sent": 54, "failed": 6}
    assert recipients(arrived) == sorted(address(each) for each in contacts if not each.endswith("7"))
