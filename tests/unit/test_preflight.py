"""What a pre-flight finds: each thing in a batch made for it, and nothing in one that is right."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mailerd.cli import run
from mailerd.clock import SystemClock
from mailerd.config import Config
from mailerd.job import EmailJob
from mailerd.preflight import links
from mailerd.preflight.bounds import Bounds
from mailerd.preflight.examine import examine
from mailerd.preflight.findings import Finding, Findings, Remark, Severity
from mailerd.preflight.forecast import Forecast, Load, forecast
from mailerd.preflight.sender import aligned

PEOPLE = [
    ("1", "ann@example.com", "Ann", 0),
    ("2", "bob@example.com", "", 0),
    ("3", "ANN@example.com", "Ann", 0),
    ("4", "dora@example.org", "Dora", 1),
    ("5", "not an address", "Ed", 0),
    ("6", "flo@example.org", "Flo {{ x }}", 0),
]
GOOD = {
    "subject.txt": "Spring for {{ name }}",
    "body.html": '<p>Dear {{ name }}, <a href="https://example.com/">look</a></p>',
    "body.txt": "Dear {{ name }}, look: https://example.com/",
}
MAIL = {"transport": "smtp", "from": "Shop <news@example.com>"}

Look = Callable[..., dict[str, Finding]]


@pytest.fixture
def look(tmp_path: Path) -> Look:
    """Make a template of these files, look at a batch to these contacts, and give the findings by name."""
    with closing(sqlite3.connect(tmp_path / "contacts.db")) as database, database:
        database.execute("CREATE TABLE contacts (id TEXT, email TEXT, name TEXT, suppressed INT)")
        database.executemany("INSERT INTO contacts VALUES (?, ?, ?, ?)", PEOPLE)

    def looked(contacts: str = "1", mail: dict[str, Any] | None = None, **files: str) -> dict[str, Finding]:
        folder = tmp_path / "templates" / "spring"
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in (GOOD | {name.replace("_", "."): text for name, text in files.items()}).items():
            (folder / name).write_text(text)
        job = EmailJob("shop", tuple(contacts.split()), "spring", "b-1")
        report = examine(config(tmp_path, mail or {}), job, SystemClock(), Bounds(), lambda _: None)
        assert report.good == (not [f for f in report.findings if f.remark.severity is not Severity.NOTE])
        return {finding.remark.about: finding for finding in report.findings}

    return looked


def config(folder: Path, mail: dict[str, Any]) -> Config:
    query = "SELECT id, email, name, suppressed FROM contacts WHERE id IN :contact_ids"
    sections = {
        "mail": MAIL | mail,
        "smtp": {"host": "mail.example.com"},
        "contacts": {"url": f"sqlite:///{folder}/contacts.db", "query": query},
        "templates": {"path": str(folder / "templates")},
    }
    return Config.model_validate(sections)


def test_a_batch_that_is_right_has_no_findings_but_notes(look: Look) -> None:
    """That the mail goes unsigned is for a relay to mend, and no fault."""
    assert set(look("1")) == {"from.unsigned"}


def test_contacts_who_get_no_mail_are_told_apart(look: Look) -> None:
    """Unknown, unusable, suppressed, named twice, and two with one address in other letters."""
    found = look("1 2 3 4 5 nobody 1 no-one")

    assert found["contact.unknown"].examples == ("nobody", "no-one")
    assert found["address.bad"].examples == ("5",)
    assert found["contact.suppressed"].examples == ("4",)
    assert found["contact.twice"].examples == ("1",)
    assert found["address.twice"].examples == ("3 as 1",)
    assert found["variable.empty"].examples == ("2",)


def test_each_missing_variable_is_named(look: Look, tmp_path: Path) -> None:
    """All at once, in the order in which the template comes to them; one that it only asks for is none."""
    look("1", body_html="{% if vip is defined %}!{% endif %}{{ code }}{% for o in offers %}{% endfor %}")
    job = EmailJob("shop", ("1",), "spring", "b-1", {"code": "X"})
    (tmp_path / "templates/spring/subject.txt").write_text("{{ shop }} {{ code }}")
    report = examine(config(tmp_path, {}), job, SystemClock(), Bounds(), lambda _: None)

    named = [
        f.remark.what.split()[5].strip(",") for f in report.findings if f.remark.about == "variable.missing"
    ]
    assert named == ["shop", "offers"]


def test_a_template_that_raises_is_told_with_its_line(look: Look) -> None:
    """For those whose values make it raise, and for nobody else."""
    found = look("1 2", body_txt="Hello\n{{ 1 // name|length }}")["template.raises"]

    assert (found.recipients, found.examples) == (1, ("2",))
    assert "spring/body.txt line 2" in found.remark.what


@pytest.mark.parametrize("name", ["summer", "../spring"])
def test_without_its_template_the_contacts_are_looked_at(look: Look, tmp_path: Path, name: str) -> None:
    """What is wrong is told at once, and not one thing after the other."""
    look()
    job = EmailJob("shop", ("1", "nobody"), name, "b")
    report = examine(config(tmp_path, {}), job, SystemClock(), Bounds(), lambda _: None)

    found = {finding.remark.about: finding.remark.what for finding in report.findings}
    assert found.keys() == {"contact.unknown", "template"}
    assert found["template"].startswith(f"there is no template {name}")


def test_a_database_that_is_away_ends_the_look(look: Look, tmp_path: Path) -> None:
    """And is called by its name."""
    look()
    (tmp_path / "contacts.db").unlink()

    assert "unable to open database file" in look()["contacts"].remark.what


@pytest.mark.parametrize(
    ("files", "about", "example"),
    [
        ({"body_html": "<p>" + "x" * 105_000}, "size.clipped", "1: 102 KB"),
        ({"body_txt": "{{ name * 3450000 }}"}, "size.large", ""),
        ({"subject_txt": "long " * 20}, "subject.long", ""),
        ({"subject_txt": "one\ntwo"}, "subject.lines", "one / two"),
        ({"body_html": '<img src="https://example.com/a.png">', "body_txt": " "}, "text.empty", "1"),
        ({"mail_toml": '[headers]\nList-Unsubscribe = "<mailto:u@example.com>"'}, "unsubscribe.https", ""),
        (
            {"mail_toml": '[headers]\nList-Unsubscribe = "<https://e.com/{{ id }}>"'},
            "unsubscribe.one_click",
            "",
        ),
        ({"body_html": "<a href='/offers'>x</a>"}, "link.relative", "1: /offers"),
        ({"body_html": "<a class=x href=>x</a><img src=''>"}, "link.empty", "1: (empty)"),
        ({"body_html": "<a href='https://e.com/{{ \"{{ id }}\" }}'>x</a>"}, "link.placeholder", ""),
        ({"body_txt": "see http://example.com/a."}, "link.http", "1: http://example.com/a"),
        ({"body_html": "<a href='http://localhost:8000/'>"}, "link.private", "1: http://localhost:8000/"),
        ({"mail_toml": 'from = "Shop <shop@gmail.com>"'}, "from.free_mail", "gmail.com"),
    ],
)
def test_what_is_wrong_with_a_mail(look: Look, files: dict[str, str], about: str, example: str) -> None:
    """Each fault is found, with the piece that is meant."""
    found = look("1", **files)

    assert about in found
    assert example in found[about].examples or not example


@pytest.mark.parametrize(
    ("mail", "about"),
    [
        ({"transport": "none"}, "transport.none"),
        ({"redirect_to": "qa@example.com"}, "mail.redirected"),
        ({"envelope_from": "b@bounces.example.net"}, "from.unaligned"),
    ],
)
def test_what_is_wrong_with_the_settings(look: Look, mail: dict[str, str], about: str) -> None:
    """What the configuration allows and a batch is hardly meant for."""
    assert look("1", mail)[about].remark.severity is Severity.WARNING


def test_what_stands_in_a_value_is_no_template(look: Look) -> None:
    """A name with braces is sent as it is, which is told."""
    assert look("6")["mail.placeholder"].examples == ("6: {{ x }}",)


def test_a_template_without_a_text_is_noted(look: Look, tmp_path: Path) -> None:
    """Its text is made of the HTML."""
    look()
    (tmp_path / "templates/spring/body.txt").unlink()
    job = EmailJob("shop", ("1",), "spring", "b-1")
    report = examine(config(tmp_path, {}), job, SystemClock(), Bounds(), lambda _: None)

    assert "text.derived" in {finding.remark.about for finding in report.findings}


@pytest.mark.parametrize(
    "link",
    ["https://example.com/a?b=c&d=%7Bx%7D", "mailto:a@b.c", "tel:+4930", "#top", "cid:logo", "app://x/y"],
)
def test_a_link_that_is_right(link: str) -> None:
    """Nothing is said of it."""
    assert links.remark_on(link) is None


@pytest.mark.parametrize(
    "link", ["http://10.0.0.1/", "https://[::1]/", "https://intranet/x", "https://a.local"]
)
def test_a_link_that_nobody_else_can_reach(link: str) -> None:
    """Private addresses, and names without a dot or of no public zone."""
    assert links.remark_on(link) is links.PRIVATE


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("example.com", "example.com", True),
        ("bounces.example.com", "news.example.com", True),
        ("mail.sap.de", "sap.de", True),
        ("a.co.uk", "b.co.uk", False),
        ("example.com", "example.org", False),
    ],
)
def test_alignment(one: str, other: str, *, together: bool) -> None:
    """Two domains are one owner's below the same registered name."""
    assert aligned(one, other) is aligned(other, one) is together


@pytest.mark.parametrize(
    ("limits", "seconds", "held_by"),
    [
        ({}, 10, "server: 100 a second"),
        ({"per_second": 0.25}, 4000, "[limits]: 0.25 a second"),
        ({"per_second": 14}, 1000 / 14, "[limits]: 14 a second"),
        ({"per_second": 10, "per_day": 400}, 2 * 86400 + 20, "[limits]: 10 a second, 400 a day"),
        ({"per_day": 1000}, 10, "server: 100 a second"),
        ({"domains": [{"domain": "a.org", "per_second": 0.01, "per_day": 9}]}, 10, "server: 100 a second"),
        ({"clients": [{"client_id": "club", "per_second": 1}]}, 10, "server: 100 a second"),
        ({"clients": [{"client_id": "shop", "per_second": 2}]}, 500, "[[limits.clients]] shop: 2 a second"),
        (
            {"domains": [{"domain": "example.com", "per_second": 1}], "per_second": 20},
            300,
            "[[limits.domains]] example.com: 1 a second",
        ),
    ],
)
def test_the_forecast(limits: dict[str, Any], seconds: float, held_by: str) -> None:
    """The slowest holds up the rest: the server, a rate, a day's budget, a client's or a domain's limit."""
    load = Load("shop", 1000, {"example.com": 300}, 100, "server")

    foreseen = forecast(load, Config.model_validate({"limits": limits}))

    assert foreseen == Forecast(1000, pytest.approx(seconds), held_by)


def test_a_quick_server_is_told_in_whole_mails() -> None:
    """And not in powers of ten."""
    assert forecast(Load("shop", 10, {}, 11_290.4, "server"), Config()).held_by == "server: 11,290 a second"


def test_a_thousand_kinds_of_faults_are_a_hundred_and_the_rest() -> None:
    """A template whose fault names each contact's value must not fill memory and screen."""
    findings = Findings()
    for number in range(1000):
        findings.of_recipient(Remark(Severity.PROBLEM, "template.raises", str(number), ""), str(number))

    found = findings.worst_first()
    assert len(found) == 101
    assert sum(finding.recipients for finding in found) == 1000


@pytest.fixture
def shell(look: Look, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to call the command in; Redis is nowhere."""
    look()
    (tmp_path / "config.toml").write_text(
        '[redis]\nurl = "redis://127.0.0.1:1/0"\n[mail]\ntransport = "smtp"\nfrom = "news@example.com"\n'
        '[smtp]\nhost = "mail.example.com"\n[limits]\nper_second = 2\n[contacts]\nurl = "sqlite:///contacts.db"\n'
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_says_what_is_wrong(shell: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Contact ids from a file: exit code 1, the worst first, with examples, advice, and the end of it."""
    (shell / "ids.txt").write_text("1\n2\nnobody\n")

    assert run(["preflight", "spring", "--batch", "ids.txt"]) == 1

    said = capsys.readouterr().out
    assert said.startswith("problem (1 of 3): no such contact")
    assert "    nobody\n    -> leave it out" in said
    assert "forecast: 2 mails in 1 s, by 20" in said
    assert said.endswith("spring, 3 recipients: not ready (1 problem, 2 notes); nothing was sent\n")


def test_the_command_takes_a_job(shell: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As JSON, with its variables; exit code 0 where nothing is wrong."""
    job = {"client_id": "shop", "contact_ids": ["1"], "template_id": "spring", "batch_id": "b"}
    (shell / "job.json").write_text(json.dumps(job))

    assert run(["preflight", "spring", "--batch", "job.json", "--json", "--speed", "0.5"]) == 0

    said = json.loads(capsys.readouterr().out)
    assert (said["good"], said["recipients"], said["examined"]) == (True, 1, 1)
    assert said["forecast"] == {"mails": 1, "seconds": 2.0, "held_by": "--speed: 0.5 a second"}


def test_what_no_mail_can_be_made_of_has_no_forecast(shell: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A template that is not there promises nobody a mail in 0 s."""
    (shell / "ids.txt").write_text("1\n2\n")

    assert run(["preflight", "summer", "--batch", "ids.txt"]) == 1

    assert "forecast" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("batch", "code", "words"),
    [
        (b'{"client_id": "shop"}', 1, "template_id: is missing"),
        (b"id,email\n1,a@b.c\n", 1, "looks like CSV"),
        (b"", 1, "contact_ids: must name at least one contact"),
        (b'{"client_id":"a","template_id":"b","contact_ids":["1"]}', 2, "for template b, not spring"),
    ],
)
def test_what_is_no_batch(
    shell: Path, capsys: pytest.CaptureFixture[str], batch: bytes, code: int, words: str
) -> None:
    """Is told as it is by enqueue."""
    (shell / "batch").write_bytes(batch)

    assert run(["preflight", "spring", "--batch", "batch"]) == code

    out, err = capsys.readouterr()
    assert words in out + err


def test_expiry_is_held_against_the_forecast(shell: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A time that has passed, and one that comes before the last mail."""
    job = {"client_id": "shop", "contact_ids": ["1"], "template_id": "spring", "batch_id": "b"}
    said = []
    for expires, speed in (("2020-01-01T00:00:00Z", "1"), ("2099-01-01T00:00:00Z", "0.0000000001")):
        (shell / "job.json").write_text(json.dumps({**job, "expires_at": expires}))
        assert run(["preflight", "spring", "--batch", "job.json", "--speed", speed]) == 1
        said.append(capsys.readouterr().out)

    assert "expires_at has passed" in said[0]
    assert "expires_at comes before the last mail" in said[1]
