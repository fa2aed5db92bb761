"""What the unit may not do, and that it does all of its own work nevertheless."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from rigs.daemon import Sections
from rigs.fake_ses import ENVIRONMENT, FakeSes
from rigs.service import UNIT, Service
from rigs.sink import Sink
from rigs.tls_server import TlsServer
from rigs.waiting import wait_until

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(900)]

CONNECTIONS = 4  # of each worker

# Even root of the container may not, so that the probe cannot show it both ways.
NOT_EVEN_ROOT = {
    "load a module",
    "set the clock",
    "open a disk",
    "read the kernel's log",
    "write to a control group",
    "run in real time",
    "turn a kernel knob",
}


def test_the_exposure_is_low(service: Service, sections: Sections) -> None:
    """Systemd's own judgement of the running unit is 1.1 or better."""
    service.start()

    judged = service.container.run("systemd-analyze", "security", UNIT)
    level = re.search(r"Overall exposure level for mailerd.service: ([\d.]+)", judged)
    assert level, judged
    assert float(level[1]) <= 1.1, judged


def test_forbidden_acts_fail(service: Service) -> None:
    """A program in the unit's place can do none of them, though root outside of it can do most."""
    probe = Path(__file__).with_name("forbidden.py").read_text()
    service.container.write("/usr/local/lib/forbidden.py", probe)
    service.container.write("/home/somebody/diary", "dear diary")
    other = service.container.run("systemctl", "show", "dbus", "-P", "MainPID").strip()
    command = f"/opt/mailerd/current/bin/python /usr/local/lib/forbidden.py {other}"

    outside = json.loads(service.container.run(*command.split()))
    assert {act for act, outcome in outside.items() if outcome != "done"} <= NOT_EVEN_ROOT

    service.drop_in(f"[Service]\nType=oneshot\nWatchdogSec=0\nExecStart=\nExecStart={command}\n")
    service.start()
    inside = json.loads(next(line for line in service.journal().splitlines() if line.startswith("{")))
    assert inside.keys() == outside.keys()
    assert {act: outcome for act, outcome in inside.items() if outcome == "done"} == {}


def test_a_batch_is_examined_in_the_sandbox(service: Service, sections: Sections, sink: Sink) -> None:
    """A dry run over HTTP by the running unit, and ``mailerd preflight`` in its place; nobody is mailed."""
    service.start()
    spring = {"client_id": "c1", "contact_ids": ["user1", "nobody"], "template_id": "plain"}
    answer = service.request("POST", "/queue?dry_run=1", {**spring, "batch_id": "spring"})
    by_unit = {finding["about"]: finding for finding in answer.json["findings"]}
    assert (answer.status, by_unit["contact.unknown"]["examples"]) == (200, ["nobody"])
    service.stop()

    service.container.write("/etc/mailerd/ids.txt", "user1\nnobody\n")
    command = "/opt/mailerd/current/bin/mailerd preflight plain --batch /etc/mailerd/ids.txt --json"
    oneshot = "Type=oneshot\nWatchdogSec=0\nRestart=no\nSuccessExitStatus=1\n"
    service.drop_in(f"[Service]\n{oneshot}ExecStart=\nExecStart={command}\n")
    service.start()

    assert '"about": "contact.unknown"' in service.journal(), service.journal()
    assert sink.recipients() == {}


def test_the_limits_are_in_force(service: Service, sections: Sections, sink: Sink) -> None:
    """Systemd has the unit's limits, each process has its own, and a worker at work has few threads."""
    service.start()
    sink.behave(delay=0.5)
    service.post("spring", [f"user{n}" for n in range(1, 21)])
    wait_until(lambda: len(sink.open()) >= CONNECTIONS)

    limits = {"OOMPolicy": "continue", "TasksMax": "4096", "LimitNOFILE": "8192", "UMask": "0077"}
    assert {name: service.show(name) for name in limits} == limits
    for pid in service.processes():
        assert re.search(r"Max open files +8192 +8192 ", Path(f"/proc/{pid}/limits").read_text())
    threads = [len(list(Path(f"/proc/{pid}/task").iterdir())) for pid in service.workers]
    assert max(threads) <= 1 + CONNECTIONS + 2


_KILLED, _DUMPED = "2", "3"  # waitid's CLD_KILLED and CLD_DUMPED


def test_no_core_is_left(service: Service) -> None:
    """What aborts in the unit's place leaves no core, though without the unit's limit it would."""
    if Path("/proc/sys/kernel/core_pattern").read_text().startswith("|"):
        pytest.skip("this kernel hands cores to a program, which judges the limit itself")
    abort = "[Service]\nType=oneshot\nWatchdogSec=0\nRestart=no\nWorkingDirectory=/var/lib/mailerd\n"
    abort += "ExecStart=\nExecStart=/bin/sh -c 'kill -ABRT $$$$'\n"
    ended = []
    for limit in ("", "LimitCORE=infinity\n"):
        service.drop_in(abort + limit)
        service.systemctl("start", UNIT, check=False)
        ended.append(service.show("ExecMainCode"))

    assert ended == [_KILLED, _DUMPED]


SECRET = "hunter2-and-nobody-else"


@pytest.mark.parametrize("way", ["credential", "file", "environment"])
def test_secrets_stay_secret(service: Service, sections: Sections, way: str) -> None:
    """A password stands in no process list, journal, state or core, and no other user can read it."""
    machine = service.container
    sections["smtp"] |= {"username": "shop", "tls": "starttls"}
    sections["log"] = {"level": "debug"}
    match way:
        case "credential":
            machine.write("/etc/credstore/mailerd.smtp.password", SECRET, "600")
        case "file":
            machine.write("/etc/mailerd/smtp.password", SECRET, "640", "mailerd")
            sections["smtp"]["password_file"] = "/etc/mailerd/smtp.password"
        case "environment":
            machine.write("/etc/default/mailerd", f"MAILERD_SMTP__PASSWORD={SECRET}\n", "600")
    service.configure(sections)
    service.start()
    service.post("spring", ["user1"])
    for signal in ("USR1", "USR2"):
        service.systemctl("kill", "--kill-who=main", "-s", signal, UNIT)
    service.wait_for_line("State: main")
    service.wait_for_line("The route is blocked")  # the sink has no TLS

    assert SECRET not in service.journal("-o", "verbose")
    assert SECRET not in machine.run("ps", "auxww")
    assert SECRET not in service.systemctl("show", UNIT)
    assert SECRET not in machine.run("grep", "-ra", SECRET[:7], "/var/lib/mailerd", check=False)
    for pid in service.processes():
        if way != "environment":
            assert SECRET.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
        assert re.search(r"Max core file size +0 +0 ", Path(f"/proc/{pid}/limits").read_text())
    assert_hidden_from_others(service, FILES_WITH_SECRETS[way])


FILES_WITH_SECRETS = {
    "credential": ["/etc/credstore/mailerd.smtp.password", "/run/credentials/mailerd.service/smtp.password"],
    "file": ["/etc/mailerd/smtp.password"],
    "environment": ["/etc/default/mailerd"],
}


def assert_hidden_from_others(service: Service, files: list[str]) -> None:
    """The account nobody can read no process's environment and no file with a secret, though root can."""
    processes = service.container.run("pgrep", "-u", "mailerd").split()
    assert len(processes) == len(service.processes())
    for path in [*files, "/etc/mailerd/config.toml", *(f"/proc/{pid}/environ" for pid in processes)]:
        service.container.run("cat", path)
        done = service.container.execute("runuser", "-u", "nobody", "--", "cat", path)
        assert done.returncode != 0
        assert b"Permission denied" in done.stdout


def test_a_credential_that_is_not_there_is_not_missed(service: Service, sections: Sections) -> None:
    """Where no password is needed, the unit starts without one."""
    assert "LoadCredential=smtp.password:" in service.systemctl("cat", UNIT)
    service.start()
    assert service.is_up


def test_smtp_over_tls_with_a_login(service: Service, sections: Sections, tls_server: TlsServer) -> None:
    """The certificate is checked, the password comes from the credential, and the mail arrives."""
    machine = service.container
    machine.write("/etc/mailerd/ca.pem", tls_server.authority)
    machine.write("/etc/credstore/mailerd.smtp.password", tls_server.password, "600")
    sections["smtp"] = {"host": "127.0.0.1", "port": tls_server.port, "tls": "starttls", "username": "shop"}
    sections["smtp"]["ca_file"] = "/etc/mailerd/ca.pem"
    service.configure(sections)
    service.start()

    service.post("spring", ["user1", "user2"])

    assert service.wait_for_batch("spring")["counts"] == {"sent": 2}
    assert sorted(tls_server.recipients) == ["user1@example.com", "user2@example.com"]


def test_mail_through_amazon_ses(service: Service, sections: Sections) -> None:
    """Requests are signed with the credentials of the unit's environment, and the mail arrives."""
    with FakeSes() as fake:
        sections["mail"]["transport"] = "ses"
        del sections["smtp"]
        service.configure({**sections, "ses": fake.settings})
        keys = "".join(f"{name}={value}\n" for name, value in ENVIRONMENT.items())
        service.container.write("/etc/default/mailerd", keys, "600")
        service.start()

        service.post("spring", ["user1", "user2"])

        assert service.wait_for_batch("spring")["counts"] == {"sent": 2}
        assert sorted(mail.recipient for mail in fake.mails()) == ["user1@example.com", "user2@example.com"]
        service.stop()


CONTACTS_TABLE = """
    CREATE TABLE contacts (id bigint, email text, name text);
    GRANT SELECT ON contacts TO mailerd;
    INSERT INTO contacts SELECT n, 'row' || n || '@example.com', 'Ann' FROM generate_series(1, 20) n;
"""


def test_contacts_in_postgresql(service: Service, sections: Sections, sink: Sink) -> None:
    """The database knows the unit's account by its socket; no password is needed."""
    machine = service.container
    machine.run("systemctl", "unmask", "postgresql")
    machine.run("systemctl", "start", "postgresql")
    psql = ("runuser", "-u", "postgres", "--", "psql", "-q", "-v", "ON_ERROR_STOP=1")
    try:
        machine.run(*psql, stdin="CREATE ROLE mailerd LOGIN; CREATE DATABASE shop;")
        machine.run(*psql, "shop", stdin=CONTACTS_TABLE)
        sections["contacts"] = {"url": "postgresql+psycopg:///shop?host=/run/postgresql"}
        service.configure(sections)
        service.start()
        service.post("spring", [str(n) for n in range(1, 21)])
        sink.wait_for(20)
        assert sink.recipients() == {f"row{n}@example.com": 1 for n in range(1, 21)}
    finally:
        service.stop()
        machine.run("systemctl", "stop", "postgresql")


def test_mail_through_a_local_postfix(service: Service, sections: Sections) -> None:
    """What Debian's own relay on port 25 takes lies in a mailbox, once for each recipient."""
    machine = service.container
    box = machine.path("/var/mail/postbox")
    settings = (
        "mydestination=example.com",
        "local_recipient_maps=",
        "alias_maps=",
        "luser_relay=postbox@example.com",
    )
    machine.run("useradd", "postbox")
    machine.run("postconf", "-e", *settings)
    machine.run("systemctl", "unmask", "postfix")
    machine.run("systemctl", "start", "postfix")
    sections["smtp"] = {"host": "127.0.0.1", "tls": "none"}
    service.configure(sections)
    service.start()

    service.post("spring", [f"user{n}" for n in range(1, 11)])

    assert service.wait_for_batch("spring")["counts"] == {"sent": 10}
    wanted = [f"X-Original-To: user{n}@example.com" for n in range(1, 11)]
    lines: list[str] = []

    def all_there() -> bool:
        lines[:] = box.read_text().splitlines() if box.exists() else []
        return sum(line.startswith("X-Original-To: ") for line in lines) >= len(wanted)

    wait_until(all_there, 20.0, lambda: machine.run("journalctl", "-n", "30", "--no-pager"))
    assert sorted(line for line in lines if line.startswith("X-Original-To: ")) == sorted(wanted)
    machine.run("systemctl", "stop", "postfix")


def test_its_own_valkey(service: Service, sections: Sections, sink: Sink) -> None:
    """With ``redis.embedded`` it needs no Redis; what it was given outlives a restart of the unit."""
    service.systemctl("stop", "redis-server")
    sections["redis"] = {"embedded": True}
    service.configure(sections)
    service.start()
    assert any("valkey-server" in text for text in service.processes().values())
    sink.behave(delay=0.2)
    contacts = [f"user{n}" for n in range(1, 61)]
    service.post("spring", contacts)
    sink.wait_for(8)

    service.restart()

    service.wait_for_batch("spring")
    assert sink.recipients() == {f"{contact}@example.com": 1 for contact in contacts}
    service.stop()
    wait_until(lambda: service.processes() == {}, 5.0)
