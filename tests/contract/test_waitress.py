"""
The private parts of waitress that our drain, tasks and parser stand on.

When one of these fails after an upgrade, read ``mailerd/api/server.py`` and ``channel.py`` anew before
moving the pin in pyproject.toml.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.receiver import ChunkedReceiver, FixedStreamReceiver
from waitress.server import BaseWSGIServer, create_server
from waitress.task import ErrorTask, Task, WSGITask
from waitress.utilities import Error, RequestEntityTooLarge


class Dispatcher:
    """What waitress needs of one."""

    def __init__(self) -> None:
        self.tasks: list[Any] = []

    def add_task(self, task: Any) -> None:
        self.tasks.append(task)


@pytest.fixture
def server() -> Iterator[Any]:
    """A stock waitress that does not listen yet."""
    dispatcher: Any = Dispatcher()
    listener = socket.create_server(("127.0.0.1", 0))
    server = create_server(lambda *_: [], map={}, _start=False, _dispatcher=dispatcher, sockets=[listener])
    yield server
    server.close()


def parser(limit: int) -> Any:
    return HTTPRequestParser(Adjustments(max_request_body_size=limit))


def test_the_version_is_the_one_that_was_read() -> None:
    """What is guarded here was read in 3.0.x."""
    assert re.match(r"3\.0\.", importlib.metadata.version("waitress"))


def test_one_turn_of_the_loop_is_ours_to_make() -> None:
    """``wasyncore.loop`` turns as often as it is told over the map it is given."""
    assert list(inspect.signature(wasyncore.loop).parameters) == ["timeout", "use_poll", "map", "count"]


def test_the_server_is_made_without_listening_on_the_socket_and_map_given(server: Any) -> None:
    """``_start=False`` waits for ``accept_connections``; dispatcher, map and socket are those given."""
    assert isinstance(server, BaseWSGIServer)
    assert not server.accepting
    server.accept_connections()
    assert server.accepting
    assert server._map[server.socket.fileno()] is server
    assert server.active_channels == {}
    assert isinstance(server.task_dispatcher, Dispatcher)
    assert server.in_connection_overflow is False


@pytest.mark.covers("supervisor-32")
def test_closing_only_the_dispatcher_spares_the_trigger(server: Any) -> None:
    """``wasyncore.dispatcher.close`` ends the listener and leaves the wake-up pipe open and in the map."""
    server.accept_connections()
    wasyncore.dispatcher.close(server)
    assert list(server._map.values()) == [server.trigger]
    server.pull_trigger()
    wasyncore.loop(timeout=0, use_poll=True, map=server._map, count=1)


def test_a_channel_is_made_by_the_class_that_the_server_names(server: Any) -> None:
    """An accepted connection becomes a ``channel_class``, known as active, with the state we look at."""

    class Ours(HTTPChannel):
        pass

    server.channel_class = Ours
    server.accept_connections()
    with socket.create_connection(server.socket.getsockname()):
        server.handle_accept()
        (channel,) = server.active_channels.values()
        assert isinstance(channel, Ours)
        assert (channel.requests, channel.request, channel.total_outbufs_len) == ([], None, 0)
        assert channel.will_close is False
        channel.will_close = True
        assert channel.writable()
        channel.handle_write()
        assert server.active_channels == {}


def test_a_channel_names_its_parts() -> None:
    """Parser and tasks are replaced by class attributes."""
    assert HTTPChannel.parser_class is HTTPRequestParser
    assert HTTPChannel.task_class is WSGITask
    assert HTTPChannel.error_task_class is ErrorTask


def test_the_header_is_built_where_we_add_to_it() -> None:
    """``build_response_header`` and ``set_close_on_finish`` are methods of every task."""
    for method in ("build_response_header", "set_close_on_finish", "service", "write"):
        assert callable(getattr(Task, method))
    assert "build_response_header" not in vars(WSGITask) | vars(ErrorTask)
    assert "execute" in vars(ErrorTask)
    assert "get_environment" in vars(WSGITask)


def test_a_task_notes_what_it_has_written(server: Any) -> None:
    """A ``write`` of the whole body is ours to make: what waitress goes by afterwards are these marks."""
    sent = b""

    class Channel:
        def __init__(self) -> None:
            self.server = server

        def write_soon(self, data: bytes) -> None:
            nonlocal sent
            sent += data

    task: Any = ErrorTask(Channel(), parser(10))  # type: ignore[arg-type] # all that a task needs of one
    task.request.error = RequestEntityTooLarge("too long")
    assert not task.wrote_header
    task.service()
    _, _, body = sent.partition(b"\r\n\r\n")
    assert task.wrote_header
    assert task.has_body
    assert task.content_bytes_written == task.content_length == len(body) > 0


def test_a_complete_request_is_a_task_and_an_incomplete_one_is_not(server: Any) -> None:
    """``received`` keeps a partial request in ``request`` and gives the channel away once it is complete."""
    server.accept_connections()
    with socket.create_connection(server.socket.getsockname()) as client:
        server.handle_accept()
        (channel,) = server.active_channels.values()
        channel.received(b"POST /a?b HTTP/1.1\r\nContent-Length: 4\r\n\r\nab")
        assert server.task_dispatcher.tasks == []
        assert channel.request.body_bytes_received == 2
        channel.received(b"cd")
        assert channel.request is None
        assert server.task_dispatcher.tasks == [channel]
        (request,) = channel.requests
        assert (request.command, request.path, request.error) == ("POST", "/a", None)
        client.close()
    channel.handle_close()


def test_a_request_with_an_error_is_answered_by_the_error_task(server: Any) -> None:
    """Setting ``error`` on a complete request before ``service`` makes it a refusal."""
    seen: list[Any] = []

    class Refusal(ErrorTask):
        def execute(self) -> None:
            seen.append(self.request.error)  # type: ignore[attr-defined]  # the stubs take it for its error
            super().execute()

    server.accept_connections()
    with socket.create_connection(server.socket.getsockname()):
        server.handle_accept()
        (channel,) = server.active_channels.values()
        channel.error_task_class = Refusal
        channel.received(b"GET / HTTP/1.1\r\n\r\n")
        channel.requests[0].error = error = Error("no")
        channel.service()
        assert seen == [error]
    channel.handle_close()


@pytest.mark.parametrize(
    ("head", "receiver"),
    [(b"Content-Length: 20", FixedStreamReceiver), (b"Transfer-Encoding: chunked", ChunkedReceiver)],
)
def test_a_body_that_is_too_long_leaves_a_receiver_that_can_go_on(head: bytes, receiver: type) -> None:
    """At the limit the request is complete with its error; the receiver knows its buffer and its end."""
    request = parser(10)
    rest = b"POST / HTTP/1.1\r\n" + head + b"\r\n\r\n" + b"14\r\n" + b"x" * 20 + b"\r\n"
    while rest and not request.completed:
        rest = rest[request.received(rest) :]
    assert isinstance(request.error, RequestEntityTooLarge)
    assert isinstance(request.body_rcv, receiver)
    assert request.body_rcv.buf is request.body_rcv.getbuf()
    assert request.body_rcv.error is None
    assert not request.body_rcv.completed
    assert request.expect_continue is False


def test_the_limit_itself_is_refused() -> None:
    """Waitress refuses a body of exactly its limit, which is why ours is set above."""
    request = parser(10)
    request.received(b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n")
    assert isinstance(request.error, RequestEntityTooLarge)
