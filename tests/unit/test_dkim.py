"""Signed mails, judged by dkimpy, which shares no code with ours."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mailerd.config import Config
from mailerd.errors import ConfigurationError
from mailerd.message import Composer, MailSettings, Message, Rendered, Signer
from mailerd.work.letters import Letters
from rigs.signatures import keys, pem, verdicts


def configured(*keys: dict[str, str], transport: str = "smtp", from_: str = "news@example.com") -> Config:
    mail = {"transport": transport, "from": from_, "dkim": list(keys)}
    return Config.model_validate({"mail": mail})


def entry(selector: str, domain: str = "example.com") -> dict[str, str]:
    return {"domain": domain, "selector": selector, "key": pem(keys()[selector])}


def composer(config: Config, template: MailSettings | None = None) -> Composer:
    return Composer(
        config.mail,
        template or MailSettings(),
        client_id="shop",
        batch_id="b1",
        template_id="welcome",
        signer=Signer.of(config.mail),
    )


@cache
def signing() -> Composer:
    unsubscribe = {
        "List-Unsubscribe": "<https://e.net/u>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }
    template = MailSettings(from_="Gr\u00fc\u00dfe <news@example.com>", headers=unsubscribe)
    return composer(configured(entry("r1"), entry("e1")), template)


def signed(rendered: Rendered) -> Message:
    return signing().compose("42", "user@example.org", rendered, 1_700_000_000.5)


def domains(content: bytes) -> list[bytes]:
    head = content.partition(b"\r\n\r\n")[0].replace(b"\r\n ", b" ")
    return [line for line in head.split(b"\r\n") if line.startswith(b"DKIM-Signature:")]


TEXTS = st.text(st.characters(categories=("L", "N", "P", "S", "Z", "C")), max_size=200)


@settings(max_examples=15, deadline=None)
@given(TEXTS, TEXTS, st.none() | TEXTS)
@example("two  spaces" * 20, "trailing \t \n\n\n", None)
@example("a", "", "")
@example("=?utf-8?b?QQ==?=", ".\n\t\tx\r\r", "<p>  \n  </p>\n\n")
def test_every_signature_of_any_mail_holds(subject: str, text: str, html: str | None) -> None:
    """Whatever the words, the RSA and the Ed25519 signature both verify."""
    assert verdicts(signed(Rendered(subject or "x", text, html)).content) == [True, True]


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(TEXTS, TEXTS, st.none() | TEXTS)
def test_every_signature_of_many_mails_holds(subject: str, text: str, html: str | None) -> None:
    """The same with more examples."""
    assert verdicts(signed(Rendered(subject or "x", text, html)).content) == [True, True]


@pytest.mark.parametrize(
    "change",
    [
        lambda mail: mail.replace(b"Hello", b"Hallo"),
        lambda mail: mail.replace(b"Subject: Hi", b"Subject: Ho"),
        lambda mail: mail.replace(b"https://e.net/u", b"https://e.net/v"),
        lambda mail: b"From: boss@example.com\r\n" + mail,
        lambda mail: mail.replace(b"\r\nSubject:", b"\r\nSubject: Win\r\nSubject:"),
        lambda mail: b"Reply-To: x@example.net\r\n" + mail.replace(b"Reply-To", b"X-Reply-To"),
    ],
    ids=["body", "subject", "unsubscribe", "second-from", "second-subject", "reply-to"],
)
def test_a_changed_mail_is_found_out(change: Callable[[bytes], bytes]) -> None:
    """No signature survives a change of what it covers, nor a second header beside a signed one."""
    template = MailSettings(reply_to="a@example.com", headers={"List-Unsubscribe": "<https://e.net/u>"})
    made = composer(configured(entry("r1"), entry("e1")), template)
    content = made.compose("1", "u@example.org", Rendered("Hi", "Hello"), 0).content

    assert verdicts(content) == [True, True]
    assert verdicts(change(content)) == [False, False]


def test_a_signature_covers_what_it_must() -> None:
    """Each signed header is named twice in ``h``: once to sign it, once so that no other can be added."""
    signature = domains(signed(Rendered("Hi", "Hello", "<p>Hello</p>")).content)[0].decode()
    named = [name.strip().lower() for name in signature.partition(" h=")[2].partition(";")[0].split(":")]

    assert named[: len(named) // 2] == named[len(named) // 2 :]
    must = "from to subject date message-id mime-version content-type list-unsubscribe list-unsubscribe-post"
    assert set(must.split()) <= set(named)
    assert "c=relaxed/relaxed; d=example.com; s=r1; t=1700000000;" in signature


def test_the_keys_of_the_senders_domain_sign() -> None:
    """A key is for its domain and those below it; a mail from elsewhere goes without."""
    config = configured(entry("r1"), entry("e1", "mail.example.com"))

    def selectors(from_: str) -> list[str]:
        made = composer(config, MailSettings(from_=from_)).compose("1", "u@x.example", Rendered("s", "t"), 0)
        return [line.decode().partition(" s=")[2][:2] for line in domains(made.content)]

    assert selectors("a@example.com") == ["r1"]
    assert selectors("a@News.Example.com") == ["r1"]
    assert selectors("a@mail.example.com") == ["r1", "e1"]
    assert selectors("a@other-example.com") == []


def test_ses_gets_no_signature_of_ours() -> None:
    """SES writes Date and Message-ID anew and signs by itself."""
    made = composer(configured(entry("r1"), transport="ses")).compose(
        "1", "u@x.example", Rendered("s", "t"), 0
    )

    assert domains(made.content) == []


def test_a_key_may_lie_in_a_file(tmp_path: Path) -> None:
    """``key_file`` holds the PEM."""
    (tmp_path / "key.pem").write_text(pem(keys()["e1"]))
    entries = {"domain": "Example.COM", "selector": "e1", "key_file": str(tmp_path / "key.pem")}
    content = composer(configured(entries)).compose("1", "u@x.example", Rendered("s", "t"), 0).content

    assert verdicts(content) == [True]


SHORT = """-----BEGIN RSA PRIVATE KEY-----
MIIBOgIBAAJBAKj34GkxFhD90vcNLYLInFEX6Ppy1tPf9Cnzj4p4WGeKLs1Pt8Qu
KUpRKfFLfRYC9AIKjbJTWit+CqvjWYzvQwECAwEAAQJAIJLixBy2qpFoS4DSmoEm
o3qGy0t6z09AIJtH+5OeRV1be+N4cDYJKffGzDa88vQENZiRm0GRq6a+HPGQMd2k
TQIhAKMSvzIBnni7ot/OSie2TmJLY4SwTQAevXysE2RbFDYdAiEBCUEaRQnMnbp7
9mxDXDf6AU0cN/RPBjb9qSHDcWZHGzUCIG2Es59z8ugGrDY+pxLQnwfotadxd+Uy
v/Ow5T0q5gIJAiEAyS4RaI9YG8EWx/2w0T67ZUVAw8eOMB6BIUg0Xcu+3okCIBOs
/5OiPgoTdSy7bcF9IGpSE8ZgGKzgYQVZeN97YE00
-----END RSA PRIVATE KEY-----
"""


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("nothing", "is no private key in PEM"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "is no private key in PEM"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "must be RSA or Ed25519"),
        (pem(ed25519.Ed25519PrivateKey.generate(), b"secret"), "is encrypted"),
        (SHORT, "(too short|no private key)"),
    ],
    ids=["text", "broken", "ec", "encrypted", "short"],
)
def test_a_key_that_cannot_sign_is_found_at_start(key: str, says: str) -> None:
    """Each bad key is a configuration fault that names it and does not repeat it, before the first job."""
    bad = {"domain": "example.com", "selector": "x", "key": key}

    with pytest.raises(ConfigurationError, match=rf"mail\.dkim\.1: .*{says}") as caught:
        Letters(configured(entry("e1"), bad))
    assert key not in str(caught.value)


def test_a_key_file_that_is_gone_is_found_at_start(tmp_path: Path) -> None:
    """The message names the file."""
    config = configured({"domain": "example.com", "selector": "x", "key_file": str(tmp_path / "gone.pem")})

    with pytest.raises(ConfigurationError, match=r"mail\.dkim\.0: cannot read .*gone\.pem: No such file"):
        Signer.of(config.mail)


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key without the extra is one line that helps."""
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)

    with pytest.raises(ConfigurationError, match=r"pip install 'mailerd\[dkim\]'"):
        Signer.of(configured(entry("e1")).mail)
