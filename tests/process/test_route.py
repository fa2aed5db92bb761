"""A route that refuses us: nobody is mailed or failed, somebody is told once, and it goes on by itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rigs.daemon import Daemon
from rigs.project import Project, job
from rigs.redis_server import RedisServer
from rigs.sink import Sink
from rigs.waiting import wait_until

pytestmark = pytest.mark.slow  # they wait for real pauses

Daemons = Callable[..., Daemon]
SUSPENDED = "554 Message rejected: Sending suspended for this account."
RELAY = "554 5.7.1 Relay access denied"
MEANS = {"code": 554, "enhanced": "5.7", "text": "relay access denied", "means": "route"}


def waiting(daemon: Daemon) -> str:
    """What the metrics say of workers that wait, and of refusals."""
    page = daemon.get("/metrics").body.decode()
    lines = (line for line in page.splitlines() if 'state="waiting"' in line or 'outcome="refused"' in line)
    return "\n".join(line for line in lines if not line.endswith(" 0"))


@pytest.mark.covers("mail-16")
def test_a_server_that_takes_mails_and_says_nothing_gets_few(
    daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project
) -> None:
    """A thousand recipients do not become unknown one after the other; the others are sent when it speaks."""
    contacts = project.contacts(1000)
    sink.behave(rules=[{"at": "dot", "do": "hang_up"}])
    daemon = daemons(project.sections(valkey, sink, workers={"processes": 2})).start()
    daemon.post("/queue", job("silent", contacts))
    wait_until(lambda: len(sink.mails()) >= 10, 30, daemon.tail)

    waiting = daemon.wait_for_reason("silent")
    assert waiting["waiting_for"].startswith("no answer to ")
    sink.behave()
    batch = daemon.wait_for_batch("silent", 60, states=("needs_attention",))
    assert 10 <= batch["counts"]["unknown"] <= 25
    assert batch["counts"]["sent"] == 1000 - batch["counts"]["unknown"]
    assert max(sink.recipients().values()) == 1
    assert daemon.log.count("The route is blocked: no answer to ") == 1
    assert daemon.term() == 0


@pytest.mark.parametrize(("at", "reply", "rows"), [("dot", SUSPENDED, []), ("data", RELAY, [MEANS])])
@pytest.mark.covers("mail-21")
def test_a_refused_account_stops_at_one_recipient_and_is_told_once(
    daemons: Daemons,
    valkey: RedisServer,
    sink: Sink,
    project: Project,
    at: str,
    reply: str,
    rows: list[dict[str, object]],
) -> None:
    """By what mailerd knows, or the configuration says, of a reply that would else fail everybody."""
    contacts = project.contacts(5)
    sink.behave(rules=[{"at": at, "do": reply}])
    pool = {"processes": 1, "connections": 1}
    daemon = daemons(project.sections(valkey, sink, workers=pool, smtp={"replies": rows})).start()
    daemon.post("/queue", job("stopped", contacts))
    wait_until(lambda: len(sink.hand_overs()) >= 2, 20, daemon.tail)

    assert len({one.recipient for one in sink.hand_overs()}) == 1
    batch = daemon.wait_for_reason("stopped")
    assert set(batch["counts"]) <= {"queued", "sending"}
    assert batch["waiting_for"] == reply
    wait_until(lambda: "mailerd_worker_state" in waiting(daemon), 5, daemon.tail)
    assert 'mailerd_outcomes_total{outcome="refused"}' in waiting(daemon)

    sink.behave()
    batch = daemon.wait_for_batch("stopped", 20)
    daemon.wait_for_line("The route is open again")
    assert batch["counts"] == {"sent": 5}
    assert batch["waiting_for"] is None
    assert max(sink.recipients().values()) == 1
    assert daemon.log.count("The route is blocked: ") == 1
    assert daemon.term() == 0
