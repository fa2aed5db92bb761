"""Several roles: daemons with and without HTTP, with and without workers, on one queue or on two."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Callable

import psutil
import pytest

from rigs.daemon import Daemon
from rigs.project import Project, address, job, push
from rigs.redis_server import RedisServer
from rigs.sink import Sink
from rigs.waiting import wait_until

Daemons = Callable[..., Daemon]
QUICK = {"lease": 2}


def listening(daemon: Daemon) -> list[int]:
    """The ports on which any process of the daemon listens."""
    daemon.note_processes()
    main = psutil.Process(daemon.pid)
    return [
        connection.laddr.port
        for process in (main, *main.children(recursive=True))
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]


def test_workers_only(daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project) -> None:
    """With api.enabled = false nothing listens; jobs are worked on and every stop is clean."""
    contacts = project.contacts(20)
    daemon = daemons(project.sections(valkey, sink, api={"enabled": False})).start(ready=False)
    daemon.wait_for_line("Ready: ")
    push(valkey, job("pushed", contacts))
    sink.wait_for(20)

    assert listening(daemon) == []
    assert "Server starting" not in daemon.log
    daemon.signal(signal.SIGHUP)
    daemon.wait_for_line("Reloaded: ")
    assert daemon.term() == 0
    assert daemon.survivors() == []


def test_http_only_beside_workers_only(
    daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project
) -> None:
    """One takes jobs in and shows how they go, the other works on them; neither does the other's part."""
    contacts = project.contacts(50)
    door = daemons({"redis": {"url": valkey.url}, "workers": {"processes": 0}}).start()
    assert door.post("/queue", job("shared", contacts)).status == 202
    assert door.workers() == []
    assert door.batch("shared")["state"] == "queued"

    hands = daemons(project.sections(valkey, sink, api={"enabled": False})).start(ready=False)
    batch = door.wait_for_batch("shared", 20)

    assert batch["counts"] == {"sent": 50}
    assert "workers.processes is 0: jobs are taken in and nobody works on them here" in door.log
    assert hands.term() == 0
    assert door.get("/readyz").status == 200
    assert door.term() == 0


@pytest.mark.slow
@pytest.mark.covers("mail-18", "queues-20")
def test_two_daemons_share_a_batch_and_one_dies(
    daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project
) -> None:
    """Both work on the one batch; when one is lost with all its processes, the other sends the rest."""
    contacts = project.contacts(400)
    sink.behave(delay=0.06)  # longer than a group may take: each connection has one mail in hand
    sections = project.sections(valkey, sink, queue={**QUICK, "slice": 10})
    one, other = daemons(sections).start(), daemons(sections).start()
    one.post("/queue", job("shared", contacts))
    wait_until(lambda: working(one) and working(other), 20, other.tail)
    sink.wait_for(60)
    one.kill_everything()
    one.wait()
    batch = other.wait_for_batch("shared", 60, ("done", "needs_attention"))

    assert batch["recipients"] == sum(batch["counts"].values()) == 400
    assert set(batch["counts"]) <= {"sent", "unknown"}
    assert max(sink.recipients().values()) == 1
    # The dead one's groups, of two workers with four connections, are unknown until its board speaks.
    assert batch["counts"].get("unknown", 0) <= 2 * 4
    one.start()
    batch = one.wait_for_batch("shared", 30, ("done", "needs_attention"))
    assert 400 - len(sink.recipients()) <= batch["counts"].get("unknown", 0)
    assert max(sink.recipients().values()) == 1
    assert one.term() == 0
    assert other.term() == 0


def working(daemon: Daemon) -> bool:
    """Whether a worker of this daemon has connections to the mail server, and so mails in hand."""
    mail = daemon.sections["smtp"]["port"]
    with contextlib.suppress(psutil.Error):
        return any(
            connection.raddr and connection.raddr.port == mail
            for worker in daemon.workers()
            for connection in worker.net_connections("tcp")
        )
    return False


def test_two_queues_on_one_redis_do_not_see_each_other(
    daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project
) -> None:
    """Two names are two queues: their batches of one id are two, and every key bears its queue's name."""
    contacts = project.contacts(20)
    names = ("shop", "club")
    shop, club = (
        daemons(project.sections(valkey, sink, queue={"name": name}, workers={"processes": 1})).start()
        for name in names
    )
    assert shop.post("/queue", job("b1", contacts[:10])).status == 202
    assert club.get("/batches/b1").status == 404
    assert club.post("/queue", job("b1", contacts[10:])).status == 202
    with contextlib.closing(valkey.client()) as client:
        client.lpush("shop", json.dumps(job("pushed", contacts[:1])))
        counts = [daemon.wait_for_batch("b1", 20)["counts"] for daemon in (shop, club)]
        shop.wait_for_batch("pushed", 20)
        keys = [key.decode() for key in client.keys("*")]

    assert counts == [{"sent": 10}, {"sent": 10}]
    assert club.get("/batches/pushed").status == 404
    assert set(sink.recipients()) == set(map(address, contacts))
    assert [key for key in keys if not key.startswith(("{shop}:", "{club}:"))] == []
    assert shop.term() == 0
    assert club.term() == 0


def test_staging(daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project) -> None:
    """With mail.redirect_to nobody but that address is mailed, by whatever batch; suppressed ones stay so."""
    contacts = project.contacts(10)
    query = "SELECT id, email, name, id = 'user3' AS suppressed FROM contacts WHERE id IN :contact_ids"
    mail = {"redirect_to": "qa@example.test", "envelope_from": "bounces@sender.test"}
    daemon = daemons(project.sections(valkey, sink, mail=mail, contacts={"query": query})).start()
    daemon.post("/queue", job("staged", contacts, "welcome"))
    batch = daemon.wait_for_batch("staged", 20)
    mails = sink.mails()

    assert batch["counts"] == {"sent": 9, "suppressed": 1}
    assert sink.recipients() == {"qa@example.test": 9}
    assert {mail.sender for mail in mails} == {"bounces@sender.test"}
    assert {mail.message["To"] for mail in mails} == {"qa@example.test"}
    meant = {mail.message["X-Mailerd-Original-To"] for mail in mails}
    assert meant == {address(contact) for contact in contacts if contact != "user3"}
    assert daemon.term() == 0
