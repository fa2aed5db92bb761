"""The mail as bytes, held against the standard library's parser."""

from __future__ import annotations

import email
import email.header
import email.policy
import tracemalloc
from email.message import EmailMessage

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailerd.config import Config
from mailerd.errors import ConfigurationError
from mailerd.message import Composer, MailSettings, Message, Rendered, address, mailbox, message_id
from mailerd.message.addresses import LONGEST, ORDINARY, checked_address
from mailerd.message.quoted import quoted_lines, quoted_pieces

# Whatever a template may produce: newlines, NUL, halves of surrogate pairs, header look-alikes.
TEXTS = st.text(st.characters(categories=("L", "N", "P", "S", "Z", "C")), max_size=300)
HEADERS = [
    "From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Auto-Submitted", "Feedback-ID",
    "Content-Type",
]  # fmt: skip


def composer(from_: str = "News <news@example.com>", settings: MailSettings | None = None) -> Composer:
    mail = Config.model_validate({"mail": {"from": from_}}).mail
    return Composer(mail, settings or MailSettings(), client_id="shop", batch_id="b1", template_id="welcome")


def compose(subject: str = "Hi", text: str = "text", html: str | None = "<p>html</p>") -> Message:
    return composer().compose("42", "user@example.org", Rendered(subject, text, html), 1_700_000_000.5)


def parsed(message: Message) -> EmailMessage:
    mail = email.message_from_bytes(message.content, policy=email.policy.default)
    assert isinstance(mail, EmailMessage)
    assert not mail.defects
    return mail


def body(mail: EmailMessage, kind: str) -> str:
    part = mail.get_body((kind,))
    assert part is not None
    return part.get_payload(decode=True).decode().replace("\r\n", "\n")


def expected(text: str) -> str:
    lines = text.replace("\r\n", "\n").replace("\r", "\n").encode("utf-8", "replace").decode()
    return lines if lines.endswith("\n") else lines + "\n"


def decoded_subject(content: bytes) -> str:
    raw = email.message_from_bytes(content, policy=email.policy.compat32)["Subject"].replace("\n", "")
    return "".join(
        part.decode(charset or "ascii") if isinstance(part, bytes) else part
        for part, charset in email.header.decode_header(raw.replace("\r", ""))
    )


@given(TEXTS)
@example("Hello =?utf-8?b?QQ==?= there")
@example("x" * 1200)
@example("word " * 40 + "end")
@example("two  spaces")
@example("a\r\nBcc: evil@example.com")
def test_any_subject_comes_back_and_adds_no_header(subject: str) -> None:
    """A subject of any characters reads back as it was, and there is never a header more than ours."""
    message = compose(subject)

    assert list(email.message_from_bytes(message.content).keys()) == HEADERS
    assert decoded_subject(message.content) == subject.encode("utf-8", "replace").decode()


@given(TEXTS, st.none() | TEXTS)
@example("x" * 74 + " \n" + "y" * 75 + "\t\n" + " ", None)
@example(".\n.leading\n..\n", "\x00=_mailerd\n--=_mailerd--\n")
@example("ж" * 500, "z" * 5000)
def test_any_body_comes_back_in_lines_that_every_server_takes(text: str, html: str | None) -> None:
    """Bodies of any characters read back as they were, in 7-bit CRLF lines of at most 998."""
    message = compose(text=text, html=html)
    mail = parsed(message)

    assert body(mail, "plain") == expected(text)
    assert (mail.get_body(("html",)) is None) == (html is None)
    if html is not None:
        assert mail.get_content_type() == "multipart/alternative"
        assert body(mail, "html") == expected(html)
    assert message.content.isascii()
    assert message.content.endswith(b"\r\n")
    lines = message.content.split(b"\r\n")
    assert not any(b"\r" in line or b"\n" in line for line in lines)
    assert max(map(len, lines)) <= 998


@pytest.mark.parametrize("end", ["", "x", " ", "\t", "é", "=", ".", "\n"])
def test_pieces_of_any_length_make_one_body(end: str) -> None:
    """HTML that comes in pieces reads back as their sum, whatever they end with, in lines of at most 76."""
    made_by = composer()
    for length in range(70, 79):
        pieces = ("é", "x" * length + end, "", " y" * 3 + end, end)
        html = "".join(pieces)
        made = made_by.compose("42", "u@example.org", Rendered("s", "t", html, pieces=pieces), 0)

        assert body(parsed(made), "html") == expected(html)
        assert max(map(len, made.content.partition(b"text/html")[2].split(b"\r\n"))) <= 76


@pytest.mark.parametrize(
    ("text", "remain"),
    [
        (".", 0),
        (".css {}", 0),
        (".é\n.x\n", 0),
        (".é" + "x." * 60, 0),
        ("x" * 74 + ".y", 0),
        ("..é", 1),
        ("." * 400, 6),
    ],
)
def test_encoded_lines_hardly_begin_with_a_dot(text: str, remain: int) -> None:
    """SMTP would double each, and the mail be copied for that; encoded, it reads back the same."""
    html = "ordinary words " * 20 + "\n" + text + "é"
    rendered = Rendered("Hi", "plain", html, pieces=("ordinary words " * 20 + "\n", text, "é"))

    message = composer().compose("42", "user@example.org", rendered, 1_700_000_000.5)

    assert b"quoted-printable" in message.content
    assert message.content.count(b"\r\n.") == remain
    assert body(parsed(message), "html") == expected(html)


def test_what_is_remembered_of_texts_has_an_end() -> None:
    """A batch whose mails have nothing in common leaves a worker no larger than any other."""
    tracemalloc.start()
    try:
        for number in range(1100):
            quoted_lines(f"{number}é" + "x" * 900 + "\n")
            quoted_pieces([f"{number}é" + "x" * 900])
        for number in range(100):
            quoted_pieces([f"{number}" + "x" * 20_000])
        left, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert left < 2_500_000


def test_the_headers_say_what_they_must() -> None:
    """From, To, Date, Message-ID and the marks of automatic mail stand in the mail, each once."""
    mail = parsed(compose("Grüße an alle"))

    assert mail["From"] == "News <news@example.com>"
    assert mail["To"] == "user@example.org"
    assert mail["Subject"] == "Grüße an alle"
    assert mail["Date"] == "Tue, 14 Nov 2023 22:13:20 +0000"
    assert mail["Message-ID"] == message_id("shop", "b1", "42", "example.com")
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Feedback-ID"] == "b1:welcome:shop:mailerd"


@pytest.mark.covers("mail-34")
def test_a_mail_tried_again_is_the_same_mail() -> None:
    """Over five tries nothing but the time changes: each header stands once, the size stays."""
    settings = MailSettings(reply_to="a@b.example", headers={"X-A": "1", "Feedback-ID": "f"})
    made = composer(settings=settings)
    rendered = Rendered("Hi", "text", "<p>é</p>", {"X-B": "2"})
    tries = [made.compose("42", "user@example.org", rendered, 1_700_000_000).content for _ in range(5)]

    assert len(set(tries)) == 1
    names = [name.lower() for name, _ in email.message_from_bytes(tries[-1]).items()]
    assert sorted(set(names)) == sorted(names)


def test_a_header_that_is_empty_for_a_contact_is_left_out() -> None:
    """Headers that differ stand beside the template's own; one without a value does not stand at all."""
    made = composer(settings=MailSettings(headers={"X-A": "1"}, varying={"Feedback-ID": "{{ f }}"}))
    rendered = Rendered("Hi", "text", None, {"Feedback-ID": "", "X-B": "Grüße"})
    mail = parsed(made.compose("42", "user@example.org", rendered, 0))

    assert "Feedback-ID" not in mail
    assert (mail["X-A"], mail["X-B"]) == ("1", "Grüße")


def test_plain_text_goes_as_it_is() -> None:
    """ASCII in short lines is not encoded; a long line, a control character, or our boundary in it is."""
    for text, encoding in (
        ("Hello = there\n" + "x" * 998, b"7bit"),
        ("x" * 999, b"quoted-printable"),
        ("a\x00b", b"quoted-printable"),
        ("--=_mailerd--", b"quoted-printable"),
        ("caf\u00e9 " * 3 + "x" * 60, b"quoted-printable"),
        ("Привет, мир", b"base64"),
    ):
        content = compose(text=text, html=None).content
        assert b"Content-Transfer-Encoding: " + encoding + b"\r\n" in content, text


def test_the_message_id_depends_on_client_batch_and_contact_only() -> None:
    """Two attempts share a Message-ID; another client, batch or contact never does."""
    first = compose("one").message_id
    others = {
        message_id("other", "b1", "42", "example.com"),
        message_id("shop", "b2", "42", "example.com"),
        message_id("shop", "b1", "43", "example.com"),
    }

    assert compose("two").message_id == first
    assert len({first, *others}) == 4


@given(st.text(st.characters(categories=("L", "N", "P", "S"), include_characters=" "), min_size=1))
def test_any_name_of_the_sender_comes_back(name: str) -> None:
    """A display name of any printable characters reads back and never becomes a second address."""
    quoted = name.strip().replace("\\", "\\\\").replace('"', '\\"') or "x"
    value, bare = mailbox(f'"{quoted}" <news@example.com>')
    mail = email.message_from_bytes(b"From: " + value + b"\r\n\r\n", policy=email.policy.default)

    assert bare == "news@example.com"
    assert [found.addr_spec for found in mail["From"].addresses] == ["news@example.com"]


def test_an_international_domain_is_written_in_ascii() -> None:
    """The From domain travels as xn--, in the header, the Message-ID and the envelope."""
    message = composer("Bücher <news@bücher.example>").compose("1", "a@b.example", Rendered("s", "t"), 0)

    assert message.sender == "news@xn--bcher-kva.example"
    assert message.message_id.endswith("@xn--bcher-kva.example>")
    assert parsed(message)["From"].addresses[0].display_name == "Bücher"


def test_staging_redirects_every_mail() -> None:
    """With ``mail.redirect_to`` envelope and To name that address, a header of ours the recipient."""
    mail = Config.model_validate({"mail": {"from": "a@example.com", "redirect_to": "qa@example.com"}}).mail
    template = MailSettings(from_="b@example.com", reply_to="c@example.com")
    made = Composer(mail, template, client_id="shop", batch_id="b1", template_id="welcome")
    message = made.compose("42", "user@example.org", Rendered("Hi", "text"), 1_700_000_000.5)

    assert message.recipient == "qa@example.com"
    assert parsed(message)["To"] == "qa@example.com"
    assert parsed(message)["X-Mailerd-Original-To"] == "user@example.org"
    assert message.content.count(b"user@example.org") == 1
    assert message.message_id == compose().message_id


@pytest.mark.parametrize("key", ["envelope_from", "redirect_to"])
def test_an_address_of_the_configuration_that_is_none(key: str) -> None:
    """What passes the configuration's first look and is no address is found before the first mail."""
    mail = Config.model_validate({"mail": {"from": "a@example.com", key: "qa@exa..mple"}}).mail

    with pytest.raises(ConfigurationError, match=f"mail.{key}: An email address"):
        Composer(mail, MailSettings(), client_id="shop", batch_id="b1", template_id="welcome")


def test_the_envelope_sender_can_be_set() -> None:
    """``mail.envelope_from`` is the envelope's sender and not the From."""
    mail = Config.model_validate({"mail": {"from": "a@example.com", "envelope_from": "b@example.com"}}).mail
    made = Composer(mail, MailSettings(), client_id="c", batch_id="b", template_id="t")

    message = made.compose("1", "to@example.com", Rendered("s", "t"), 0)

    assert message.sender == "b@example.com"
    assert parsed(message)["From"] == "a@example.com"


def test_the_template_has_the_last_word_on_its_headers() -> None:
    """What mail.toml says stands in the mail; a header of ours is replaced, never doubled."""
    settings = MailSettings(
        from_="Shop <shop@example.net>",
        reply_to="Hilfe für alle <help@example.net>",
        headers={
            "List-Unsubscribe": "<https://e.net/" + "u" * 150 + ">",
            "feedback-id": "a",
            "X-Hi": "Grüße",
        },
    )

    message = composer(settings=settings).compose("1", "a@b.example", Rendered("s", "t"), 0)
    mail = parsed(message)

    assert mail["From"] == "Shop <shop@example.net>"
    assert mail["Reply-To"].addresses[0].display_name == "Hilfe für alle"
    assert b"List-Unsubscribe: <https://e.net/" + b"u" * 150 + b">\r\n" in message.content
    assert mail.get_all("Feedback-ID") == ["a"]
    assert mail["X-Hi"] == "Grüße"


@pytest.mark.parametrize(
    "headers",
    [
        {"X-A": "one\r\nBcc: evil@example.com"},
        {"X-A\r\nBcc": "evil@example.com"},
        {"X A": "x"},
        {"Bcc": "evil@example.com"},
        {"content-type": "text/plain"},
        {"X-A": "1", "x-a": "2"},
        {"List-Unsubscribe-Post": "List-Unsubscribe=One-Click"},
        {"X-A": "x" * 1000},
        {"X-A": " "},
    ],
)
def test_a_header_that_would_do_harm_is_refused(headers: dict[str, str]) -> None:
    """Injected, doubled, owned, templated, endless or empty headers are refused with a sentence."""
    with pytest.raises(ValueError, match="headers: "):
        MailSettings(headers=headers)


@pytest.mark.parametrize(
    "value", ["no address", "a@b.example, c@d.example", "a@b.example\r\nBcc: x@y.example"]
)
def test_a_from_that_is_no_mailbox_is_refused(value: str) -> None:
    """A From of mail.toml must be one mailbox, and what is wrong names the key."""
    with pytest.raises(ValueError, match="from: "):
        MailSettings(from_=value)


def test_a_configured_from_that_is_no_mailbox_names_the_setting() -> None:
    """What slips past the configuration's own check is a configuration fault that names the key."""
    with pytest.raises(ConfigurationError, match=r"mail\.from: "):
        composer("a@b..example")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("A.B+c@Example.COM", "A.B+c@example.com"),
        ("a@bücher.example", "a@xn--bcher-kva.example"),
        ("root@localhost", "root@localhost"),
        ("a@mail.local", "a@mail.local"),
        ("a@host.test", "a@host.test"),
    ],
)
def test_an_address_is_taken_in_its_ascii_form(text: str, wanted: str) -> None:
    """Ordinary, international and intranet addresses are addresses."""
    assert address(text) == wanted


@given(
    st.builds(
        lambda local, domain: f"{'.'.join(local)}@{'.'.join(domain)}.cc",
        st.lists(st.text("az09_+-", min_size=1, max_size=40), min_size=1, max_size=4),
        st.lists(st.text("anx09-", min_size=1, max_size=64), min_size=1, max_size=5),
    )
)
@example("a@b.c")
@example("a@b-.cc")
@example("a" * 65 + "@b.cc")
@example("a@" + "b." * 130 + "cc")
@example("a@ab--c.cc")
def test_an_ordinary_address_is_what_the_library_says(text: str) -> None:
    """What is taken without asking the library is what it would take, as it is."""
    try:
        wanted = checked_address(text)
    except ValueError:
        wanted = ""
    if ORDINARY.fullmatch(text) and len(text) <= LONGEST:
        assert wanted == text


@pytest.mark.parametrize(
    "text",
    [
        "", "test1", "a@", "@b.example", "a b@c.example", "é@b.example", "N <a@b.example>", "a@b.example\r\n",
        "a@b.example\r\nBcc: c@d.example", "a@b.example,c@d.example", "a\x00@b.example",
        "a@b..example", "a>@b.example",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    """Whatever could not be said in one SMTP command is no address."""
    with pytest.raises(ValueError, match=r"."):
        address(text)
