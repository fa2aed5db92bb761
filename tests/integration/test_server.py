"""The HTTP server on real sockets: what it refuses, how it holds under load, and how it drains."""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import pytest

from mailerd.api.access import Keyring
from mailerd.api.app import create_app
from mailerd.api.channel import REQUEST_GRACE
from mailerd.api.ports import Ports
from mailerd.api.server import IDLE_GRACE, Server, connection_limit, serve
from mailerd.clock import SystemClock
from mailerd.job import EmailJob
from mailerd.queue.model import Admission, BatchView, Enqueued
from rigs.figures import no_sources
from rigs.waiting import holds_for, wait_until

MAX_BODY = 100_000
THREADS = 4
JOB = json.dumps({"client_id": "shop", "contact_ids": ["a"], "template_id": "t"}).encode()
HEADERS = {"Content-Type": "application/json"}


class Clock(SystemClock):
    """The real clock, which a test may put forward."""

    ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


class Intake:
    """A queue that can be made to hold every request until it is released."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.inside = 0
        self.taken = 0
        self._lock = threading.Lock()

    def enqueue(self, job: EmailJob, request: str) -> Enqueued:  # noqa: ARG002  # the port's
        with self._lock:
            self.inside += 1
        self.open.wait(20)
        with self._lock:
            self.inside -= 1
            self.taken += 1
        return Enqueued(Admission.QUEUED, len(job.distinct()))

    def find(self, *_: Any) -> list[BatchView]:
        return []


class Gate:
    ready = True
    draining = False
    reason = "not yet"


class House:
    """Servers one after the other on one address, whose socket is kept open as systemd keeps it."""

    def __init__(self, sock: socket.socket) -> None:
        self.intake, self.gate, self.clock = Intake(), Gate(), Clock()
        self.sock, self.address = sock, sock.getsockname()
        self.sock.listen()
        self.servers: list[Server] = []
        self.clients: list[HTTPConnection | socket.socket] = []
        self.server = self.serve()

    def serve(self) -> Server:
        ports = Ports(
            self.intake, self.intake, self.intake, self.gate, lambda: True, no_sources(), lambda _: None
        )
        app = create_app(ports, Keyring(), MAX_BODY)
        self.server = serve(app, self.sock.dup(), THREADS, self.gate, MAX_BODY, self.clock)
        self.servers.append(self.server)
        return self.server

    def connect(self, timeout: float = 15.0) -> HTTPConnection:
        connection = HTTPConnection(*self.address, timeout=timeout)
        self.clients.append(connection)
        return connection

    def raw(self, *pieces: bytes) -> socket.socket:
        connection = socket.create_connection(self.address, timeout=15)
        self.clients.append(connection)
        for piece in pieces:
            connection.sendall(piece)
        return connection

    def waiting(self) -> int:
        """How many requests wait for a thread."""
        return len(self.server.waitress.task_dispatcher.queue)

    def drain(self, seconds: float = 5.0) -> None:
        self.server.drain(self.clock.monotonic() + seconds)

    def draining(self, seconds: float = 5.0) -> threading.Thread:
        """The drain in a thread of its own, begun."""
        thread = threading.Thread(target=self.drain, args=(seconds,))
        thread.start()
        wait_until(self.server.closing, 5, "the drain did not begin")
        return thread

    def close(self) -> None:
        """End everything; only here, with every thread gone, may waitress be closed."""
        self.intake.open.set()
        for client in self.clients:
            client.close()
        self.drain()
        self.sock.close()
        for server in self.servers:
            assert server.waitress.task_dispatcher.threads == set()
            server.waitress.close()


@pytest.fixture
def house() -> Iterator[House]:
    house = House(socket.create_server(("127.0.0.1", 0)))
    yield house
    house.close()


def post(connection: HTTPConnection, body: Any = JOB, **headers: str) -> HTTPResponse:
    connection.request("POST", "/queue", body, HEADERS | headers)
    return connection.getresponse()


def ask_ready(connection: HTTPConnection) -> int:
    connection.request("GET", "/readyz")
    return connection.getresponse().status


def problem(answer: HTTPResponse, status: int) -> dict[str, Any]:
    """The problem in the answer."""
    body: dict[str, Any] = json.loads(answer.read())
    assert (answer.status, body["status"]) == (status, status)
    assert answer.getheader("Content-Type") == "application/problem+json"
    return body


def answer_of(connection: socket.socket) -> HTTPResponse:
    answer = HTTPResponse(connection)
    answer.begin()
    return answer


def test_a_connection_outlives_answers_and_refusals(house: House) -> None:
    """One kept connection serves good and bad requests, and no header tells what the server is."""
    connection = house.connect()
    for _ in range(2):
        answer = post(connection)
        assert (answer.status, answer.getheader("Server"), answer.getheader("Via")) == (202, None, None)
        sock = connection.sock
        answer.read()
        problem(post(connection, JOB * 500, **{"Content-Type": "text/plain"}), 415)
        problem(post(connection, b"{" * MAX_BODY), 400)
        problem(post(connection, b" " * (MAX_BODY + 1)), 413)
        assert connection.sock is sock


@pytest.mark.parametrize("chunked", [False, True], ids=["counted", "chunked"])
def test_a_body_of_the_limit_is_taken_and_more_is_a_413_that_can_be_read(
    house: House, *, chunked: bool
) -> None:
    """A client that sends far too much before it reads still gets its 413, whole, and then the end."""
    longest = JOB.ljust(MAX_BODY)
    connection = house.connect()
    answer = post(connection, iter([longest]) if chunked else longest)
    assert answer.status == 202
    answer.read()
    far_too_long = b" " * 8_000_000
    answer = post(connection, iter([far_too_long]) if chunked else far_too_long)
    problem(answer, 413)
    assert answer.getheader("Connection") == "close"


@pytest.mark.parametrize(
    "request_",
    [
        b"POST /queue HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
        % (len(JOB), JOB),
        b"GET /nowhere HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    ],
    ids=["job", "problem", "old"],
)
def test_an_answer_comes_in_one_piece(house: House, request_: bytes) -> None:
    """Header and body are sent together, twenty times in a row: whoever waits wakes once and has it all."""
    client = house.raw()
    for _ in range(20):
        client.sendall(request_)
        head, _, body = client.recv(65536).partition(b"\r\n\r\n")
        assert f"Content-Length: {len(body)}\r".encode() in head + b"\r"
        assert body.endswith(b"\n")


def test_who_asks_first_is_told_before_sending(house: House) -> None:
    """With Expect: 100-continue a body that is too long is refused without "go on"."""
    head = b"POST /queue HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\nExpect: 100-continue\r\n\r\n"
    with house.raw(head) as connection:
        problem(answer_of(connection), 413)
        assert connection.recv(1) == b""


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"NONSENSE\r\n\r\n", 400),
        (b"POST /queue HTTP/1.1\r\nContent-Length: +1\r\n\r\nx", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", 431),
        (b"POST /queue HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n", 400),
        (b"POST /queue HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
    ],
    ids=["line", "length", "header", "chunk", "encoding"],
)
def test_what_waitress_refuses_is_a_problem_too(house: House, request_: bytes, status: int) -> None:
    """Requests that never reach the application are refused in the same form."""
    with house.raw(request_) as connection:
        problem(answer_of(connection), status)


def test_a_unix_socket_serves_as_well(tmp_path: Path) -> None:
    """The server takes a listening Unix socket."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "http"))
    house = House(listener)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(tmp_path / "http"))
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer_of(connection).status == 200
    house.close()


def test_the_loop_ticks(house: House) -> None:
    """The tick goes on while nobody asks anything."""
    before = house.server.last_tick()
    wait_until(lambda: house.server.last_tick() > before, 5, "no tick")
    assert house.server.failed() is None


@pytest.mark.covers("supervisor-33")
def test_a_loop_that_fails_says_so(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ends the loop is there to be asked for."""
    fault = OSError(errno.EBADF, "made by the test")

    def fail(**_: Any) -> None:
        raise fault

    monkeypatch.setattr("waitress.wasyncore.loop", fail)
    wait_until(lambda: house.server.failed() is fault, 5, "the failure was not noticed")


@pytest.mark.covers("supervisor-35")
def test_who_waits_too_long_is_refused_while_nobody_is_done(house: House) -> None:
    """When all threads hang, whoever waits is refused soon, and the connection is kept; health is not."""
    house.intake.open.clear()
    with ThreadPoolExecutor(8) as clients:
        held = [clients.submit(post, house.connect(5.0)) for _ in range(THREADS)]
        wait_until(lambda: house.intake.inside == THREADS, 10, "not all threads are busy")
        begun = house.clock.monotonic()
        connection = house.connect(5.0)
        answer = post(connection)
        assert problem(answer, 503)["detail"] == "too many requests at once"
        assert house.clock.monotonic() - begun < 0.7
        assert (answer.getheader("Retry-After"), answer.getheader("Connection")) == ("1", None)
        sock = connection.sock
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200
        assert connection.sock is sock
        ready = clients.submit(ask_ready, house.connect())
        wait_until(lambda: house.waiting() == 1, 5, "it is not in the queue")
        holds_for(lambda: not ready.done(), 0.7, "readiness was refused")
        house.intake.open.set()
        assert [answer.result().status for answer in held] == [202] * THREADS
        assert ready.result() == 200


def test_a_refused_head_has_no_body(house: House) -> None:
    """A HEAD that is refused for want of time leaves its connection in order."""
    house.intake.open.clear()
    with ThreadPoolExecutor(THREADS) as clients:
        held = [clients.submit(post, house.connect()) for _ in range(THREADS)]
        wait_until(lambda: house.intake.inside == THREADS, 10, "not all threads are busy")
        connection = house.raw(b"HEAD /batches/b HTTP/1.1\r\nHost: x\r\n\r\n")
        answers = connection.makefile("rb")
        head = list(iter(answers.readline, b"\r\n"))
        assert head[0].startswith(b"HTTP/1.1 503")
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answers.readline().startswith(b"HTTP/1.1 200")
        answers.close()
        house.intake.open.set()
        assert {answer.result().status for answer in held} == {202}


def test_a_request_that_trickles_in_is_cut_and_a_slow_upload_is_not(house: House) -> None:
    """A request may take its time as long as its body gets on."""
    head = b"POST /queue HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    longest = JOB.ljust(MAX_BODY)
    trickle, upload = house.raw(b"POST /queue HT"), house.raw(head % MAX_BODY, longest[:80_000])
    channels = house.server.waitress.active_channels
    wait_until(lambda: sum(each.arriving_since is not None for each in channels.values()) == 2, 5)
    house.clock.ahead += REQUEST_GRACE + 1
    assert trickle.recv(1) == b""
    upload.sendall(longest[80_000:])
    assert answer_of(upload).status == 202


@pytest.mark.covers("supervisor-34")
def test_silent_connections_make_room(house: House) -> None:
    """Where no connection is left, those that have been silent the longest are closed for new ones."""
    house.server.waitress.adj.connection_limit = 30
    silent = [house.raw() for _ in range(30)]
    connection = house.connect(5.0)
    connection.request("GET", "/healthz")
    assert connection.getresponse().status == 200
    assert len(silent) == 30


def test_300_slow_and_half_open_clients_do_not_hide_the_health(house: House) -> None:
    """With 300 connections that say nothing, half a request, or do not read, /healthz answers in a second."""
    page = b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"
    for number in range(300):
        house.raw((b"", b"POST /queue HTTP/1.1\r\nHost: x\r\nContent-Le", page)[number % 3])
    begun = house.clock.monotonic()
    connection = house.connect()
    connection.request("GET", "/healthz")
    assert connection.getresponse().status == 200
    assert house.clock.monotonic() - begun < 1


def test_while_the_daemon_drains_answers_close_their_connections(house: House) -> None:
    """Before HTTP itself drains, requests are answered as ever, but each answer is the connection's last."""
    connection = house.connect()
    assert post(connection).getheader("Connection") is None
    house.gate.draining = True
    connection = house.connect()
    answer = post(connection)
    assert (answer.status, answer.getheader("Connection")) == (202, "close")
    connection.request("GET", "/readyz")  # http.client connects again
    problem(connection.getresponse(), 503)


@pytest.mark.covers("supervisor-30")
def test_a_drain_answers_what_was_asked(house: House) -> None:
    """Requests in hand, in the queue and half sent when the drain begins are all answered in full."""
    idle = house.raw(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    answer_of(idle).read()
    house.intake.open.clear()
    half = house.raw(b"POST /queue HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n", b"Content-Le")
    with ThreadPoolExecutor(10) as clients:
        answers = [clients.submit(post, house.connect()) for _ in range(10)]
        wait_until(lambda: house.waiting() == 10 - THREADS, 10, "not all clients wait")
        drain = house.draining()
        house.intake.open.set()
        assert [answer.result().status for answer in answers] == [202] * 10
        assert {answer.result().getheader("Connection") for answer in answers} == {"close"}
    assert idle.recv(1) == b""  # the grace is over
    half.sendall(b"ngth: %d\r\n\r\n%s" % (len(JOB), JOB))
    assert answer_of(half).status == 202
    drain.join(10)
    assert not drain.is_alive()
    assert house.server.failed() is None


@pytest.mark.covers("supervisor-31")
def test_a_drain_leaves_an_idle_connection_a_moment_and_then_closes_it(house: House) -> None:
    """A kept connection may bring one more request within the grace; an idle one is closed after it."""
    used, idle = house.connect(), house.connect()
    for connection in (used, idle):
        post(connection).read()
    begun = house.clock.monotonic()
    drain = house.draining()
    assert post(used).getheader("Connection") == "close"
    assert idle.sock.recv(1) == b""
    drain.join(5)
    assert IDLE_GRACE <= house.clock.monotonic() - begun < IDLE_GRACE + 1


@pytest.mark.covers("supervisor-32")
def test_a_drain_ends_at_its_deadline(house: House, caplog: pytest.LogCaptureFixture) -> None:
    """A request that does not end is cut off at the deadline and counted; nothing writes to a closed pipe."""
    house.intake.open.clear()
    trigger = house.server.waitress.trigger._fds
    with ThreadPoolExecutor(1) as clients:
        answer = clients.submit(post, house.connect())
        wait_until(lambda: house.intake.inside == 1, 5, "the request did not arrive")
        begun = house.clock.monotonic()
        house.drain(0.3)
        assert 0.3 <= house.clock.monotonic() - begun < 1
        with pytest.raises(ConnectionError):
            answer.result(5)
    assert "cut off 1 connections" in caplog.text
    house.intake.open.set()
    wait_until(lambda: house.intake.inside == 0, 5, "the request did not end")
    for descriptor in trigger:
        os.fstat(descriptor)
    assert [
        record for record in caplog.records if record.name.startswith("waitress") and record.exc_info
    ] == []


@pytest.mark.covers("supervisor-30")
def test_connections_that_wait_in_the_kernel_are_taken_along(house: House) -> None:
    """A connection made before the listener closes is served, though nobody had accepted it yet."""
    stopped, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        stopped.set()
        go_on.wait(10)

    house.server.waitress.trigger.pull_trigger(hold)
    stopped.wait(5)
    house.sock.close()
    connections = [house.connect() for _ in range(5)]
    for connection in connections:
        connection.connect()  # the kernel takes it, whoever accepts it
    with ThreadPoolExecutor(5) as clients:
        answers = [clients.submit(post, connection) for connection in connections]
        drain = house.draining()
        go_on.set()
        assert [answer.result().status for answer in answers] == [202] * 5
    drain.join(5)


def test_restarts_under_clients_lose_no_request(house: House) -> None:
    """Three restarts on one kept socket: every request of every client is answered in full."""
    over = threading.Event()

    def ask(kept: bool) -> list[int]:
        statuses = []
        connection = house.connect()
        while not over.is_set():
            answer = post(connection)
            statuses.append(answer.status)
            assert json.loads(answer.read())["queued"]
            if not kept:
                connection.close()
        connection.close()
        return statuses

    with ThreadPoolExecutor(8) as clients:
        asking = [clients.submit(ask, number % 2 == 0) for number in range(8)]
        for _ in range(3):
            reached = house.intake.taken + 50
            wait_until(lambda reached=reached: house.intake.taken > reached, 10, "nobody asks")
            house.drain()
            house.serve()
        over.set()
        statuses = [status for client in asking for status in client.result()]
    assert set(statuses) == {202}
    assert len(statuses) == house.intake.taken


@pytest.mark.parametrize(("open_files", "limit"), [(1024, 512), (64, 32), (1_000_000, 1000), (-1, 1000)])
def test_connections_fit_into_the_open_files(
    monkeypatch: pytest.MonkeyPatch, open_files: int, limit: int
) -> None:
    """At most half the process's descriptors, and at most a thousand."""
    getrlimit: Callable[[int], tuple[int, int]] = lambda _: (open_files, open_files)  # noqa: E731  # typed
    monkeypatch.setattr("resource.getrlimit", getrlimit)
    assert connection_limit() == limit
