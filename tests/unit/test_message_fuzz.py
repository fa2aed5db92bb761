"""Any contact data and any header value read back as they were, in a mail that the strictest server takes."""

from __future__ import annotations

import email
import email.policy
from email.header import decode_header
from email.message import EmailMessage
from functools import cache

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from mailerd.config import Config
from mailerd.message import Composer, MailSettings, Message, address
from mailerd.render import Template, TemplateSource
from rigs.strict_mail import faults, fields

# What a database may hold: newlines, NUL, halves of surrogate pairs, look-alikes of headers and boundaries.
EVIL = st.sampled_from([
    "\r\nBcc: evil@example.com", "\n\nnew body", "x\r\n.\r\nMAIL FROM:<e@e.example>",
    "=?utf-8?q?=0ABcc:_a@b.c?=",
    "--=_mailerd--", "a@b.example, evil@example.com", '"<evil@example.com>', "\x00", "\ud83d", "\u2028Bcc: x",
    "{{ contact }}", "\x1d\x1e", "=0D=0A", "a\rb", "  two  ", "\t", ".", "é" * 700, "x" * 2000, "日本" * 400,
])  # fmt: skip
TEXTS = EVIL | st.text(max_size=120) | st.lists(EVIL | st.text(max_size=20), max_size=4).map("".join)
NAMES = st.from_regex(r"X-[A-Za-z0-9-]{1,30}|List-Id|Feedback-ID|Auto-Submitted|Precedence", fullmatch=True)
ADDRESSES = st.emails() | st.sampled_from(["o'hara+x@example.com", "a@bücher.example", "A.B@Example.COM"])
FROM = "Grüße an alle <news@example.com>"

SUBJECT, TEXT, HTML = (
    "About {{ a }}",
    "Dear {{ a }},\n{{ b }}\n",
    "<p title='{{ a }}'>{{ b }}</p>\n{{ b|safe }}",
)


def read(content: bytes, name: str) -> str:
    """A header as people see it, by the standard library."""
    found = email.message_from_bytes(content, policy=email.policy.compat32).get_all(name)
    assert found is not None
    assert len(found) == 1
    parts = decode_header(found[0].replace("\r", "").replace("\n", ""))
    return "".join(
        part.decode(charset or "ascii") if isinstance(part, bytes) else part for part, charset in parts
    )


def sound(text: str) -> str:
    """``text`` without halves of surrogate pairs, which no encoding has."""
    return text.encode("utf-8", "replace").decode()


def one_line(text: str) -> str:
    return " ".join(sound(text).split())


def lines(text: str) -> str:
    ended = sound(text).replace("\r\n", "\n").replace("\r", "\n")
    return ended if ended.endswith("\n") else ended + "\n"


@cache
def template(names: tuple[str, ...]) -> Template:
    """A template with a header of each name, rendered for each contact."""
    toml = "[headers]\n" + "".join(f'{name} = "{{{{ h{number} }}}}"\n' for number, name in enumerate(names))
    files = {"subject.txt": SUBJECT, "body.txt": TEXT, "body.html": HTML, "mail.toml": toml}
    return Template(TemplateSource("t", files))


def composed(
    contact: dict[str, str], recipient: str, headers: dict[str, str], mail_toml: MailSettings
) -> Message:
    """What delivery does for one contact."""
    made = template(tuple(headers))
    rendered = made.render({**contact, **{f"h{n}": value for n, value in enumerate(headers.values())}})
    both = MailSettings(headers=mail_toml.headers, varying=made.settings.varying)
    mail = Config.model_validate({"mail": {"from": FROM}}).mail
    composer = Composer(mail, both, client_id="shop", batch_id="b1", template_id="t")
    return composer.compose("42", recipient, rendered, 1_700_000_000)


def body(mail: EmailMessage, kind: str) -> str:
    part = mail.get_body((kind,))
    assert part is not None
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode().replace("\r\n", "\n")


def fixed(headers: dict[str, str], varying: dict[str, str]) -> MailSettings:
    """The headers of mail.toml, where it takes them."""
    taken = {name.lower() for name in varying}
    try:
        return MailSettings(
            headers={name: text for name, text in headers.items() if name.lower() not in taken}
        )
    except ValueError:  # refused when the template is read
        assume(False)
        raise


def look(a: str, b: str, email_: str, headers: dict[str, str], toml: dict[str, str]) -> None:
    try:
        recipient = address(email_)
    except ValueError:  # booked as invalid
        assume(False)
    headers = {name: text for name, text in headers.items() if len(one_line(text)) < 900}
    assume(len({name.lower() for name in headers}) == len(headers))
    settings = fixed(toml, headers)
    message = composed({"a": a, "b": b}, recipient, headers, settings)
    content = message.content

    assert faults(content) == []
    said = [name.lower() for name, _ in fields(content.partition(b"\r\n\r\n")[0])]
    present = {name for name, text in headers.items() if one_line(text)}
    ours = {"from", "to", "subject", "date", "message-id", "mime-version", "content-type"}
    ours |= {"auto-submitted", "feedback-id"} - {name.lower() for name in headers}
    assert sorted(said) == sorted(ours | {name.lower() for name in (*present, *settings.headers)})
    assert message.recipient == recipient
    mail = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(mail, EmailMessage)
    assert [each.addr_spec for each in mail["From"].addresses] == ["news@example.com"]
    assert content.count(b"\r\nTo: " + recipient.encode() + b"\r\n") == 1
    assert read(content, "Subject") == one_line(f"About {a}")
    for name in present:
        assert read(content, name) == one_line(headers[name])
    for name, text in settings.headers.items():
        assert read(content, name) == sound(text).strip()
    assert body(mail, "plain") == lines(f"Dear {a},\n{b}\n")
    assert body(mail, "html").endswith(lines(b))


any_mail = given(
    TEXTS,
    TEXTS,
    ADDRESSES,
    st.dictionaries(NAMES, TEXTS, max_size=3),
    st.dictionaries(NAMES, TEXTS, max_size=2),
)


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@any_mail
@example("\r\nBcc: evil@example.com", "\r\n.\r\n", "a@b.example", {"X-A": "1\r\nBcc: e@e.example"}, {})
def test_nothing_a_contact_has_does_harm(
    a: str, b: str, email_: str, headers: dict[str, str], toml: dict[str, str]
) -> None:
    """Data come back as they were, no header or recipient is added, and the mail is strictly one."""
    look(a, b, email_, headers, toml)


@pytest.mark.slow
@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@any_mail
def test_nothing_that_many_contacts_have_does_harm(
    a: str, b: str, email_: str, headers: dict[str, str], toml: dict[str, str]
) -> None:
    """The same with more examples."""
    look(a, b, email_, headers, toml)


GOOD = composed({"a": "A", "b": "é"}, "a@b.example", {"X-A": "1"}, MailSettings()).content


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (b"\r\nX-A", b"\nX-A", "a CR or LF by itself"),
        (b"X-A: 1", b"X-A: 1\r\nx-a: 2", "x-a 2 times"),
        (b"X-A: 1", b"X A: 1", "no header: 'X A: 1'"),
        (b"X-A: 1", b"X-A: 1\r\n \r\n 2", "an empty line within X-A"),
        (b"X-A: 1", b"X-A: " + b"1" * 998, "a line over 998"),
        (b"X-A: 1", b"X-A: \xe9", "NUL or a byte beyond ASCII"),
        (b"Date: ", b"X-Date: ", "no date"),
        (b"--=_mailerd--", b"--=_mailerd", "its parts do not begin and end where they should"),
        (b"=C3=A9", b"=C3=a9", "not quoted-printable"),
        (b"=C3=A9", b"e" * 77, "a quoted-printable line over 76"),
        (b"quoted-printable", b"8bit", "the encoding '8bit'"),
        (b"quoted-printable", b"base64", "not base64"),
        (b"quoted-printable", b"7bit", "7bit as text/plain"),
    ],
)
def test_the_strict_look_finds_what_is_wrong(old: bytes, new: bytes, says: str) -> None:
    """The judge of these tests has nothing against a good mail, and each fault is found."""
    assert faults(GOOD) == []
    assert any(fault.startswith(says) for fault in faults(GOOD.replace(old, new)))
