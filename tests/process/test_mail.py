"""Real mail: batches through the real daemon to SMTP servers that its authors did not write."""

from __future__ import annotations

import email
import email.policy
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest

from rigs import needs
from rigs.daemon import Daemon
from rigs.ports import free_port, listening
from rigs.postgres import PostgreSQL
from rigs.project import LONG_LINE, NAMES, Project, address, job, push
from rigs.redis_server import RedisServer
from rigs.sink import Sink
from rigs.waiting import wait_until

Daemons = Callable[..., Daemon]


def check(message: EmailMessage, contact_id: str) -> None:
    """Every part of a mail of the template ``welcome`` is as it was written, for this contact."""
    number = int(contact_id.removeprefix("user"))
    name = NAMES[number % len(NAMES)]
    assert message["To"].addresses[0].addr_spec == address(contact_id)
    assert str(message["From"]) == "News <news@sender.test>"
    assert str(message["Subject"]) == f"Grüße, {name} 🎉"
    for header in ("Date", "Message-ID", "MIME-Version", "Auto-Submitted"):
        assert len(message.get_all(header)) == 1, header
    text, html = (message.get_body((kind,)) for kind in ("plain", "html"))
    assert text is not None
    assert html is not None
    lines = text.get_content().replace("\r\n", "\n").split("\n")
    assert lines[:5] == [f"Hello {name},", "", ".a leading dot", "..two of them", "."]
    assert LONG_LINE in lines[5] + " "
    assert "ÄÖÜ €" in lines[6]
    assert "ÄÖÜ €" in html.get_content()
    assert message.defects == []


def test_a_thousand_contacts_from_sqlite(
    daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project
) -> None:
    """Each of a thousand contacts gets exactly one mail, whole and right, and the batch says so."""
    contacts = project.contacts(1000)
    daemon = daemons(project.sections(valkey, sink)).start()
    answer = daemon.post("/queue", job("news", contacts, "welcome"))
    assert (answer.status, answer.json["recipients"]) == (202, 1000)
    batch = daemon.wait_for_batch("news", 60)

    assert (batch["recipients"], batch["counts"]) == (1000, {"sent": 1000})
    assert sink.recipients() == Counter(map(address, contacts))
    assert len({mail.message_id for mail in sink.mails()}) == 1000
    for mail in sink.mails():
        assert mail.sender == "news@sender.test"
        assert b"\r" not in mail.content.replace(b"\r\n", b"")
        assert b"\n" not in mail.content.replace(b"\r\n", b"")
        assert max(map(len, mail.content.split(b"\r\n"))) <= 998
        check(mail.message, mail.recipient.removesuffix("@example.com"))
    again = daemon.post("/queue", job("news", contacts[::-1], "welcome"))
    assert (again.status, again.json.get("replayed")) == (200, True)
    assert daemon.post("/queue", job("news", contacts[1:], "welcome")).status == 409
    assert daemon.term() == 0
    assert len(sink.mails()) == 1000


def test_overlapping_jobs_of_one_batch(
    daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project
) -> None:
    """Jobs of one batch that share contacts, pushed together: each contact once, in total and in counts."""
    contacts = project.contacts(300)
    sink.behave(delay=0.005)
    daemon = daemons(project.sections(valkey, sink)).start()
    push(valkey, job("both", contacts[:200]), job("both", contacts[100:]), job("both", contacts[:200]))
    wait_until(lambda: daemon.get("/batches/both").status == 200, 5, daemon.tail)
    wait_until(lambda: daemon.batch("both")["counts"].get("sent") == 300, 30, daemon.tail)

    assert sink.recipients() == Counter(map(address, contacts))
    assert daemon.batch("both")["recipients"] == 300
    assert daemon.term() == 0
    assert len(sink.mails()) == 300


@pytest.fixture
def smtp_sink(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """Postfix's own sink, which writes each mail into a file; its port and their folder."""
    program = needs.program("smtp-sink", "the package postfix")
    mails = tmp_path / "smtp-sink"
    mails.mkdir()
    port = free_port()
    user = ["-u", "root"] if needs.is_root() else []
    process = subprocess.Popen([program, *user, "-d", f"{mails}/mail.", f"127.0.0.1:{port}", "500"])
    wait_until(lambda: listening(port), 5, "smtp-sink does not listen")
    yield port, mails
    process.terminate()
    process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_pipelining_over_tls_loses_nobody_and_mails_nobody_twice(
    daemons: Daemons, valkey: RedisServer, tmp_path: Path, project: Project, tls: str
) -> None:
    """
    Refusals and cuts in the middle of what goes over one secured connection concern one recipient each.

    The next envelope goes out with the final dot of the mail before it, as without TLS.
    """
    contacts = project.contacts(120)
    rules = [
        {"at": "rcpt", "match": "user20@", "do": "550 5.1.1 no such user"},
        {"at": "rcpt", "match": "user30@", "do": "450 4.2.1 later", "times": 1},
        {"at": "dot", "match": "user40@", "do": "452 4.3.1 full", "times": 1},
        {"at": "dot", "match": "user50@", "do": "554 5.7.1 it looks like spam"},
        {"at": "rcpt", "match": "user60@", "do": "hang_up", "times": 1},
        {"at": "dot", "match": "user70@", "do": "hang_up", "times": 1},
    ]
    with Sink(tmp_path / "secured", tls) as sink:
        sink.behave(rules=rules)
        daemon = daemons(project.sections(valkey, sink, workers={"processes": 1, "connections": 1})).start()
        daemon.post("/queue", job("tls", contacts))
        batch = daemon.wait_for_batch("tls", 30, ["needs_attention"])
        hand_overs = sink.hand_overs()

        assert batch["counts"] == {"sent": 117, "failed": 2, "unknown": 1}
        failed = {address("user20"), address("user50")}
        assert sink.recipients() == Counter(set(map(address, contacts)) - failed)
        (unknown,) = daemon.get("/batches/tls/recipients?state=unknown").json["recipients"]
        assert unknown["contact_id"] == "user70"
        assert len({one.port for one in hand_overs}) <= 5
        assert sum(one.behind for one in hand_overs) >= 20
        assert daemon.term() == 0


def test_a_thousand_contacts_from_postgresql_to_postfix(
    daemons: Daemons,
    valkey: RedisServer,
    sink: Sink,
    project: Project,
    postgres: PostgreSQL,
    smtp_sink: tuple[int, Path],
) -> None:
    """The same from PostgreSQL, with bigint keys, to Postfix's smtp-sink."""
    port, mails = smtp_sink
    rows = "\n".join(f"{n}\tuser{n}@example.com\t{NAMES[n % len(NAMES)]}" for n in range(1, 1001))
    url = postgres.database(
        "CREATE TABLE contacts (id bigint PRIMARY KEY, email text, name text);\n"
        f"COPY contacts FROM stdin;\n{rows}\n\\.\n"
    )
    daemon = daemons(project.sections(valkey, sink, contacts={"url": url}, smtp={"port": port})).start()
    push(valkey, job("pg", [str(n) for n in range(1, 1001)] + ["1001", "no-number"], "welcome"))
    wait_until(lambda: daemon.get("/batches/pg").status == 200, 5, daemon.tail)
    batch = daemon.wait_for_batch("pg", 60)
    daemon.term()

    assert batch["counts"] == {"sent": 1000, "invalid": 2}
    found = [
        email.message_from_bytes(path.read_bytes(), policy=email.policy.default) for path in mails.iterdir()
    ]
    recipients = Counter(message["X-Rcpt-Args"].strip("<>") for message in found)
    assert recipients == Counter(f"user{n}@example.com" for n in range(1, 1001))
    for message in found:
        check(message, message["X-Rcpt-Args"].strip("<>").removesuffix("@example.com"))
