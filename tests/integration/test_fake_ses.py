"""The fake SES, held against plain boto3: it does what it says, before anything of ours is tested on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from rigs.fake_ses import ACCESS_KEY, REGION, SECRET, TOO_FAST, TOO_MANY, FakeSes
from rigs.fake_ses_model import documented_errors
from rigs.waiting import wait_until

CONTENT = (
    b"From: News <news@example.com>\r\nTo: a@example.org\r\nSubject: x\r\n"
    b"Date: Mon, 01 Jan 2026 00:00:00 +0000\r\nMessage-ID: <1@example.com>\r\n"
    b"MIME-Version: 1.0\r\n\r\nbody\r\n"
)


class Ticks:
    """A clock that goes when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Ticks:
    return Ticks()


@pytest.fixture
def fake(clock: Ticks) -> Iterator[FakeSes]:
    with FakeSes(clock=clock) as server:
        yield server


def client(
    fake: FakeSes,
    key: str = ACCESS_KEY,
    secret: str = SECRET,
    token: str | None = None,
    *,
    read_timeout: float = 60,
) -> Any:
    retries = {"total_max_attempts": 1}
    return boto3.client(
        "sesv2",
        region_name=REGION,
        endpoint_url=fake.url,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
        config=Config(retries=retries, read_timeout=read_timeout),
    )


def send(ses: Any, to: str = "a@example.org", content: bytes = CONTENT, **more: Any) -> str:
    raw = {"Raw": {"Data": content}}
    return str(ses.send_email(Destination={"ToAddresses": [to]}, Content=raw, **more)["MessageId"])


def refusal(ses: Any, **request: Any) -> tuple[str, str, int]:
    with pytest.raises(ClientError) as caught:
        send(ses, **request)
    said = caught.value.response
    return said["Error"]["Code"], said["Error"]["Message"], said["ResponseMetadata"]["HTTPStatusCode"]


def test_it_takes_a_mail_and_keeps_the_truth(fake: FakeSes) -> None:
    """A signed mail gets an id and is kept as it was sent, with its tags and configuration set."""
    fake.state.configuration_sets.add("events")
    tags = [{"Name": "batch", "Value": "b-1"}]

    given = send(client(fake), EmailTags=tags, ConfigurationSetName="events")

    (mail,) = fake.mails()
    assert (mail.message_id, mail.recipient, mail.sending.content) == (given, "a@example.org", CONTENT)
    assert (mail.sending.tags, mail.sending.configuration_set) == ({"batch": "b-1"}, "events")
    assert mail.sending.message["Subject"] == "x"


def test_only_a_right_signature_comes_in(fake: FakeSes) -> None:
    """Another secret, an unknown key and a stale token are refused, each in AWS's words; nothing is taken."""
    assert refusal(client(fake, secret="other"))[0] == "InvalidSignatureException"
    assert refusal(client(fake, key="AKIANOBODY"))[0] == "UnrecognizedClientException"
    assert refusal(client(fake, token="stale"))[0] == "ExpiredTokenException"
    assert fake.mails() == []


@pytest.mark.parametrize("name", sorted(documented_errors("SendEmail")))
def test_every_documented_error_is_one_of_botocores(fake: FakeSes, name: str) -> None:
    """Each error of the model arrives at boto3 as the exception of its name, with the model's status."""
    fake.state.rules = [{"do": f"{name}: because", "times": 1}]
    ses = client(fake)

    assert refusal(ses) == (name, "because", documented_errors("SendEmail")[name])
    assert send(ses)


def test_the_rate_is_of_any_second(fake: FakeSes, clock: Ticks) -> None:
    """The third within a second is refused, whether or not a new second has begun by the wall."""
    fake.state.rate = 2
    ses = client(fake)
    clock.now = 1000.6
    send(ses)
    clock.now = 1001.4
    send(ses)

    assert refusal(ses) == ("TooManyRequestsException", TOO_FAST, 429)
    clock.now = 1001.61
    send(ses)
    assert refusal(ses)[1] == TOO_FAST
    assert fake.most_in_a_second() == 2


def test_the_day_is_of_any_24_hours(fake: FakeSes, clock: Ticks) -> None:
    """Over the quota nothing is taken until its first mail is a day old; GetAccount tells how it stands."""
    fake.state.day = 2
    ses = client(fake)
    send(ses)
    clock.now += 3600
    send(ses)

    assert refusal(ses) == ("TooManyRequestsException", TOO_MANY, 429)
    quota = ses.get_account()["SendQuota"]
    assert quota == {"Max24HourSend": 2.0, "MaxSendRate": 1000.0, "SentLast24Hours": 2.0}
    clock.now += 23 * 3600 + 1
    send(ses)
    assert refusal(ses)[1] == TOO_MANY


def test_it_loses_answers(fake: FakeSes) -> None:
    """``drop`` and ``hang`` take the mail and give no answer; ``hang_up`` and an early cut take nothing."""
    ses, impatient = client(fake), client(fake, read_timeout=0.3)
    for deed, taken in (("drop", 1), ("hang", 2), ("hang_up", 2)):
        fake.state.rules = [{"do": deed, "times": 1}]
        with pytest.raises(BotoCoreError):
            send(impatient if deed == "hang" else ses)
        wait_until(lambda: len(fake.mails()) == taken, 5, deed)  # noqa: B023 # asked at once
    fake.state.cut_early = 1
    with pytest.raises(BotoCoreError):
        send(ses)
    assert len(fake.mails()) == 2
    assert send(ses)


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"content": CONTENT.replace(b"\r\n\r\nbody", b"\r\n\r\nbo\ndy")}, "MessageRejected"),
        ({"content": CONTENT + b"x" * 999}, "MessageRejected"),
        ({"content": CONTENT.replace(b"To:", b"Cc:")}, "MessageRejected"),
        ({"content": CONTENT.replace(b"Subject: x", b"Subject: x\r\nSubject: y")}, "MessageRejected"),
        (
            {"content": CONTENT.replace(b"1.0\r\n", b"1.0\r\nContent-Type: multipart/mixed\r\n")},
            "MessageRejected",
        ),
        ({"to": "nobody"}, "BadRequestException"),
        ({"EmailTags": [{"Name": "batch", "Value": "a@b"}]}, "BadRequestException"),
        ({"EmailTags": [{"Name": "batch", "Value": ""}]}, "BadRequestException"),
        ({"ConfigurationSetName": "gone"}, "NotFoundException"),
    ],
)
def test_it_reads_what_it_takes(fake: FakeSes, request_: dict[str, Any], code: str) -> None:
    """What no receiver should have to read, or SES would not take, is refused."""
    assert refusal(client(fake), **request_)[0] == code
    assert fake.mails() == []


def test_identities_must_be_verified(fake: FakeSes) -> None:
    """The sender always, the recipient in the sandbox; an address or its domain will do."""
    ses = client(fake)
    fake.state.verified = {"other.example"}
    assert refusal(ses)[1].endswith("failed the check in region EU-WEST-1: news@example.com")
    fake.state.verified = {"example.com"}
    assert send(ses)
    fake.state.production = False
    assert refusal(ses)[1].endswith(": a@example.org")
