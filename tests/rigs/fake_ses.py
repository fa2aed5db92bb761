"""
Amazon SES v2 as far as sending goes, on loopback: keeps the truth, has limits, misbehaves when told to.

It checks each signature, reads the mail as a receiver would, and takes its errors from botocore's own model.
A mail counts as taken before its answer is written: whether the answer arrives is another matter.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import threading
import time
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from rigs.fake_ses_model import Problem, Sending, error_answer, operation_at, read_sending
from rigs.fake_ses_signature import Guard, Request

REGION = "eu-west-1"
ACCESS_KEY = "AKIAFAKE"
SECRET = "fake/secret+key"
# Our credentials, and none of this machine's.
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": ACCESS_KEY,
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_CONFIG_FILE": "/nowhere",
    "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
    "AWS_EC2_METADATA_DISABLED": "true",
}
TOO_FAST = "Maximum sending rate exceeded."
TOO_MANY = "Daily message quota exceeded."
_DAY = 86_400.0


@dataclass(frozen=True)
class Taken:
    """One mail that SES took, and when (by the fake's clock)."""

    sending: Sending
    message_id: str
    time: float

    @property
    def recipient(self) -> str:
        (recipient,) = self.sending.recipients
        return recipient


@dataclass(frozen=True)
class Call:
    """One request that was read to its end: from which port, and what it was answered ('' for yes)."""

    operation: str
    port: int
    problem: str


@dataclass
class State:
    """What the account may do; change it at any time. None is no limit. ``verified``: addresses, domains."""

    rate: int | None = None  # recipients in any sliding second
    granted: int | None = None  # what it says of that, where it is not the truth
    day: int | None = None  # recipients in any 24 hours
    sending: bool = True
    standing: str = "HEALTHY"
    production: bool = True
    configuration_sets: set[str] = field(default_factory=set)
    verified: set[str] | None = None
    delay: float = 0.0  # before each answer
    sts: bytes = b""  # what a request for credentials is answered, as a refusal
    cut_early: int = 0  # so many of the next requests are cut off before their body is read
    rules: list[dict[str, Any]] = field(default_factory=list)


class FakeSes:
    """
    The server as a test sees it. Use as a context manager.

    ``state.rules = [{"match": "user7@", "do": "MessageRejected: no", "times": 3}]``: what it does to the next
    mails to such recipients. ``do`` is an error with its text, or: ``drop`` (takes the mail and hangs up),
    ``hang`` (takes it and never answers), ``garbage`` (takes it and answers what is no answer),
    ``status 502`` (takes it, and a gateway answers so), ``hang_up`` (at once, takes nothing). ``clock`` is
    what its limits go by.
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, tls: ssl.SSLContext | None = None, **state: Any
    ) -> None:
        self.state = State(**state)
        self.guard = Guard({ACCESS_KEY: SECRET}, {}, REGION)
        self.calls: list[Call] = []
        self.over = threading.Event()
        self._clock = clock
        self._taken: list[Taken] = []
        self._times: list[float] = []  # one for each recipient
        self._before = 0  # recipients who count against the day already
        self._lock = threading.Lock()
        self._server = _Server(self, tls)
        self.port: int = self._server.server_address[1]
        self.url = f"http{'s' if tls else ''}://localhost:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self.cut_all()

    def start_over(self) -> None:
        """Forget all mails, calls and rules; connections stay."""
        with self._lock:
            self.state = State()
            self.calls.clear()
            self._taken.clear()
            self._times.clear()
            self._before = 0

    @property
    def settings(self) -> dict[str, Any]:
        """The section ``ses`` of a configuration that uses it."""
        return {"region": REGION, "endpoint_url": self.url}

    def mails(self) -> list[Taken]:
        """Every mail taken so far, in order."""
        with self._lock:
            return list(self._taken)

    def recipients(self) -> Counter[str]:
        """How often each recipient got a mail."""
        return Counter(recipient for mail in self.mails() for recipient in mail.sending.recipients)

    def problems(self) -> Counter[str]:
        """How often each error was answered."""
        return Counter(call.problem for call in list(self.calls) if call.problem)

    def most_in_a_second(self) -> int:
        """The most recipients in any sliding second."""
        times = list(self._times)
        return max((bisect_left(times, begin + 1) - n for n, begin in enumerate(times)), default=0)

    def best_rate(self, recipients: int) -> float:
        """Recipients a second while so many came in the shortest time; a burst counts for its pause, too."""
        times = list(self._times)
        return max(recipients / (end - begin) for begin, end in zip(times, times[recipients:], strict=False))

    def spend(self, recipients: int) -> None:
        """Somebody else uses up so much of the day's quota; negative: it comes back."""
        with self._lock:
            self._before += recipients

    def cut_all(self) -> None:
        """End every connection at once."""
        self._server.cut_all(forget=False)

    def forget_all(self) -> None:
        """As a NAT gateway does: what comes next on a connection that exists now is answered with a reset."""
        self._server.cut_all(forget=True)

    # --- for the handler ----------------------------------------------------------------------------

    def account(self) -> dict[str, Any]:
        state, now = self.state, self._clock()
        with self._lock:
            sent = self._count(now - _DAY) + self._before
        return {
            "SendingEnabled": state.sending,
            "EnforcementStatus": state.standing,
            "ProductionAccessEnabled": state.production,
            "SendQuota": {
                "Max24HourSend": float(-1 if state.day is None else state.day),
                "MaxSendRate": float(state.granted or state.rate or 1000),
                "SentLast24Hours": float(sent),
            },
        }

    def take(self, sending: Sending) -> str:
        """Take the mail, and give its id; raises ``Problem`` where the account may not send it."""
        self._check_account(sending)
        with self._lock:
            now, size, state = self._clock(), len(sending.recipients), self.state
            if state.day is not None and self._count(now - _DAY) + self._before + size > state.day:
                raise Problem("TooManyRequestsException", TOO_MANY)
            if state.rate is not None and self._count(now - 1) + size > state.rate:
                raise Problem("TooManyRequestsException", TOO_FAST)
            message_id = f"0102018f{len(self._taken):08x}-fake-000000"
            self._taken.append(Taken(sending, message_id, now))
            self._times += [now] * size
        return message_id

    def rule_for(self, recipients: tuple[str, ...]) -> str:
        """What is to be done to a mail to these; '' for nothing special."""
        with self._lock:
            for rule in self.state.rules:
                if rule.get("times", 1) > 0 and any(
                    re.search(rule.get("match", ""), to) for to in recipients
                ):
                    rule["times"] = rule.get("times", 1 << 60) - 1
                    return str(rule["do"])
        return ""

    def _check_account(self, sending: Sending) -> None:
        state = self.state
        if not state.sending:
            raise Problem("SendingPausedException", "Email sending is disabled for this account.")
        if sending.configuration_set and sending.configuration_set not in state.configuration_sets:
            text = f"Configuration set <{sending.configuration_set}> does not exist."
            raise Problem("NotFoundException", text)
        senders = {str(address.addr_spec) for address in sending.message["From"].addresses}
        asked = (
            senders
            | ({sending.feedback_to} - {""})
            | (set() if state.production else set(sending.recipients))
        )
        if state.verified is None:
            return
        failed = [one for one in sorted(asked) if not {one, one.rpartition("@")[2]} & state.verified]
        if failed:
            text = "Email address is not verified. The following identities failed the check in region"
            raise Problem("MessageRejected", f"{text} {REGION.upper()}: {', '.join(failed)}")

    def _count(self, since: float) -> int:
        return len(self._times) - bisect_right(self._times, since)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, fake: FakeSes, tls: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.fake = fake
        self.forgotten: set[socket.socket] = set()
        self._open: set[socket.socket] = set()
        self._tls = tls

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        if self._tls:
            connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, *_: object) -> None:
        """A client that went away is its own business."""

    def cut_all(self, *, forget: bool) -> None:
        for connection in list(self._open):
            if forget:
                self.forgotten.add(connection)
                continue
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def log_message(self, *_: object) -> None:
        """Silence."""

    def _serve(self) -> None:
        if self.connection in self.server.forgotten:
            linger = b"\1\0\0\0\0\0\0\0"  # on, 0 s: a reset
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.close_connection = True
            self.rfile.close()
            self.connection.close()
            return
        if self.server.fake.state.cut_early:
            self.server.fake.state.cut_early -= 1
            self.close_connection = True
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers, body)
        operation = operation_at(self.command, self.path)
        if self.path == "/":
            self._say(403, {"Content-Type": "text/xml"}, self.server.fake.state.sts)
            return
        try:
            answer = self._answer(operation, request)
            problem = ""
        except Problem as refusal:
            problem = refusal.code
            answer = error_answer(operation, refusal)
        self.server.fake.calls.append(Call(operation, self.client_address[1], problem))
        if answer is not None:
            self._say(*answer)

    def _answer(self, operation: str, request: Request) -> tuple[int, dict[str, str], bytes] | None:
        fake = self.server.fake
        complaint = fake.guard.complaint(request, datetime.now(UTC))
        if complaint:
            raise Problem(*complaint)
        if operation == "GetAccount":
            return 200, {}, json.dumps(fake.account()).encode()
        if operation != "SendEmail":
            raise Problem("UnknownOperationException", f"{request.method} {request.target}")
        sending = read_sending(request.body)
        wanted = fake.rule_for(sending.recipients)
        if wanted == "hang_up":
            self.close_connection = True
            return None
        if wanted[:1].isupper():
            code, _, text = wanted.partition(": ")
            raise Problem(code, text)
        message_id = fake.take(sending)
        if fake.state.delay:
            fake.over.wait(fake.state.delay)
        if wanted == "hang":
            fake.over.wait()
        if wanted in ("drop", "hang"):
            self.close_connection = True
            return None
        if wanted.startswith("status "):
            status = int(wanted.removeprefix("status "))
            return status, {"Content-Type": "text/html"}, b"<html>Bad Gateway</html>"
        said = (
            b"<html>what?</html>" if wanted == "garbage" else json.dumps({"MessageId": message_id}).encode()
        )
        return 200, {}, said

    def _say(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        given = {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "x-amzn-RequestId": "fake-0",
        }
        for name, value in (given | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
