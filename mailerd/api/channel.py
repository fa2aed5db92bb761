"""
waitress' parser, tasks and channel, taught what this server needs of them.

They close connections while the server drains, put waitress' own error pages into problem+json, read a body
that is too long to its end so that the client can read the 413, and know which clients dawdle.
This is the one module that leans on waitress' inner parts (``tests/contract/test_waitress.py`` guards
them); ``dispatcher.py`` and ``server.py`` put it to use. Runs in the loop thread except for the tasks.
"""

from __future__ import annotations

from typing import Any

import falcon
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.task import ErrorTask, Task, WSGITask
from waitress.utilities import Error, RequestEntityTooLarge

from mailerd.api.problems import PROBLEM_JSON, page
from mailerd.api.waiting import RETRY_AFTER

# What needs nothing but the process.
ANSWERED_AT_ONCE = frozenset({"/healthz", "/openapi.json", "/docs"})
# What tells of trouble, and waits its turn rather than hear that there is too much of it.
NEVER_REFUSED = frozenset({"/readyz", "/metrics"})
# A request must be there after so many seconds, and one more for each so many bytes of its body.
REQUEST_GRACE = 30.0
SLOWEST = 4096
# Bytes of a body that is too long which are read and thrown away before its connection is cut.
MAX_WASTE = 64 * 1024 * 1024


class TooBusy(Error):
    """Why a request is refused that would wait too long."""

    code = 503
    reason = "Service Unavailable"


class _Nowhere:
    """Takes the place of a body's buffer once the body is refused."""

    def append(self, data: bytes) -> None:
        """Forget it."""

    def close(self) -> None:
        """Nothing is open."""


class Parser(HTTPRequestParser):
    """
    A request as it comes in.

    waitress answers a body that is too long at once and closes; a client that is still sending then meets
    a reset and never sees the 413. So the rest is read and dropped, within reason. A client that asked
    first (``Expect: 100-continue``) is told at once instead.
    """

    # A request line that is none gives neither; the stubs take the command for bytes.
    command: Any = ""
    path = ""

    def received(self, data: bytes) -> int:
        """Take in a piece; returns how many of its bytes belonged to this request."""
        if isinstance(self.error, RequestEntityTooLarge) and not self.completed:
            return self._drop(data)
        consumed = super().received(data)
        if isinstance(self.error, RequestEntityTooLarge):
            self.error.body = "the body is too long"
            self._refuse_body()
        return consumed

    def _refuse_body(self) -> None:
        if self.expect_continue and self.body_bytes_received == 0:
            self.expect_continue = False
            return
        body: Any = self.body_rcv
        body.getbuf().close()
        body.buf = _Nowhere()
        self.completed = bool(body.completed or body.error)

    def _drop(self, data: bytes) -> int:
        body: Any = self.body_rcv
        consumed: int = body.received(data)
        self.body_bytes_received += consumed
        self.completed = bool(body.completed or body.error or self.body_bytes_received > MAX_WASTE)
        return consumed


class _LastWhenDraining(Task):
    """Whose answer is the last on its connection when the server drains."""

    def build_response_header(self) -> bytes:
        """The header, which tells the client that the connection closes."""
        server: Any = self.channel.server
        if server.closing():
            self.set_close_on_finish()
        return super().build_response_header()

    def write(self, data: bytes) -> None:
        """Write a piece; one that is the whole body goes out with its header, and wakes its client once."""
        if self.wrote_header or not self.has_body or self.content_length != len(data):
            super().write(data)
            return
        self.channel.write_soon(self.build_response_header() + data)
        self.wrote_header = True
        self.content_bytes_written = len(data)


class AnswerTask(_LastWhenDraining, WSGITask):
    """A request that the application answers."""


class ProblemTask(_LastWhenDraining, ErrorTask):
    """A request that never reaches the application: no HTTP, too long a header or body, a fault, no time."""

    def execute(self) -> None:
        """Answer with a problem, and close unless only time was lacking."""
        request: Any = self.request
        error = request.error
        body = page(error.code, error.body)
        self.status = falcon.code_to_http_status(error.code)
        self.response_headers = [("Content-Type", PROBLEM_JSON)]
        if isinstance(error, TooBusy):
            self.response_headers.append(("Retry-After", str(RETRY_AFTER)))
        else:
            self.set_close_on_finish()
        self.content_length = len(body)
        self.write(b"" if request.command == "HEAD" else body)


class Channel(HTTPChannel):
    """One connection."""

    parser_class = Parser
    task_class = AnswerTask
    error_task_class = ProblemTask
    queued_at = 0.0  # when its present request began to wait for a task thread
    arriving_since: float | None = None  # when the first byte came of a request that is not complete

    def received(self, data: bytes) -> bool:
        """Take in a piece of a request, or of several; see waitress."""
        before = self.request
        taken = super().received(data)
        if self.request is not before:
            server: Any = self.server
            self.arriving_since = None if self.request is None else server.monotonic()
        return taken

    def dawdles(self, now: float) -> bool:
        """Whether its request has been arriving for too long; ``now`` in monotonic seconds."""
        request: Any = self.request
        if request is None or self.arriving_since is None:
            return False
        allowed: float = REQUEST_GRACE + request.body_bytes_received / SLOWEST
        return now - self.arriving_since > allowed

    def is_answered_at_once(self) -> bool:
        """Whether its next request needs no thread that may wait for Redis."""
        request: Any = self.requests[0]
        return bool(request.error) or request.path in ANSWERED_AT_ONCE

    def is_never_refused(self) -> bool:
        """Whether its next request waits as long as it has to."""
        request: Any = self.requests[0]
        return request.path in NEVER_REFUSED

    def refuse(self) -> None:
        """Answer its next request with the 503 of a server that has too much to do."""
        request: Any = self.requests[0]
        request.error = TooBusy("too many requests at once")
        self.service()

    def waits_for_its_client(self) -> bool:
        """Whether nothing is to be done for it: no complete request in hand, no answer to be sent."""
        return not (self.requests or self.total_outbufs_len)

    def idle(self) -> bool:
        """Whether nothing is under way on it: no request in part or in hand, no answer to be sent."""
        return self.request is None and self.waits_for_its_client()
