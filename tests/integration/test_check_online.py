"""``mailerd check --online`` against real servers: a line for each thing tried, whatever the others say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mailerd.cli import run
from rigs.daemon import Sections
from rigs.fake_ses import ENVIRONMENT, FakeSes
from rigs.project import Project
from rigs.redis_server import RedisServer
from rigs.signatures import keys, pem
from rigs.sink import Sink
from rigs.toml import toml

Check = Callable[..., tuple[int, dict[str, list[str]]]]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A folder with templates and contacts, and nothing in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in ("REDIS_ADDR", "MAILERD_CONFIG", "CREDENTIALS_DIRECTORY", "STATE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    made = Project(tmp_path / "project")
    made.contacts(3)
    return made


@pytest.fixture
def sections(project: Project, valkey: RedisServer, sink: Sink) -> Sections:
    """A configuration with which everything works."""
    return project.sections(valkey, sink)


@pytest.fixture
def check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Check:
    """Checks a configuration; the exit code, and by what was tried each ``result: message``."""

    def call(sections: Sections, **overlay: dict[str, Any]) -> tuple[int, dict[str, list[str]]]:
        merged = {
            name: {**sections.get(name, {}), **overlay.get(name, {})} for name in {**sections, **overlay}
        }
        (tmp_path / "config.toml").write_text(toml(merged))
        code = run(["check", "--online", "--json"])
        found: dict[str, list[str]] = {}
        for one in json.loads(capsys.readouterr().out)["checks"]:
            found.setdefault(one["about"], []).append(f"{one['result']}: {one['message']}")
        return code, found

    return call


def test_everything_works(
    sections: Sections, check: Check, valkey: RedisServer, sink: Sink, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line each, exit code 0, no mail sent, and the queue untouched."""
    code, found = check(sections)
    assert run(["check", "--online"]) == 0
    text = capsys.readouterr().out

    assert code == 0
    assert list(found) == ["redis", "mail", "contacts", "templates"]
    assert found["redis"][0].startswith("ok: Valkey ") or found["redis"][0].startswith("ok: Redis ")
    assert found["redis"][1].startswith("warning: Redis keeps no append-only file")
    assert found["mail"] == [f"ok: 127.0.0.1:{sink.port} takes mail (not encrypted, no login)"]
    assert found["contacts"][0].startswith("ok: the query runs at sqlite:///")
    assert found["templates"][0].startswith("ok: 2 templates in ")
    assert "ok: templates: 2 templates in " in text
    assert sink.hand_overs() == []
    assert valkey.client().keys("*") == [b"{email_queue}:schema"]


def test_the_account_of_ses(sections: Sections, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    """It tells quota and rate, warns of sandbox and review, names what keeps mail from going."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with FakeSes(day=50_000, rate=14) as fake:
        _, good = check(sections, mail={"transport": "ses"}, ses=fake.settings)
        fake.state.production, fake.state.standing, fake.state.sending = False, "PROBATION", False
        code, bad = check(sections, mail={"transport": "ses"}, ses=fake.settings)

    said = f"ok: {fake.url} takes mail (0 of 50000 mails sent in 24 hours, at most 14 a second)"
    assert good["mail"] == [said]
    assert code == 78
    assert bad["mail"] == [
        f"problem: {fake.url}: sending is switched off for this account (PROBATION)",
        "warning: the account is in the sandbox: SES takes mail to verified addresses only",
        "warning: the account is under review (PROBATION): SES may switch it off",
    ]
    assert fake.mails() == []


def test_each_relay_is_named(sections: Sections, check: Check, sink: Sink) -> None:
    """One that is down is a warning with its trouble as long as another takes mail; all of them a problem."""
    relays = [{"host": "127.0.0.1", "port": 1}]
    down = "cannot connect to 127.0.0.1:1: Connection refused; see smtp.host and smtp.port"

    code, one = check(sections, smtp={"relays": relays})
    all_down, two = check(sections, smtp={"port": 1, "relays": relays})

    assert (code, all_down) == (0, 78)
    assert one["mail"] == [
        f"ok: 127.0.0.1:{sink.port} takes mail (not encrypted, no login)",
        f"warning: {down}",
    ]
    assert two["mail"] == [f"problem: {down}"] * 2


def test_only_redis_is_out_of_reach(sections: Sections, check: Check) -> None:
    """69, as at a start, and everything else was tried all the same."""
    code, found = check(sections, redis={"url": "redis://127.0.0.1:1/0"})

    assert code == 69
    assert found["redis"][0].startswith("problem: the Redis at redis://127.0.0.1:1/0 cannot be used now: ")
    assert [found[name][0][:3] for name in ("mail", "contacts", "templates")] == ["ok:"] * 3


def test_everything_is_broken(project: Project, sections: Sections, check: Check) -> None:
    """Every fault is found at once, each in the words of the room that found it; 78."""
    project.template("broken", text="{% if %}")

    code, found = check(
        sections,
        redis={"url": "redis://127.0.0.1:1/0"},
        smtp={"port": 1},
        contacts={"query": "SELECT id, name FROM contacts WHERE id IN :contact_ids"},
    )

    assert code == 78
    assert found["mail"] == [
        "problem: cannot connect to 127.0.0.1:1: Connection refused; see smtp.host and smtp.port"
    ]
    (contacts,) = found["contacts"]
    assert contacts.startswith("problem: contacts.query gives no column email; ")
    assert found["templates"][0].startswith("problem: template broken/body.txt line 1: ")
    assert found["templates"][1].startswith("ok: 2 templates in ")


def test_a_redis_that_evicts(sections: Sections, check: Check, valkey: RedisServer) -> None:
    """It is there and must not be used: 78."""
    client = valkey.client()
    client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        code, found = check(sections)
    finally:
        client.config_set("maxmemory-policy", "noeviction")

    assert code == 78
    assert "problem" in found["redis"][0]
    assert "allkeys-lru" in found["redis"][0]


def test_a_refused_login_and_missing_tls(sections: Sections, check: Check) -> None:
    """A server without STARTTLS, and one that knows no login, are found before the first mail."""
    _, no_tls = check(sections, smtp={"tls": "starttls"})
    _, no_login = check(sections, smtp={"username": "u", "password": "hunter2"})

    assert "does not offer STARTTLS" in no_tls["mail"][0]
    assert no_login["mail"][0].startswith("problem: ")
    assert "login" in no_login["mail"][0]
    assert "hunter2" not in str(no_login)


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        ({"url": "sqlite:///missing.db"}, "problem: "),
        ({"query": "SELECT id, email FROM nowhere WHERE id IN :contact_ids"}, "no such table"),
        ({"query": "SELECT email FROM contacts WHERE id IN :contact_ids"}, "gives no column id"),
    ],
)
def test_contacts_that_cannot_be_asked(
    sections: Sections, check: Check, overlay: dict[str, str], message: str
) -> None:
    """A database that is missing and a query that cannot work are problems."""
    code, found = check(sections, contacts=overlay)

    assert code == 78
    assert message in found["contacts"][0]


def test_keys_that_sign(sections: Sections, check: Check) -> None:
    """Each key is tried, and one that cannot sign is a problem of its own."""
    good = {"domain": "sender.test", "selector": "e1", "key": pem(keys()["e1"])}

    code, found = check(sections, mail={"dkim": [good]})
    assert (code, found["dkim"]) == (0, ["ok: mail from sender.test is signed (ed25519-sha256, selector e1)"])
    code, found = check(sections, mail={"dkim": [good | {"key": "none"}]})
    assert (code, found["dkim"]) == (78, ["problem: mail.dkim.0: the key is no private key in PEM"])


def test_the_outbox(project: Project, sections: Sections, check: Check, tmp_path: Path) -> None:
    """A folder that can be made is good; one below a file is not, and nothing is made."""
    del sections["smtp"]
    (tmp_path / "file").write_text("")

    good, fine = check(sections, mail={"transport": "outbox", "outbox": str(tmp_path / "new" / "outbox")})
    bad, found = check(sections, mail={"transport": "outbox", "outbox": str(tmp_path / "file" / "outbox")})

    assert (good, fine["mail"]) == (0, [f"ok: mails can be written to {tmp_path}/new/outbox"])
    assert bad == 78
    assert found["mail"][0].startswith("problem: cannot write to the outbox ")
    assert not (tmp_path / "new").exists()


def test_nothing_is_sent(sections: Sections, check: Check, tmp_path: Path) -> None:
    """Without a transport there is no way out to try, and templates that lack are no problem yet."""
    for name in ("smtp", "contacts", "mail"):
        del sections[name]

    code, found = check(sections, templates={"path": str(tmp_path / "none")})

    assert code == 0
    assert found["mail"] == ["ok: transport none: nothing is sent, there is nothing to reach"]
    assert found["contacts"] == ["ok: no [contacts]: a contact id must be an address"]
    assert found["templates"][0].startswith("warning: the folder ")
