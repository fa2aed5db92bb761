"""Everything that producers, databases, templates and disks get wrong: a clear answer, and nothing lost."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rigs import needs
from rigs.daemon import Daemon
from rigs.project import Project, address, job, push
from rigs.redis_server import RedisServer
from rigs.sink import Sink
from rigs.waiting import wait_until

Daemons = Callable[..., Daemon]
GOOD = {"client_id": "c1", "contact_ids": ["user1"], "template_id": "plain", "batch_id": "b"}
NO_BATCH = {name: value for name, value in GOOD.items() if name != "batch_id"}

# Each with the status that POST /queue answers it with, and a word of the reason.
BAD: dict[str, tuple[bytes, int, str]] = {
    "brace": (b"{", 400, "JSON"),
    "null": (b"null", 422, "object"),
    "list": (b"[]", 422, "object"),
    "utf-8": (b'{"client_id": "\xc3\x28"}', 400, "UTF-8"),
    "nan": (json.dumps(GOOD | {"variables": {"x": float("nan")}}).encode(), 400, "NaN"),
    "surrogate": (json.dumps(GOOD | {"variables": {"x": "\ud800"}}).encode(), 400, "surrogate"),
    "twice": (b'{"batch_id": "b", "batch_id": "b"}', 400, "twice"),
    "deep": (b'{"variables":' * 2000 + b"1" + b"}" * 2000, 400, "deep"),
    "types": (json.dumps(GOOD | {"client_id": 1}).encode(), 422, "client_id"),
    "no contacts": (json.dumps(GOOD | {"contact_ids": None}).encode(), 422, "contact_ids"),
    "empty contacts": (json.dumps(GOOD | {"contact_ids": []}).encode(), 422, "contact_ids"),
    "empty id": (json.dumps(GOOD | {"contact_ids": [""]}).encode(), 422, "contact_ids[0]"),
    "newline": (json.dumps(GOOD | {"contact_ids": ["a\r\nBcc: x@y.z"]}).encode(), 422, "contact_ids[0]"),
    "batch newline": (json.dumps(GOOD | {"batch_id": "b\n"}).encode(), 422, "batch_id"),
}


def mailerd(daemon: Daemon, *arguments: str) -> Any:
    """What a command of mailerd prints with --json, run beside the daemon."""
    command = [sys.executable, "-m", "mailerd", *arguments, "--json"]
    run = subprocess.run(
        command,
        cwd=daemon.folder,
        env=daemon.environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.covers("mail-23", "queues-23")
def test_bad_payloads(daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project) -> None:
    """Over HTTP each bad payload gets its status; pushed, each is dead-lettered with reason and bytes."""
    project.contacts(3)
    daemon = daemons(project.sections(valkey, sink)).start()
    for name, (body, status, word) in BAD.items():
        answer = daemon.request("POST", "/queue", body, Content_Type="application/json")
        assert (name, answer.status) == (name, status)
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert word in answer.body.decode(), name
    foreign = [body for body, _, _ in BAD.values()] + [json.dumps(NO_BATCH).encode()]
    push(valkey, *foreign, job("good", ["user1", "user1", "user2"]))
    batch = wait_for_sent(daemon, "good", 2)
    wait_until(lambda: len(mailerd(daemon, "dead", "list")) == len(foreign), 10, daemon.tail)

    assert batch["counts"] == {"sent": 2}
    assert all(letter["reason"] for letter in mailerd(daemon, "dead", "list"))
    assert "Traceback" not in daemon.log
    assert daemon.term() == 0
    assert len(sink.mails()) == 2


def wait_for_sent(daemon: Daemon, batch_id: str, recipients: int) -> Any:
    """The batch of a foreign job, once so many recipients are settled."""
    wait_until(lambda: daemon.get(f"/batches/{batch_id}").status == 200, 10, daemon.tail)
    batch = daemon.wait_for_batch(batch_id, 20)
    assert batch["recipients"] == recipients
    return batch


@pytest.mark.covers("queues-23")
def test_ten_megabytes(daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project) -> None:
    """A body over the limit is 413; a foreign job of ten megabytes is a job like others, a padded one too."""
    project.contacts(3)
    daemon = daemons(project.sections(valkey, sink)).start()
    padded = json.dumps(job("padded", ["user1"]) | {"padding": "x" * 10_000_000}).encode()

    assert daemon.request("POST", "/queue", padded, Content_Type="application/json").status == 413
    push(valkey, padded, b"x" * 10_000_000, job("next", ["user2"]))
    wait_for_sent(daemon, "padded", 1)
    wait_for_sent(daemon, "next", 1)
    wait_until(lambda: len(mailerd(daemon, "dead", "list")) == 1, 10, daemon.tail)

    assert daemon.term() == 0


def test_bad_contacts(daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project) -> None:
    """Unknown contacts and impossible addresses are invalid; all others get their mail."""
    project.contacts(3)
    project.insert(
        [
            ("crlf", "a@example.com\r\nBcc: victim@example.com", "x"),
            ("empty", "", "x"),
            ("none", None, "x"),
            ("no-at", "example.com", "x"),
            ("name-crlf", "name@example.com", "x\r\nBcc: victim@example.com"),
        ]
    )
    daemon = daemons(project.sections(valkey, sink)).start()
    contacts = ["user1", "crlf", "empty", "none", "no-at", "unknown", "007", "user2", "name-crlf", "user3"]
    daemon.post("/queue", job("mixed", contacts, "welcome"))
    batch = daemon.wait_for_batch("mixed", 20)

    assert batch["counts"] == {"sent": 4, "invalid": 6}
    assert set(sink.recipients()) == {*map(address, ("user1", "user2", "user3")), "name@example.com"}
    assert all("victim" not in str(mail.message["Bcc"]) for mail in sink.mails())
    assert daemon.term() == 0


@pytest.mark.covers("mail-20")
def test_bad_templates(daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project) -> None:
    """A missing or broken template buries its job; one that raises for a contact fails for that one."""
    contacts = project.contacts(3)
    project.template("broken", text="{% if %}")
    project.template("empty", subject="Hello")
    project.template(
        "picky", text="{% if email == 'user2@example.com' %}{{ nothing.at.all }}{% endif %}Hello"
    )
    daemon = daemons(project.sections(valkey, sink)).start()
    buried = ["missing", "broken", "empty"]
    for template_id in [*buried, "picky"]:
        assert daemon.post("/queue", job(f"with-{template_id}", contacts, template_id)).status == 202
    picky = daemon.wait_for_batch("with-picky", 20)
    batches = [daemon.wait_for_batch(f"with-{template_id}", 20) for template_id in buried]

    assert picky["counts"] == {"sent": 2, "failed": 1}
    assert [batch["counts"] for batch in batches] == [{"failed": 3}] * 3
    letters = mailerd(daemon, "dead", "list")
    assert len(letters) == 3
    assert all(any(name in letter["reason"] for letter in letters) for name in buried)
    assert len(sink.mails()) == 2
    assert daemon.term() == 0


def test_a_dead_job_can_be_sent_after_all(
    daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project
) -> None:
    """Once its template is there, ``dead retry`` opens exactly the recipients that burying had failed."""
    contacts = project.contacts(3)
    daemon = daemons(project.sections(valkey, sink)).start()
    daemon.post("/queue", job("late", contacts, "not-yet"))
    daemon.wait_for_batch("late", 20)
    (letter,) = mailerd(daemon, "dead", "list")
    project.template("not-yet", text="Here at last.")
    mailerd(daemon, "dead", "retry", letter["letter_id"])
    wait_until(lambda: daemon.batch("late")["counts"] == {"sent": 3}, 20, daemon.tail)

    assert mailerd(daemon, "dead", "list") == []
    assert daemon.term() == 0


def test_the_database_is_away(daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project) -> None:
    """No database is nobody's fault: the batch waits, says for what, and goes on when it is there."""
    contacts = project.contacts(3)
    hidden = project.database.rename(project.database.with_suffix(".hidden"))
    daemon = daemons(project.sections(valkey, sink)).start()
    daemon.post("/queue", job("patient", contacts))
    assert daemon.wait_for_reason("patient")["counts"] == {"queued": 3}
    hidden.rename(project.database)
    batch = daemon.wait_for_batch("patient", 40)

    assert batch["counts"] == {"sent": 3}
    assert daemon.term() == 0


def test_the_mail_server_is_away(daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project) -> None:
    """No SMTP server burns nobody's attempts: the batch waits and goes on when the server is there."""
    contacts = project.contacts(5)
    sink.stop()
    daemon = daemons(project.sections(valkey, sink, mail={"retry_delays": [1]})).start()
    daemon.post("/queue", job("patient", contacts))
    daemon.wait_for_reason("patient")
    sink.start()
    batch = daemon.wait_for_batch("patient", 40)

    assert batch["counts"] == {"sent": 5}
    assert daemon.term() == 0


@pytest.mark.covers("mail-22", "mail-24")
def test_refused_and_deferred_recipients(
    daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project
) -> None:
    """5xx fails, 4xx is tried again and arrives or expires, at RCPT and at the dot; others get theirs."""
    contacts = project.contacts(8)
    sink.behave(
        rules=[
            {"at": "rcpt", "match": "^user1@", "do": "550 5.1.1 no such user"},
            {"at": "rcpt", "match": "^user2@", "do": "450 4.2.0 greylisted", "times": 1},
            {"at": "dot", "match": "^user3@", "do": "554 5.6.0 we do not like it"},
            {"at": "dot", "match": "^user4@", "do": "451 4.3.0 later", "times": 2},
            {"at": "rcpt", "match": "^user5@", "do": "450 4.2.0 for ever"},
            {"at": "data", "match": "^user6@", "do": "hang_up", "times": 1},
        ]
    )
    daemon = daemons(project.sections(valkey, sink, mail={"max_age": 3})).start()
    daemon.post("/queue", job("mixed", contacts))
    batch = daemon.wait_for_batch("mixed", 40)

    assert batch["counts"] == {"sent": 5, "failed": 2, "expired": 1}
    assert set(sink.recipients()) == set(map(address, ("user2", "user4", "user6", "user7", "user8")))
    assert max(sink.recipients().values()) == 1
    assert daemon.term() == 0


@pytest.mark.covers("mail-16", "queues-35")
def test_a_hang_up_after_the_final_dot_is_unknown(
    daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project
) -> None:
    """The mail may have been delivered, so it is neither repeated nor called failed."""
    contacts = project.contacts(4)
    sink.behave(rules=[{"at": "dot", "match": "^user2@", "do": "hang_up"}])
    daemon = daemons(project.sections(valkey, sink)).start()
    daemon.post("/queue", job("cut", contacts))
    batch = daemon.wait_for_batch("cut", 20, ("needs_attention",))

    assert batch["counts"] == {"sent": 3, "unknown": 1}
    (unknown,) = mailerd(daemon, "unknown", "list")
    assert unknown["contact_id"] == "user2"
    assert max(sink.recipients().values()) == 1
    assert daemon.term() == 0


def test_unreadable_files(daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project) -> None:
    """A template with a file that cannot be read, or with bytes for text, is broken and says which file."""
    contacts = project.contacts(2)
    (project.template("dangling", text="x") / "body.html").symlink_to("nowhere.html")
    (project.template("binary", text="x") / "body.txt").write_bytes(b"\xff\xfe\x00")
    daemon = daemons(project.sections(valkey, sink)).start()
    for template_id in ("dangling", "binary"):
        daemon.post("/queue", job(template_id, contacts, template_id))
        assert daemon.wait_for_batch(template_id, 20)["counts"] == {"failed": 2}
    reasons = " ".join(letter["reason"] for letter in mailerd(daemon, "dead", "list"))

    assert "nowhere.html" in reasons
    assert "body.txt" in reasons
    assert daemon.term() == 0


def fill(ballast: Path) -> None:
    """Fill the disk up to its last byte."""
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 1024)


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 256 KiB, mounted there."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.root
def test_a_full_disk_under_the_logs(
    daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project, tmp_path: Path
) -> None:
    """A log that cannot be written stops no mail and no shutdown; once there is room it goes on."""
    needs.root()
    contacts = project.contacts(50)
    with (
        small_disk(tmp_path / "disk") as disk,
        contextlib.closing(daemons(project.sections(valkey, sink))) as daemon,
    ):
        daemon.log_path = disk / "daemon.log"
        daemon.start()
        fill(disk / "ballast")
        daemon.post("/queue", job("silent", contacts))
        assert daemon.wait_for_batch("silent", 20)["counts"] == {"sent": 50}
        (disk / "ballast").unlink()
        mark = len(daemon.log)
        daemon.post("/queue", job("heard", contacts[:1]))
        daemon.wait_for_line("BatchID:heard}", 10, mark)
        assert daemon.term() == 0


@pytest.mark.root
def test_a_full_disk_under_the_state(
    daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project, tmp_path: Path
) -> None:
    """At the start it says so, in a way that makes systemd try again; once there is room it starts."""
    needs.root()
    contacts = project.contacts(3)
    disk = tmp_path / "disk"
    sections = project.sections(valkey, sink, daemon={"state_dir": str(disk / "state")})
    with small_disk(disk), contextlib.closing(daemons(sections)) as daemon:
        daemon.start(ready=False)
        assert daemon.wait(10) == 70
        assert "No space left on device; make room" in daemon.log
        subprocess.run(["mount", "-o", "remount,size=128m", str(disk)], check=True)
        daemon.start()
        daemon.post("/queue", job("late", contacts))
        assert daemon.wait_for_batch("late", 20)["counts"] == {"sent": 3}
        assert daemon.term() == 0
