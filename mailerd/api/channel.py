"""
waitress' parser, tasks and channel, taught what this server needs of them.

They close connections while the server drains, note how long a request waited, put waitress' own error
pages into problem+json, and read a body that is too long to its end so that the client can read the 413.
This is the one module that leans on waitress' inner parts (``tests/contract/test_waitress.py`` guards
them); ``server.py`` puts it to use. Runs in the loop thread except for the tasks.
"""

from __future__ import annotations

from typing import Any

import falcon
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.task import ErrorTask, Task, ThreadedTaskDispatcher, WSGITask
from waitress.utilities import RequestEntityTooLarge

from mailerd.api.problems import PROBLEM_JSON, page
from mailerd.api.waiting import WAITED
from mailerd.clock import Clock

# Bytes of a body that is too long which are read and thrown away before its connection is cut.
MAX_WASTE = 64 * 1024 * 1024


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


class AnswerTask(_LastWhenDraining, WSGITask):
    """A request that the application answers."""

    def get_environment(self) -> dict[str, Any]:
        """The WSGI environment, with what ``waiting.py`` wants to know."""
        environ = super().get_environment()
        channel: Any = self.channel
        environ[WAITED] = channel.server.task_dispatcher.waited(channel)
        return environ


class ProblemTask(_LastWhenDraining, ErrorTask):
    """A request that waitress refuses by itself: no HTTP, too long a header or body, a fault."""

    def execute(self) -> None:
        """Answer with a problem and close."""
        error: Any = self.request.error  # type: ignore[attr-defined]  # the stubs take the request for its error
        body = page(error.code, error.body)
        self.status = falcon.code_to_http_status(error.code)
        self.response_headers = [("Content-Type", PROBLEM_JSON)]
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class Channel(HTTPChannel):
    """One connection."""

    parser_class = Parser
    task_class = AnswerTask
    error_task_class = ProblemTask
    queued_at = 0.0  # when its present request began to wait for a task thread

    def idle(self) -> bool:
        """Whether nothing is under way on it: no request in part or in hand, no answer to be sent."""
        return not (self.requests or self.request is not None or self.total_outbufs_len)


class Dispatcher(ThreadedTaskDispatcher):
    """The task threads and the queue before them."""

    def __init__(self, clock: Clock, threads: int) -> None:
        super().__init__()
        self._clock = clock
        self.set_thread_count(threads)

    def add_task(self, task: Any) -> None:
        """Queue a channel whose next request is complete."""
        task.queued_at = self._clock.monotonic()
        super().add_task(task)

    def waited(self, channel: Channel) -> float:
        """Seconds that the channel's request waited for its thread."""
        return self._clock.monotonic() - channel.queued_at
