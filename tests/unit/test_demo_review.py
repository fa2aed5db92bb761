"""The demo's check of what arrived: it passes good mails and finds each thing that can be wrong."""

from __future__ import annotations

from collections.abc import Callable
from email import message_from_bytes
from pathlib import Path

import pytest

from mailerd import demo
from mailerd.config import Mail
from mailerd.demo.people import Person, everybody
from mailerd.demo.review import JOB, complaints
from mailerd.demo.stage import SENDER
from mailerd.message import Composer
from mailerd.render import Template, TemplateFolder

BATCH = "b-1"
PEOPLE = everybody()[:5]
TEMPLATES = TemplateFolder(Path(demo.__file__).parent / "templates")
SPRING = Template(TEMPLATES.load("spring"))


def mail_to(person: Person) -> bytes:
    """The sample mail as it should arrive, with the catcher's two lines."""
    composer = Composer(
        Mail(**{"from": SENDER}),
        SPRING.settings,
        client_id=JOB["client_id"],
        batch_id=BATCH,
        template_id=JOB["template_id"],
    )
    rendered = SPRING.render(
        {**JOB["variables"], "name": person.name, "city": person.city, "batch_id": BATCH}
    )
    mail = composer.compose(person.contact_id, person.email, rendered, 1_800_000_000.0)
    return f"Return-Path: <x@example.org>\r\nDelivered-To: {person.email}\r\n".encode() + mail.content


@pytest.fixture
def mails(tmp_path: Path) -> Path:
    """A folder with one good mail to each person, and a mail of another batch."""
    for number, person in enumerate(PEOPLE):
        (tmp_path / f"{number:05}.eml").write_bytes(mail_to(person))
    (tmp_path / "99999.eml").write_bytes(
        b"Delivered-To: test1@example.com\r\nSubject: another\r\n\r\nHello\r\n"
    )
    return tmp_path


def test_good_mails_are_found_good(mails: Path) -> None:
    """Mails that arrived as they were sent give no complaint."""
    assert complaints(mails, BATCH, PEOPLE) == []


def test_a_mail_that_is_missing_is_named(mails: Path) -> None:
    """Who got nothing is named."""
    (mails / "00001.eml").unlink()
    assert complaints(mails, BATCH, PEOPLE) == [f"{PEOPLE[1].email} got nothing"]


def test_a_second_mail_is_named(mails: Path) -> None:
    """Who got two mails is named."""
    (mails / "00100.eml").write_bytes(mail_to(PEOPLE[2]))
    assert any("second mail" in complaint for complaint in complaints(mails, BATCH, PEOPLE))


def test_a_mail_to_a_stranger_is_named(mails: Path) -> None:
    """A mail to somebody who was not asked for is named."""
    assert any("should have got nothing" in complaint for complaint in complaints(mails, BATCH, PEOPLE[1:]))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda raw: raw.replace(b"Subject: ", b"Subject: Re: "), "Subject is"),
        (lambda raw: raw.replace(b"\r\nDate: ", b"\r\nX-Date: "), "0 headers Date"),
        (lambda raw: raw.replace(b"\r\nTo: ", b"\r\nTo: a@example.com\r\nTo: "), "2 headers To"),
        (lambda raw: raw.replace(b"\r\nTo: test1", b"\r\nTo: test3"), "To is"),
        (lambda raw: raw.replace(b"dotted", b"\r\ndotted"), "the text lacks"),
        (lambda raw: raw.replace(b"Subject: ", b"X: " + b"x" * 1000 + b"\r\nSubject: "), "line over 998"),
        (
            lambda raw: raw.replace(b"\r\n.\r\n", b"\r\n..\r\n").replace(b"\r\n=2E\r\n", b"\r\n..\r\n"),
            "the text lacks",
        ),
    ],
    ids=["subject", "no-date", "two-to", "to", "body", "line", "dot"],
)
def test_a_damaged_mail_is_named(mails: Path, damage: Callable[[bytes], bytes], said: str) -> None:
    """Whatever was changed on the way is found and named."""
    path = mails / "00000.eml"
    raw = path.read_bytes()
    path.write_bytes(damage(raw))
    assert path.read_bytes() != raw
    assert any(said in complaint and path.name in complaint for complaint in complaints(mails, BATCH, PEOPLE))


def test_everybody_is_distinct_and_among_them_are_the_test_contacts() -> None:
    """At least a hundred contacts, each with an id, an address and a name of its own."""
    people = everybody()
    assert len(people) > 100
    for facts in ({p.contact_id for p in people}, {p.email for p in people}, {p.name for p in people}):
        assert len(facts) == len(people)
    assert [person.contact_id for person in people[:2]] == ["test1", "test2"]
    assert message_from_bytes(mail_to(people[0]))["To"] == people[0].email


def test_the_template_of_the_test_call_needs_only_what_every_contact_has() -> None:
    """The template ``test-template`` renders a text part as well, though it has only a page."""
    rendered = Template(TEMPLATES.load("test-template")).render({"name": "Zoë", "batch_id": BATCH})
    assert "Hello Zoë" in rendered.subject
    assert BATCH in rendered.text
    assert "<h1" in (rendered.html or "")
