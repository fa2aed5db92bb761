"""The transport ``ses`` against a fake SES that refuses, limits, loses answers and hangs."""

from __future__ import annotations

import logging
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from mailerd.config import Config, Ses
from mailerd.errors import ConfigurationError
from mailerd.message import Composer, MailSettings, Message, Rendered
from mailerd.outcome import Kind, Outcome
from mailerd.transports.ses import HandOver, SesConversation, SesTransport, tag_value
from mailerd.transports.ses_client import LONGEST_REST, Withheld
from rigs.fake_ses import ENVIRONMENT, REGION, TOO_FAST, TOO_MANY, FakeSes
from rigs.fake_ses_model import documented_errors
from rigs.hand_clock import HandClock
from rigs.ports import free_port
from rigs.waiting import wait_until

STS_REFUSES = b"<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>"


@pytest.fixture(scope="module", autouse=True)
def environment() -> Iterator[None]:
    """Our credentials and none of this machine's; and AWS's own settings would have each request repeated."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (ENVIRONMENT | {"AWS_MAX_ATTEMPTS": "5", "AWS_RETRY_MODE": "adaptive"}).items():
            patch.setenv(name, value)
        for name in ("AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN", "AWS_CA_BUNDLE"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="module")
def clock() -> HandClock:
    return HandClock(1000.0)


@pytest.fixture(scope="module")
def server() -> Iterator[FakeSes]:
    with FakeSes() as running:
        yield running


@pytest.fixture
def fake(server: FakeSes) -> FakeSes:
    """The one server of this file, as if it were new."""
    server.start_over()
    return server


@pytest.fixture(scope="module")
def transport(server: FakeSes, clock: HandClock) -> SesTransport:
    """The one transport of this file: to make one costs boto3 half a second."""
    return made(server, clock)


@pytest.fixture
def session(transport: SesTransport) -> SesConversation:
    return transport.conversation()


def made(fake: FakeSes, clock: HandClock, **settings: Any) -> SesTransport:
    return SesTransport(Ses.model_validate({**fake.settings, **settings}), 4, clock)


def mail(contact: str = "user1", batch: str = "batch-1", body: str = "text") -> Message:
    settings = Config.model_validate({"mail": {"from": "News <news@example.com>"}}).mail
    composer = Composer(settings, MailSettings(), client_id="shop", batch_id=batch, template_id="welcome")
    return composer.compose(contact, "user@example.org", Rendered("Hi", body), 1.7e9)


def send(session: SesConversation, message: Message | None = None) -> Outcome:
    return session.deliver(message or mail(), lambda: True)


# One mail


def test_a_mail_carries_its_tags_and_comes_back_with_an_id(fake: FakeSes, clock: HandClock) -> None:
    """SES is told batch, contact, client and configuration set; SENT carries the id that it gave."""
    fake.state.configuration_sets.add("events")
    outcome = send(
        made(fake, clock, configuration_set="events").conversation(), mail("a@b.example", "2026.spring")
    )

    (taken,) = fake.mails()
    assert (outcome.kind, outcome.provider_id) == (Kind.SENT, taken.message_id)
    assert taken.message_id in outcome.reason
    tags = {"batch": "__MjAyNi5zcHJpbmc", "contact": "__YUBiLmV4YW1wbGU", "client": "shop"}
    assert taken.sending.tags == tags
    assert taken.sending.configuration_set == "events"
    assert (taken.recipient, taken.sending.feedback_to) == ("user@example.org", "news@example.com")


@pytest.mark.parametrize(
    ("text", "value"),
    [("user-1_a", "user-1_a"), ("__x", "__X194"), ("Grüße", "__R3LDvMOfZQ"), ("a b", "__YSBi"), ("", "__")],
)
def test_a_tag_is_what_ses_takes(text: str, value: str) -> None:
    """What fits stays readable; anything else is base64url behind ``__``, or a hash if that is too long."""
    long = tag_value(text * 300)

    assert tag_value(text) == value
    assert long.startswith("__sha256-") or not text
    assert len(long) <= 256


def test_the_sessions_keep_their_connections(fake: FakeSes, transport: SesTransport) -> None:
    """Twelve mails of four sessions at once need four connections at most, and none is thrown away."""
    sessions = [transport.conversation() for _ in range(4)]
    for _ in range(3):
        threads = [threading.Thread(target=send, args=(session,)) for session in sessions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert len(fake.mails()) == 12
    assert len({call.port for call in fake.calls}) <= 4


@pytest.mark.covers("mail-28")
def test_a_connection_that_rested_is_not_trusted(
    fake: FakeSes, clock: HandClock, session: SesConversation
) -> None:
    """What a NAT gateway has forgotten in the meantime costs nobody's mail its certainty."""
    send(session)
    fake.forget_all()
    clock.at += LONGEST_REST + 1

    assert send(session).kind is Kind.SENT
    assert len(fake.mails()) == 2


# What SES says


@pytest.mark.parametrize("name", sorted(documented_errors("SendEmail")))
def test_every_documented_error_is_typed_and_tried_once(
    fake: FakeSes, session: SesConversation, name: str
) -> None:
    """Recipient and message are final, the rest is the route's; one request, whatever AWS's settings say."""
    fake.state.rules = [{"do": f"{name}: because"}]
    kinds = dict.fromkeys(("MessageRejected", "BadRequestException"), Kind.FAILED)
    kinds |= {"TooManyRequestsException": Kind.THROTTLED, "LimitExceededException": Kind.OVER_QUOTA}

    outcome = send(session)

    assert outcome.kind is kinds.get(name, Kind.REFUSED)
    assert f"{name}: because" in outcome.reason
    assert len(fake.calls) == 1


@pytest.mark.parametrize(
    ("deed", "kind"),
    [
        (f"TooManyRequestsException: {TOO_FAST}", Kind.THROTTLED),
        (f"TooManyRequestsException: {TOO_MANY}", Kind.OVER_QUOTA),
        ("ThrottlingException: Rate exceeded", Kind.THROTTLED),
        ("ServiceUnavailable: later", Kind.BLOCKED),
        ("AccessDeniedException: not authorized to perform: ses:SendEmail", Kind.REFUSED),
        ("BadRequestException: Missing final '@domain'", Kind.FAILED),
        ("InternalFailure: oops", Kind.UNKNOWN),
    ],
)
def test_what_every_aws_service_may_say(
    fake: FakeSes, session: SesConversation, deed: str, kind: Kind
) -> None:
    """Each is typed, tried once, and the session goes on."""
    fake.state.rules = [{"do": deed, "times": 1}]

    assert send(session).kind is kind
    assert len(fake.calls) == 1
    assert send(session).kind is Kind.SENT


def test_wrong_credentials_are_the_routes_matter(
    fake: FakeSes, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong secret is refused by SES; none at all does not even reach it, nor asks to begin."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "other")
    wrong = send(made(fake, clock).conversation())
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    begun: list[int] = []
    none = made(fake, clock).conversation().deliver(mail(), lambda: not begun.append(1))

    assert (wrong.kind, none.kind) == (Kind.REFUSED, Kind.BLOCKED)
    assert "InvalidSignatureException" in wrong.reason
    assert "credentials" in none.reason
    assert begun == []


@pytest.mark.slow
@pytest.mark.parametrize(("said", "kind"), [(STS_REFUSES, Kind.REFUSED), (b"<html>", Kind.BLOCKED)])
def test_whoever_gives_credentials_says_no(
    fake: FakeSes, clock: HandClock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: bytes, kind: Kind
) -> None:
    """A role that may not be assumed, or a stranger in STS's place: the route's matter; SES is not asked."""
    (tmp_path / "token").write_text("token")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/mailerd")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", fake.url)
    fake.state.sts = said

    outcome = send(made(fake, clock).conversation())

    assert outcome.kind is kind
    assert fake.mails() == []


@pytest.mark.covers("mail-9")
def test_one_of_many_that_is_throttled_is_the_only_one_to_wait(
    fake: FakeSes, session: SesConversation
) -> None:
    """Whoever was taken before and after it is sent; it is taken when it comes again."""
    fake.state.rules = [{"match": "user@", "do": f"TooManyRequestsException: {TOO_FAST}", "times": 0}]
    kinds = []
    for number in range(5):
        fake.state.rules[0]["times"] = int(number == 2)
        kinds.append(send(session, mail(f"user{number}")).kind)

    assert kinds == [Kind.SENT, Kind.SENT, Kind.THROTTLED, Kind.SENT, Kind.SENT]
    assert send(session, mail("user2")).kind is Kind.SENT
    assert len({taken.sending.tags["contact"] for taken in fake.mails()}) == len(fake.mails()) == 5


# Where it breaks off


@pytest.mark.covers("mail-16")
@pytest.mark.parametrize("deed", ["drop", "hang", "garbage", "hang_up"])
def test_a_lost_answer_is_unknown_and_nothing_is_repeated(
    fake: FakeSes, clock: HandClock, session: SesConversation, deed: str
) -> None:
    """Once all of the request is out only an answer can tell; it is not repeated; the session goes on."""
    fake.state.rules = [{"do": deed, "times": 1}]
    trying = made(fake, clock, read_timeout=0.3).conversation() if deed == "hang" else session

    outcome = send(trying)

    assert outcome.kind is Kind.UNKNOWN
    assert outcome.reason.startswith("handed over, and the answer is lost: ")
    assert len(fake.calls) + (deed == "hang") == 1
    assert send(session).kind is Kind.SENT
    wait_until(lambda: len(fake.mails()) == 1 + (deed != "hang_up"), 5, deed)


def test_nobody_listens(clock: HandClock, fake: FakeSes) -> None:
    """Without a connection nothing was handed over: the route is blocked."""
    outcome = send(made(fake, clock, endpoint_url=f"http://127.0.0.1:{free_port()}").conversation())

    assert outcome.kind is Kind.BLOCKED
    assert "Could not connect" in outcome.reason


def test_a_request_that_was_cut_short_is_deferred(fake: FakeSes, session: SesConversation) -> None:
    """Cut off within the mail it cannot have been taken, and may be the mail's own fault: others go on."""
    fake.state.cut_early = 1

    outcome = send(session, mail(body="x\n" * 4_000_000))

    assert outcome.kind is Kind.DEFERRED
    assert "before the mail was complete" in outcome.reason
    assert send(session).kind is Kind.SENT


@pytest.mark.slow
def test_an_untrusted_certificate_blocks_the_route(
    clock: HandClock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nothing is handed to a server that cannot prove who it is; with its authority trusted, mail goes."""
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(tls)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with FakeSes(tls=tls) as fake:
        refused = send(made(fake, clock).conversation())
        monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))
        sent = send(made(fake, clock).conversation())

    assert (refused.kind, sent.kind) == (Kind.BLOCKED, Kind.SENT)
    assert "CERTIFICATE_VERIFY_FAILED" in refused.reason


# Told to stop


def test_begin_is_asked_last(fake: FakeSes, session: SesConversation) -> None:
    """A ``begin`` that says no: no request leaves."""
    assert session.deliver(mail(), lambda: False).kind is Kind.WITHHELD
    assert fake.calls == []


def test_abort_ends_a_hand_over_at_once_and_honestly(fake: FakeSes, session: SesConversation) -> None:
    """Aborted without an answer it is unknown, within no time; the session then hands nothing over."""
    fake.state.rules = [{"do": "hang", "times": 1}]
    outcomes: list[Outcome] = []
    thread = threading.Thread(target=lambda: outcomes.append(send(session)))
    thread.start()
    wait_until(fake.mails, 5, "the mail did not get there")
    session.abort()
    thread.join(5)

    assert not thread.is_alive()
    assert outcomes[0].kind is Kind.UNKNOWN
    assert send(session).kind is Kind.WITHHELD
    assert len(fake.mails()) == 1


def test_whoever_is_abandoned_gets_no_further() -> None:
    """Abandoned before ``begin`` it never begins; abandoned within the request it never completes it."""
    early, late, done = (HandOver(lambda: True) for _ in range(3))
    early.abandon()
    with pytest.raises(Withheld):
        early.begin(b"body")
    for one in (late, done):
        one.begin(b"body")
        one.read(2)
    late.abandon()
    with pytest.raises(Withheld):
        late.read(2)
    done.read(2)
    done.abandon()

    assert done.read(2) == b""
    assert early.cut_off("stop").kind is late.cut_off("stop").kind is Kind.WITHHELD
    assert done.cut_off("stop").kind is Kind.UNKNOWN


# The account, and what must be there


def test_trouble_asks_for_the_account(fake: FakeSes, clock: HandClock, transport: SesTransport) -> None:
    """Nothing to say while mail goes; else the reason, SES's or the network's."""
    assert transport.trouble() == ""
    fake.state.sending = False
    assert "sending is switched off" in transport.trouble()
    fake.state.sending, fake.state.day = True, 0
    assert "the quota of 0 mails in 24 hours is used up" in transport.trouble()
    nowhere = made(fake, clock, endpoint_url=f"http://127.0.0.1:{free_port()}")
    assert "Could not connect" in nowhere.trouble()
    assert fake.mails() == []


def test_a_region_must_be_known(clock: HandClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the configuration or from AWS's own settings; a profile that is not there is told as well."""
    with pytest.raises(ConfigurationError, match=r"ses\.region: must be set"):
        SesTransport(Ses(), 1, clock)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    assert SesTransport(Ses(), 1, clock).where == f"Amazon SES in {REGION}"
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(ConfigurationError, match="nobody"):
        SesTransport(Ses(), 1, clock)
    monkeypatch.delenv("AWS_PROFILE")
    with pytest.raises(ConfigurationError, match=r"ses: cannot be used: .*eu west"):
        SesTransport(Ses(region="eu west"), 1, clock)


def test_nothing_of_a_mail_gets_into_the_log(
    fake: FakeSes, session: SesConversation, caplog: pytest.LogCaptureFixture
) -> None:
    """boto3 would log whole requests at DEBUG."""
    with caplog.at_level(logging.DEBUG):
        send(session)

    assert [record for record in caplog.records if record.name.startswith(("boto", "urllib3"))] == []


_WITHOUT = """
import sys
sys.modules["boto3"] = None if {gone} else sys.modules.get("boto3")
if not {gone}: del sys.modules["boto3"]
from mailerd.config import Config
from mailerd.transports import open_transport
from mailerd.errors import ConfigurationError
try:
    open_transport(Config.model_validate({{"mail": {{"transport": "{name}", "from": "a@b.example"}},
        "smtp": {{"host": "x.example"}}}}))
except ConfigurationError as error:
    print(error)
print("botocore" in sys.modules)
"""


@pytest.mark.slow
def test_boto3_is_imported_only_where_it_is_asked_for() -> None:
    """Another transport does not load it; where it is missing one line says what to install."""
    other = subprocess.check_output(
        [sys.executable, "-c", _WITHOUT.format(gone=False, name="smtp")], text=True
    )
    missing = subprocess.check_output(
        [sys.executable, "-c", _WITHOUT.format(gone=True, name="ses")], text=True
    )

    assert other.split() == ["False"]
    assert (
        missing.splitlines()[0] == "mail.transport: \"ses\" needs more packages: pip install 'mailerd[ses]'"
    )
