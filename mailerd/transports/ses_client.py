"""
The room of boto3: one client of the SES v2 API, and the errors of its libraries translated.

boto3 finds the credentials, signs, sends and parses. Its retries are off, since a request whose answer was
lost may have been carried out. Imported only where mail.transport is "ses". Knows no outcome and no policy:
it is told when to begin (``ses.py``) and tells what was answered.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoRegionError
from botocore.parsers import ResponseParserError

from mailerd.clock import Clock
from mailerd.config import Ses
from mailerd.errors import ConfigurationError, Problem
from mailerd.message import Message
from mailerd.transports.ses_answers import Refusal

# Kept connections that rested longer than this (seconds) are not used again: a NAT gateway, among others,
# forgets them without a word, and a request on them would have no answer.
LONGEST_REST = 30.0

# What it logs in detail are whole mails and how requests are signed.
for _name in ("boto3", "botocore", "urllib3"):
    logging.getLogger(_name).setLevel(logging.WARNING)


class SesRefused(Exception):
    """SES, or whoever gives us credentials, said no."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


class NoAnswer(Exception):
    """There was no answer; says why in a line."""


class Withheld(Exception):
    """Raised by whoever was asked to begin and says no."""


@dataclass(frozen=True, slots=True)
class Account:
    """
    What SES says about our account.

    ``day`` mails may go in 24 hours (-1: any number), of which ``sent`` have gone, and ``rate`` in a second.
    """

    sending: bool
    standing: str
    production: bool
    day: float
    rate: float
    sent: float

    @property
    def trouble(self) -> str:
        """Why no mail goes, empty if it does."""
        if self.standing == "SHUTDOWN" or not self.sending:
            return f"sending is switched off for this account ({self.standing or 'paused'})"
        if 0 <= self.day <= self.sent:
            return f"the quota of {self.day:.0f} mails in 24 hours is used up"
        return ""

    def warnings(self) -> list[str]:
        """What is allowed and may still not be meant."""
        warnings = []
        if not self.production:
            warnings.append("the account is in the sandbox: SES takes mail to verified addresses only")
        if self.standing == "PROBATION":
            warnings.append("the account is under review (PROBATION): SES may switch it off")
        return warnings


class SesClient:
    """
    One client, used by as many threads as there are ``connections``; connects in the process that uses it.

    Raises ``ConfigurationError`` where AWS's own settings cannot be used or name no region.
    """

    def __init__(self, settings: Ses, connections: int, clock: Clock) -> None:
        self._settings = settings
        self._connections = connections
        self._clock = clock
        self._calls = threading.local()
        self._lock = threading.Lock()
        self._client: Any = None
        self._used = 0.0
        try:
            self._session = boto3.session.Session(region_name=settings.region or None)
            # Reads and keeps what every client needs: it is there, and shared, when the workers are forked.
            self._made("warm-up", "warm-up").close()
        except NoRegionError:
            problem = (
                'must be set, such as "eu-west-1", where neither AWS_DEFAULT_REGION nor ~/.aws/config says it'
            )
            raise ConfigurationError([Problem("ses.region", problem)]) from None
        except (BotoCoreError, ValueError) as error:
            raise ConfigurationError([Problem("ses", f"cannot be used: {_line(error)}")]) from None

    @property
    def where(self) -> str:
        """The server as people know it."""
        return self._settings.endpoint_url or f"Amazon SES in {self._session.region_name}"

    def send(self, message: Message, tags: dict[str, str], begin: Callable[[bytes], Any]) -> str:
        """
        Send one mail; the id that SES gives it.

        ``begin`` is handed the body of the signed request when it is about to go out, and gives what the
        connection shall read in its place, or raises ``Withheld``. Raises ``SesRefused`` and ``NoAnswer``.
        """
        self._calls.begin = begin
        request = {
            "Destination": {"ToAddresses": [message.recipient]},
            "FeedbackForwardingEmailAddress": message.sender,
            "Content": {"Raw": {"Data": message.content}},
            "EmailTags": [{"Name": name, "Value": value} for name, value in tags.items()],
        }
        if self._settings.configuration_set:
            request["ConfigurationSetName"] = self._settings.configuration_set
        answer = self._ask("send_email", **request)
        if not answer.get("MessageId"):
            raise NoAnswer(f"{self.where} answered without a MessageId")
        return str(answer["MessageId"])

    def account(self) -> Account:
        """How it stands with the account. Raises ``SesRefused`` and ``NoAnswer``."""
        said = self._ask("get_account")
        quota = said.get("SendQuota", {})
        return Account(
            sending=said.get("SendingEnabled", False),
            standing=said.get("EnforcementStatus", ""),
            production=said.get("ProductionAccessEnabled", False),
            day=quota.get("Max24HourSend", 0.0),
            rate=quota.get("MaxSendRate", 0.0),
            sent=quota.get("SentLast24Hours", 0.0),
        )

    def _ask(self, operation: str, **request: Any) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = getattr(self._ready(), operation)(**request)
        except ClientError as error:
            raise SesRefused(_refusal(error)) from None
        except (BotoCoreError, ResponseParserError) as error:
            raise NoAnswer(f"{self.where}: {_line(error)}") from None
        return answer

    def _ready(self) -> Any:
        with self._lock:
            now = self._clock.monotonic()
            if self._client is None:
                self._client = self._made(None, None)
            elif now - self._used > LONGEST_REST:
                self._client.close()  # its connections; it makes new ones
            self._used = now
            return self._client

    def _made(self, key: str | None, secret: str | None) -> Any:
        """A client with these credentials, or with those that the usual places hold."""
        client = self._session.client(
            "sesv2",
            endpoint_url=self._settings.endpoint_url or None,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            config=Config(
                retries={"mode": "standard", "total_max_attempts": 1},
                max_pool_connections=self._connections,
                connect_timeout=self._settings.connect_timeout,
                read_timeout=self._settings.read_timeout,
                tcp_keepalive=True,
                user_agent_extra="mailerd",
            ),
        )
        client.meta.events.register("before-send.sesv2.SendEmail", self._begin)
        return client

    def _begin(self, request: Any, **_: Any) -> None:
        request.body = self._calls.begin(request.body)


def _refusal(error: ClientError) -> Refusal:
    said = error.response
    facts = said.get("ResponseMetadata", {})
    code, text = said.get("Error", {}).get("Code", ""), said.get("Error", {}).get("Message", "")
    return Refusal(facts.get("HTTPStatusCode", 0), str(code), " ".join(str(text).split()))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
