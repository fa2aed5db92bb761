"""The commands over a real queue: what they show, what they change, and how they end."""

from __future__ import annotations

import base64
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mailerd import embedded
from mailerd.cli import run
from mailerd.message import message_id
from mailerd.outcome import Kind
from mailerd.queue.keys import Batch
from rigs.ledger_bench import Hands, LedgerBench, booking, contacts, job
from rigs.redis_server import RedisServer
from rigs.waiting import wait_until

BAD = b'{"client_id": "shop\x1b[2J", \xff\n'


@pytest.fixture(autouse=True)
def here(tmp_path: Path, valkey: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory whose configuration leads to the test's server."""
    monkeypatch.chdir(tmp_path)
    for name in ("MAILERD_CONFIG", "CREDENTIALS_DIRECTORY", "STATE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("REDIS_ADDR", valkey.addr)
    (tmp_path / "config.toml").write_text('[daemon]\nstate_dir = "state"\n')
    return tmp_path


@pytest.fixture
def bench(valkey: RedisServer) -> Iterator[LedgerBench]:
    """The queue, for a test that plays its workers."""
    client = valkey.client()
    yield LedgerBench(client, valkey.url)
    client.close()


class Said:
    """What a command printed and how it ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    @property
    def json(self) -> Any:
        """Its standard output as JSON; nothing may have failed."""
        assert self.code == 0, self.err
        return json.loads(self.out)


Mailerd = Callable[..., Said]


@pytest.fixture
def mailerd(capsys: pytest.CaptureFixture[str]) -> Mailerd:
    """Runs a command in this process: ``mailerd("batch", "show", "b1")``."""

    def call(*arguments: str) -> Said:
        capsys.readouterr()
        code = run(arguments)
        out, err = capsys.readouterr()
        return Said(code, out, err)

    return call


def half_sent(bench: LedgerBench, batch_id: str = "b1", client_id: str = "shop") -> tuple[Hands, Batch]:
    """A batch of four whose worker lives: c0 sent, c1 failed, c2 of unknown outcome, c3 queued."""
    worker = bench.hands()
    batch = worker.admit(job(contacts(4), batch_id, client_id))
    worker.claim(batch, "c0", "c1", "c2")
    outcomes = [booking("c0", Kind.SENT), booking("c1", Kind.FAILED, "550 no"), booking("c2", Kind.UNKNOWN)]
    worker.mark(batch, *outcomes)
    return worker, batch


def buried(bench: LedgerBench, *payloads: bytes) -> list[str]:
    """Dead letters with these bytes; their ids, the newest first."""
    worker = bench.hands()
    for payload in payloads:
        bench.push(payload)
        worker.claims.bury(worker.took(), "not JSON: \x1b[31mred")
    return bench.dead.ids()


# status


def test_status_of_an_empty_queue_without_a_daemon(mailerd: Mailerd, valkey: RedisServer) -> None:
    """It answers, and says at once that nobody works and what to do."""
    said = mailerd("status")

    assert said.code == 0
    assert f"email_queue at {valkey.url}" in said.out
    assert said.out.splitlines()[-1].startswith("Needs attention: no living worker")
    assert said.out.endswith("Next: systemctl start mailerd\n")


def test_status_counts_everything(mailerd: Mailerd, bench: LedgerBench) -> None:
    """Jobs and recipients by what they wait for; workers by where they are, alive or dead, at work or not."""
    worker, batch = half_sent(bench)
    worker.claim(batch, "c3")
    worker.mark(batch, booking("c3", Kind.DEFERRED, delay=60))
    buried(bench, BAD)
    bench.push(b"waits", b"in hand")
    worker.took()
    bench.hands().die()

    shown, text = mailerd("status", "--json").json, mailerd("status").out

    assert {name: shown[name] for name in ("length", "put_aside", "dead", "unknown")} == {
        "length": 1,
        "put_aside": 1,
        "dead": 1,
        "unknown": 1,
    }
    by_life = {(one["alive"], one["in_hand"]) for one in shown["workers"]}
    assert by_life == {(True, 1), (True, 0), (False, 0)}
    assert all(one["pid"] == os.getpid() for one in shown["workers"])
    assert [one["next"] for one in shown["attention"]] == ["mailerd unknown list", "mailerd dead list"]
    assert "2 alive, 1 dead" in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_status_says_when_all_is_well(mailerd: Mailerd, bench: LedgerBench) -> None:
    """One line says so, as long as somebody works and nothing waits for a person."""
    bench.hands()

    assert mailerd("status").out.splitlines()[-1] == "All is well: nothing needs attention."
    assert mailerd("status", "--json").json["attention"] == []


# enqueue


def test_enqueue_by_options(mailerd: Mailerd, bench: LedgerBench, here: Path) -> None:
    """The job is registered and lies on the queue; its made-up batch id is printed, and can be shown."""
    (here / "ids.txt").write_text("c2\nc1\n")
    wanted = ["--client", "shop", "--template", "welcome", "--contact", "c1", "--contacts-file", "ids.txt"]

    said = mailerd("enqueue", *wanted, "--variables", '{"x": "ü"}')

    assert said.code == 0
    assert ": queued, 2 recipients" in said.out
    batch_id = said.out.split()[1]
    (raw,) = bench.queue()
    assert json.loads(raw) == {
        "client_id": "shop",
        "contact_ids": ["c1", "c2", "c1"],
        "template_id": "welcome",
        "batch_id": batch_id,
        "variables": {"x": "ü"},
    }
    assert mailerd("batch", "show", batch_id, "--json").json["counts"] == {"queued": 2}


def test_enqueue_again_is_a_replay_and_other_content_a_conflict(
    mailerd: Mailerd, bench: LedgerBench, here: Path
) -> None:
    """A replay is no failure and queues nothing; a conflict says so and ends with 1."""
    (here / "job.json").write_bytes(job(["c1"]).to_json())
    (here / "other.json").write_bytes(job(["c2"]).to_json())
    assert mailerd("enqueue", "job.json").code == 0

    replayed, conflict = mailerd("enqueue", "job.json", "--json"), mailerd("enqueue", "other.json")

    assert replayed.json == {
        "queued": True,
        "admission": "replayed",
        "client_id": "shop",
        "batch_id": "b1",
        "recipients": 1,
        "replayed": True,
    }
    assert conflict.code == 1
    assert conflict.out == ""
    assert conflict.err == "mailerd: batch b1 of client shop: conflict, it is known with other content\n"
    assert len(bench.queue()) == 1


def test_enqueue_of_many_lines(mailerd: Mailerd, bench: LedgerBench, here: Path) -> None:
    """Each batch is one job, answered on a line of its own."""
    texts = [job([f"c{number}"], f"b{number % 2}").to_json() for number in range(4)]
    (here / "jobs.ndjson").write_bytes(b"\n".join(texts))

    said = mailerd("enqueue", "jobs.ndjson", "--json")

    answers = [json.loads(line) for line in said.out.splitlines()]
    assert [(answer["batch_id"], answer["recipients"]) for answer in answers] == [("b0", 2), ("b1", 2)]
    assert len(bench.queue()) == 2


def test_enqueue_of_many_queues_all_or_nothing(mailerd: Mailerd, bench: LedgerBench, here: Path) -> None:
    """One batch that is known with other content keeps the others back, and is named."""
    bench.enqueuer().enqueue(job(contacts(3), "b2"), "request")
    lines = [job(contacts(2), batch).to_json() for batch in ("b1", "b2", "b3")]
    (here / "jobs.ndjson").write_bytes(b"\n".join(lines))

    said = mailerd("enqueue", "jobs.ndjson")

    assert said.code == 1
    assert said.out == ""
    assert said.err.splitlines() == [
        "mailerd: batch b2 of client shop: conflict, it is known with other content",
        "mailerd: nothing was queued",
    ]
    assert len(bench.queue()) == 1


def test_enqueue_of_what_is_no_job(mailerd: Mailerd, bench: LedgerBench, here: Path) -> None:
    """Every problem with its line and field, exit code 1, and not even the good lines are queued."""
    (here / "jobs").write_bytes(job(["c1"]).to_json() + b'\n{"client_id": "", "contact_ids": null}\n')

    said, as_json = mailerd("enqueue", "jobs"), mailerd("enqueue", "jobs", "--json")

    assert said.code == as_json.code == 1
    assert [line.split(": ")[1:3] for line in said.err.splitlines()[:-1]] == [
        ["line 2", "client_id"],
        ["line 2", "template_id"],
        ["line 2", "contact_ids"],
    ]
    assert json.loads(as_json.out)["errors"][2] == {
        "line": 2,
        "field": "contact_ids",
        "message": "is missing",
    }
    assert bench.queue() == []


def test_enqueue_on_a_full_queue(mailerd: Mailerd, bench: LedgerBench, here: Path) -> None:
    """It is said, and the exit code is 1."""
    (here / "config.toml").write_text("[queue]\nmax_length = 1\n")
    bench.push(b"x")

    said = mailerd("enqueue", "--client", "a", "--template", "t", "--contact", "c")

    assert said.code == 1
    assert "not queued, the queue is full" in said.err


@pytest.mark.parametrize("arguments", [[], ["config.toml", "--client", "a"], ["no-such-file"], ["."]])
def test_enqueue_wrongly_used(mailerd: Mailerd, arguments: list[str]) -> None:
    """Neither or both ways, or a file that cannot be read: usage, exit code 2."""
    assert mailerd("enqueue", *arguments).code == 2


# batch


def test_batch_show(mailerd: Mailerd, bench: LedgerBench) -> None:
    """Its state and counts, its recipients on demand, all of them or those in one state."""
    half_sent(bench)

    shown = mailerd("batch", "show", "b1", "--json").json
    listed = mailerd("batch", "show", "b1", "--recipients", "--json").json
    text = mailerd("batch", "show", "b1", "--state", "failed").out

    assert shown["state"] == "sending"
    assert shown["counts"] == {"queued": 1, "unknown": 1, "sent": 1, "failed": 1}
    assert shown["created_at"].endswith("Z")
    assert listed["batch"] == shown
    states = {one["contact_id"]: one["state"] for one in listed["recipients"]}
    assert states == {"c0": "sent", "c1": "failed", "c2": "unknown", "c3": "queued"}
    assert text.splitlines()[-1].split()[:2] == ["c1", "failed"]
    assert "550 no" in text
    assert "c2" not in text


def test_batch_show_has_the_fields_of_the_api(mailerd: Mailerd, bench: LedgerBench) -> None:
    """Whoever reads one reads the other."""
    half_sent(bench)

    shown = mailerd("batch", "show", "b1", "--json").json

    fields = "batch_id client_id template_id state recipients counts created_at finished_at waiting_for"
    assert list(shown) == fields.split()


def test_batch_show_before_a_worker_read_the_job(mailerd: Mailerd, bench: LedgerBench) -> None:
    """Recipients that are only promised so far have no rows, and are not forgotten either."""
    bench.enqueuer().enqueue(job(contacts(3)), "request")

    assert (
        "3 recipients of a job that no worker has read" in mailerd("batch", "show", "b1", "--recipients").out
    )


def test_batch_list(mailerd: Mailerd, bench: LedgerBench) -> None:
    """The newest first, of one client or in one state; it says when there are more."""
    assert mailerd("batch", "list").out == "No batch.\n"
    half_sent(bench)
    for number in range(3):
        bench.enqueuer().enqueue(job(contacts(2), f"club-{number}", "club"), "request")

    everything = mailerd("batch", "list", "--json").json
    text = mailerd("batch", "list", "-n", "2").out.splitlines()

    assert [view["batch_id"] for view in everything] == ["club-2", "club-1", "club-0", "b1"]
    assert everything[-1] == mailerd("batch", "show", "b1", "--json").json
    assert text[0].split() == ["created", "client", "batch", "state", "recipients"]
    assert text[1].endswith("club    club-2  queued  2: 2 queued")
    assert text[3:] == ["And older ones: --limit shows more than 2."]
    assert [view["batch_id"] for view in mailerd("batch", "list", "--client", "shop", "--json").json] == [
        "b1"
    ]
    assert [view["batch_id"] for view in mailerd("batch", "list", "--state", "sending", "--json").json] == [
        "b1"
    ]
    assert len(mailerd("batch", "list", "-n", "3", "--json").json) == 3


def test_batch_list_turns_every_page(
    mailerd: Mailerd, bench: LedgerBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With more batches than a page holds, all are listed, each once."""
    monkeypatch.setattr("mailerd.cli.batch._PAGE", 2)
    for number in range(5):
        bench.enqueuer().enqueue(job(contacts(1), f"b{number}"), "request")

    listed = [view["batch_id"] for view in mailerd("batch", "list", "--json").json]

    assert listed == ["b4", "b3", "b2", "b1", "b0"]


def test_batch_pause_and_resume(mailerd: Mailerd, bench: LedgerBench) -> None:
    """Each says what to do next, shows the batch with --json, and is a no where there is nothing to do."""
    half_sent(bench)

    paused = mailerd("batch", "pause", "b1")
    again = mailerd("batch", "pause", "b1")
    shown = mailerd("batch", "show", "b1").out
    resumed = mailerd("batch", "resume", "b1", "--json").json

    assert paused.out.splitlines() == [
        "batch b1 of client shop: paused",
        "Next: mailerd batch resume b1 --client shop",
    ]
    assert (again.code, again.err) == (
        1,
        "mailerd: batch b1 of client shop: nothing to pause, it is paused\n",
    )
    assert shown.endswith("Next: mailerd batch resume b1 --client shop\n")
    assert resumed == mailerd("batch", "show", "b1", "--json").json
    assert mailerd("batch", "resume", "b1").code == 1


def test_batch_cancel_asks_first(
    mailerd: Mailerd, bench: LedgerBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without somebody to ask and without --yes nothing is cancelled; with it, nobody else gets mail."""
    bench.enqueuer().enqueue(job(contacts(3)), "request")
    monkeypatch.setattr("sys.stdin", None)

    asked = mailerd("batch", "cancel", "b1")
    assert asked.code == 2
    assert "Cancel batch b1 of client shop, 3 recipients open? Nobody is here to answer" in asked.err
    assert mailerd("batch", "show", "b1", "--json").json["state"] == "queued"

    cancelled = mailerd("batch", "cancel", "b1", "--yes", "--json").json
    assert (cancelled["state"], cancelled["counts"]) == ("cancelled", {"cancelled": 3})
    again = mailerd("batch", "cancel", "b1")
    assert (again.code, again.err) == (
        1,
        "mailerd: batch b1 of client shop: nothing to cancel, it is cancelled\n",
    )


def test_batch_retry(mailerd: Mailerd, bench: LedgerBench) -> None:
    """It is accepted while somebody has failed, and is a no otherwise."""
    half_sent(bench)
    bench.enqueuer().enqueue(job(contacts(1), "b2"), "request")

    said = mailerd("batch", "retry", "b1")

    assert said.out.splitlines()[-1] == "Next: mailerd batch watch b1 --client shop"
    assert mailerd("batch", "retry", "b2").code == 1


def test_two_clients_with_the_same_batch_id(mailerd: Mailerd, bench: LedgerBench) -> None:
    """It says so and which clients, and --client tells them apart."""
    half_sent(bench, client_id="shop")
    half_sent(bench, client_id="club")

    both = mailerd("batch", "show", "b1")

    assert both.code == 2
    assert mailerd("batch", "pause", "b1").code == 2
    assert both.err == "mailerd: 2 clients have a batch b1; name one by --client: club, shop\n"
    assert mailerd("batch", "show", "b1", "--client", "club", "--json").json["client_id"] == "club"
    assert mailerd("unknown", "resolve", "b1", "--all", "--as", "sent", "--yes").code == 2


@pytest.mark.parametrize(
    "command", [["batch", "show"], ["batch", "watch"], ["batch", "retry"], ["unknown", "list"]]
)
def test_a_batch_that_nobody_knows(mailerd: Mailerd, command: list[str]) -> None:
    """One line, exit code 1."""
    said = mailerd(*command, "no\x1bsuch")

    assert (said.code, said.out) == (1, "")
    assert said.err == "mailerd: no batch no\\x1bsuch is known\n"


def test_watching_a_batch_that_is_over(mailerd: Mailerd, bench: LedgerBench) -> None:
    """0 when it is done; 1, and what to do next, when somebody has to settle the rest."""
    worker, batch = half_sent(bench)
    worker.claim(batch, "c3")
    worker.mark(batch, booking("c3", Kind.SENT))

    needs = mailerd("batch", "watch", "b1")
    bench.unknowns.resolve("shop", "b1", ["c2"], "sent")  # type: ignore[arg-type] # its value does as well
    done = mailerd("batch", "watch", "b1")

    assert needs.code == 1
    assert needs.out.splitlines()[-1] == "Next: mailerd unknown list b1 --client shop"
    assert (done.code, done.out) == (0, "done: 4 of 4 (100 %)  3 sent, 1 failed\n")


@pytest.fixture
def watching(here: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts ``mailerd batch watch b1`` as a process of its own."""
    started = []

    def start(**streams: Any) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "mailerd", "batch", "watch", "b1"]
        started.append(subprocess.Popen(command, cwd=here, stderr=subprocess.PIPE, **streams))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_watching_without_a_terminal(
    bench: LedgerBench, watching: Callable[..., subprocess.Popen[bytes]]
) -> None:
    """Plain lines, from how it stands to how it ended."""
    worker, batch = half_sent(bench)
    process = watching(stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline().startswith(b"sending: 3 of 4 (75 %)")
    worker.claim(batch, "c3")
    worker.mark(batch, booking("c3", Kind.SENT), booking("c2", Kind.SENT))

    out, err = process.communicate(timeout=10)

    assert out == b"done: 4 of 4 (100 %)  3 sent, 1 failed\n"
    assert (process.returncode, err) == (0, b"")


def test_watching_on_a_terminal_until_ctrl_c(
    bench: LedgerBench, watching: Callable[..., subprocess.Popen[bytes]]
) -> None:
    """A bar; Ctrl-C leaves a terminal with its cursor, says that the batch goes on, and ends with 1."""
    half_sent(bench)
    master, slave = pty.openpty()
    process = watching(stdout=slave)
    os.close(slave)
    shown = b""

    def drawn() -> bool:
        nonlocal shown
        shown += os.read(master, 10_000)
        return b"3 of 4 (75 %)" in shown

    wait_until(drawn, 10, lambda: repr(shown[-500:]))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    shown += os.read(master, 10_000)
    os.close(master)

    assert process.returncode == 1
    assert err == b"No longer watched; the batch goes on.\n"
    assert shown.rfind(b"\x1b[?25h") > shown.rfind(b"\x1b[?25l") > -1


# dead


def test_dead_list_and_show(mailerd: Mailerd, bench: LedgerBench) -> None:
    """The newest first, with reason; shown, nothing in it steers the terminal and no byte is hidden."""
    newest, oldest = buried(bench, b"{", BAD)

    listed = mailerd("dead", "list", "--json").json
    text = mailerd("dead", "list", "--limit", "1").out
    shown = mailerd("dead", "show", newest).out

    assert [letter["letter_id"] for letter in listed] == [newest, oldest]
    assert listed[0]["reason"] == "not JSON: \x1b[31mred"
    assert [letter["size"] for letter in listed] == [len(BAD), 1]
    assert newest in text
    assert oldest not in text
    assert text.splitlines()[-1] == "2 dead letters; the newest 1 are shown."
    assert '{"client_id": "shop\\x1b[2J", \\xff\n' in shown
    assert "\x1b" not in text + shown


def test_dead_show_whole(bench: LedgerBench, here: Path) -> None:
    """--raw is the exact bytes and nothing else; --json has them in base64, and as text where it is one."""
    newest, oldest = buried(bench, b'{"\xc3\xbc"', BAD)

    def shown(*arguments: str) -> bytes:
        command = [sys.executable, "-m", "mailerd", "dead", "show", *arguments]
        return subprocess.run(command, cwd=here, stdout=subprocess.PIPE, check=True).stdout

    assert shown("--raw", newest) == BAD
    no_text = json.loads(shown("--json", newest))
    assert no_text["raw"] is None
    assert base64.b64decode(no_text["raw_base64"]) == BAD
    assert json.loads(shown("--json", oldest))["raw"] == '{"ü"'


def test_a_giant_letter_is_not_poured_out(mailerd: Mailerd, bench: LedgerBench) -> None:
    """Its beginning is shown, and how to get all of it."""
    (letter,) = buried(bench, b"x" * 50_000)

    shown = mailerd("dead", "show", letter).out

    assert len(shown) < 11_000
    assert shown.endswith(f"… and 40,000 bytes more: mailerd dead show --raw {letter}\n")


def test_dead_retry_opens_what_died_with_the_letter(mailerd: Mailerd, bench: LedgerBench) -> None:
    """The job is back on the queue, its recipients are queued again, and those that are done stay done."""
    worker = bench.hands()
    one = job(["c0", "c1"])
    bench.push(one)
    claim = worker.took()
    batch = worker.admit(one)
    worker.claim(batch, "c0", "c1")
    worker.mark(batch, booking("c0", Kind.SENT), booking("c1", Kind.FAILED, "no such template"))
    worker.claims.bury(claim, "no such template")
    (letter,) = bench.dead.ids()

    said = mailerd("dead", "retry", letter, "no-such-letter")

    assert said.code == 1
    assert said.out == f"retried {letter}\n"
    assert said.err == "mailerd: there is no dead letter no-such-letter\n"
    assert bench.queue() == [one.to_json()]
    assert bench.states() == {"c0": "sent", "c1": "queued"}
    assert mailerd("dead", "list", "--json").json == []


def test_dead_drop_all_asks_first(
    mailerd: Mailerd, bench: LedgerBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without somebody to ask and without --yes nothing is dropped; with it, everything is."""
    letters = buried(bench, b"{", b"[")
    monkeypatch.setattr("sys.stdin", None)

    asked = mailerd("dead", "drop", "--all")
    assert asked.code == 2
    assert asked.err == "mailerd: Forget 2 dead letters for good? Nobody is here to answer: give --yes\n"
    assert bench.dead.ids() == letters

    assert mailerd("dead", "drop", "--all", "--yes", "--json").json == {"dropped": letters, "missing": []}
    assert bench.dead.ids() == []
    assert mailerd("dead", "drop", "--all", "--yes").code == 1


@pytest.mark.parametrize("arguments", [["retry"], ["drop", "x", "--all"], ["show"], ["list", "-n", "0"]])
def test_dead_wrongly_used(mailerd: Mailerd, arguments: list[str]) -> None:
    """Usage, exit code 2."""
    assert mailerd("dead", *arguments).code == 2


# unknown


def test_unknown_list(mailerd: Mailerd, bench: LedgerBench) -> None:
    """All there are, those of one batch, or those of one client."""
    for client, batch in (("shop", "b1"), ("shop", "b2"), ("club", "b3")):
        half_sent(bench, batch, client)

    def batches(*arguments: str) -> set[str]:
        return {one["batch_id"] for one in mailerd("unknown", "list", *arguments, "--json").json}

    assert batches() == {"b1", "b2", "b3"}
    assert batches("b2") == {"b2"}
    assert batches("--client", "club") == {"b3"}
    said = mailerd("unknown", "list", "b2").out
    assert said.splitlines()[1].split()[:3] == ["shop", "b2", "c2"]
    assert said.splitlines()[-1].startswith("Next: look for the message ids in the mail server's log")


def test_unknown_list_names_what_to_look_for(mailerd: Mailerd, bench: LedgerBench) -> None:
    """The Message-ID stands beside each, as the mail server's log has it."""
    half_sent(bench, "b1", "shop")
    bench.client.hset(bench.keys.batch("shop/b1"), "domain", "example.com")
    wanted = message_id("shop", "b1", "c2", "example.com")

    assert [one["message_id"] for one in mailerd("unknown", "list", "--json").json] == [wanted]
    assert wanted in mailerd("unknown", "list").out


@pytest.mark.parametrize(("how", "state"), [("sent", "sent"), ("failed", "failed"), ("resend", "queued")])
def test_unknown_resolve(mailerd: Mailerd, bench: LedgerBench, how: str, state: str) -> None:
    """The recipient is what the operator says, and one that is to be sent again has a job for it."""
    half_sent(bench)

    said = mailerd("unknown", "resolve", "b1", "c2", "--as", how, "--json")

    assert said.json == {"client_id": "shop", "batch_id": "b1", "resolution": how, "resolved": 1}
    assert bench.states()["c2"] == state
    assert len(bench.put_aside()) == (how == "resend")
    assert mailerd("unknown", "list").out == "No recipient of unknown outcome.\n"
    assert mailerd("unknown", "resolve", "b1", "--all", "--as", how, "--yes").code == 1


def test_only_unknown_recipients_are_resolved(mailerd: Mailerd, bench: LedgerBench) -> None:
    """Whoever is named and is not unknown is complained of and left alone; the others are settled."""
    half_sent(bench)

    said = mailerd("unknown", "resolve", "b1", "c0", "c2", "nobody", "--as", "resend")

    assert said.code == 1
    assert [line.split()[1] for line in said.err.splitlines()] == ["c0", "nobody"]
    assert said.out == "1 recipient of batch b1: queued to be sent again\n"
    assert bench.states()["c0"] == "sent"


def test_resolving_all_asks_first(
    mailerd: Mailerd, bench: LedgerBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What may mail somebody twice is not done without a yes."""
    half_sent(bench)
    monkeypatch.setattr("sys.stdin", None)

    said = mailerd("unknown", "resolve", "b1", "--all", "--as", "resend")

    assert said.code == 2
    assert "Send the mail again to 1 recipient of batch b1 of client shop, who may have got it" in said.err
    assert bench.states()["c2"] == "unknown"


# where the queue is


def test_the_daemons_own_redis_is_found(
    mailerd: Mailerd, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With redis.embedded the commands go where the daemon keeps it; without, they tell of it."""
    (here / "config.toml").write_text('[daemon]\nstate_dir = "state"\n[redis]\nembedded = true\n')
    away = mailerd("status")
    server = embedded.start(here / "state")
    try:
        enqueued = mailerd("enqueue", "--client", "a", "--template", "t", "--contact", "c")
        found = mailerd("status", "--json").json
        monkeypatch.setenv("MAILERD_REDIS__EMBEDDED", "false")
        monkeypatch.setenv("REDIS_ADDR", "127.0.0.1:1")
        elsewhere = mailerd("status")
    finally:
        server.stop()

    assert away.code == 69
    assert f"unix://{here}/state/valkey" in away.err
    assert away.err.endswith("the daemon brings it: start mailerd, or restart it\n")
    assert enqueued.code == 0
    assert (found["redis"], found["length"]) == (server.url, 1)
    assert elsewhere.code == 69
    assert elsewhere.err.endswith("runs here: set MAILERD_REDIS__EMBEDDED=true to reach that\n")


# faults


COMMANDS = [
    ["status"],
    ["enqueue", "--client", "a", "--template", "t", "--contact", "c"],
    ["batch", "list"],
    ["batch", "show", "b1"],
    ["batch", "watch", "b1"],
    ["batch", "cancel", "b1"],
    ["dead", "list"],
    ["dead", "show", "x"],
    ["dead", "retry", "x"],
    ["dead", "drop", "x"],
    ["unknown", "list"],
    ["unknown", "resolve", "b1", "c1", "--as", "sent"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_redis_is_away(mailerd: Mailerd, monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    """One line that says where and what to do, exit code 69."""
    monkeypatch.setenv("REDIS_ADDR", "127.0.0.1:1")

    said = mailerd(*command)

    assert said.code == 69
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("mailerd: the Redis at redis://127.0.0.1:1/0 cannot be used now: ")
    assert line.endswith("; see that it runs, or set REDIS_ADDR or redis.url")


def test_a_nearly_full_redis_takes_no_job_for_certain(mailerd: Mailerd, bench: LedgerBench) -> None:
    """It says that it is full and what helps; not that it may be away, nor that the job may be queued."""
    bench.client.config_set("maxmemory", int(bench.client.info("memory")["used_memory"] * 1.05))
    try:
        said = mailerd("enqueue", "--client", "shop", "--template", "t", "--contact", "c1")
    finally:
        bench.client.config_set("maxmemory", 0)

    assert (said.code, bench.queue()) == (69, [])
    (line,) = said.err.splitlines()
    assert line.endswith("are used; raise its maxmemory, or shorten queue.retention_days")


def test_an_answer_that_finds_no_room(here: Path) -> None:
    """A full disk under the output is one line and no traceback."""
    command = [sys.executable, "-m", "mailerd", "help", "drain"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, cwd=here, stdout=full, stderr=subprocess.PIPE, text=True, check=False)

    assert done.returncode == 70
    assert done.stderr == "mailerd: there is no room on the disk for what was to be written\n"


def test_redis_lets_nobody_in(mailerd: Mailerd, bench: LedgerBench) -> None:
    """A refused login is one line and exit code 78, as at a start."""
    bench.client.config_set("requirepass", "x")
    try:
        said = mailerd("status")
    finally:
        bench.client.execute_command("AUTH", "x")
        bench.client.config_set("requirepass", "")

    assert said.code == 78
    assert said.err.count("\n") == 1
    assert "NOAUTH" in said.err or "Authentication required" in said.err


def test_a_queue_that_is_no_list(mailerd: Mailerd, bench: LedgerBench) -> None:
    """A key of the wrong kind is said in one line, without a traceback."""
    bench.client.set(bench.keys.queue, "x")

    said = mailerd("status")

    assert said.code == 78
    assert said.err.count("\n") == 1
    assert "WRONGTYPE" in said.err


@pytest.mark.slow
def test_a_frozen_redis_is_given_up_within_seconds(
    mailerd: Mailerd, redis_servers: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that takes the connection and never answers is away, too."""
    server = redis_servers().start()
    monkeypatch.setenv("REDIS_ADDR", server.addr)
    server.freeze()

    assert mailerd("status").code == 69


def test_nobody_reads_to_the_end(bench: LedgerBench, here: Path) -> None:
    """A pipe that is closed early, as by ``head``, ends the command without a traceback."""
    worker = bench.hands()
    for start in range(0, 5000, 500):
        worker.admit(job(contacts(500, start)))
    command = [sys.executable, "-m", "mailerd", "batch", "show", "b1", "--recipients"]
    with subprocess.Popen(command, cwd=here, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read()

    assert process.returncode == 1
    assert err == b""


def test_a_terminal_that_does_not_know_every_letter(bench: LedgerBench, here: Path) -> None:
    """What its encoding lacks is escaped; JSON is UTF-8 all the same."""
    bench.hands().admit(job(["Jörg 🎉"]))
    environ = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    command = [sys.executable, "-m", "mailerd", "batch", "show", "b1", "--recipients"]

    text = subprocess.run(command, cwd=here, env=environ, capture_output=True, check=True).stdout
    as_json = subprocess.run([*command, "--json"], cwd=here, env=environ, capture_output=True, check=True)

    assert b"J\xf6rg \\U0001f389  queued" in text
    assert json.loads(as_json.stdout.decode())["recipients"][0]["contact_id"] == "Jörg 🎉"


# doctor


def test_doctor_says_what_is_wrong_and_what_to_do(mailerd: Mailerd, bench: LedgerBench) -> None:
    """Each complaint stands with its remedy; the exit code says that something is wrong."""
    bench.client.zadd(bench.keys.retry, {"x": 1000})

    said, as_json = mailerd("doctor"), mailerd("doctor", "--json")

    assert said.code == as_json.code == 1
    lines = said.out.splitlines()
    at = lines.index("1 jobs that were put aside are overdue")
    assert lines[at + 1] == "    a running daemon brings them back: start one"
    assert {"what": lines[at], "advice": lines[at + 1].strip()} in json.loads(as_json.out)
