"""
The HTTP thread: waitress behind our own loop, because waitress cannot drain.

``serve`` starts the loop thread and the task threads on a socket that somebody else bound; ``Server`` is
what main keeps of them. Two rules: ``server.close()`` is never called (it closes the wake-up pipe while
tasks still write to it), and everything that touches waitress' map runs in the loop thread.
"""

from __future__ import annotations

import logging
import resource
import select
import socket
import threading
from collections.abc import Iterable
from typing import Any

from waitress import wasyncore
from waitress.server import create_server

from mailerd.api.app import App
from mailerd.api.channel import Channel
from mailerd.api.dispatcher import Dispatcher
from mailerd.api.ports import Gate
from mailerd.clock import Clock

IDLE_GRACE = 1.0  # seconds in which a kept connection may bring one more request once we drain
TICK = 1.0  # longest pause of the loop, in seconds
DRAIN_TICK = 0.05
BACKLOG = 4096  # the kernel caps it at net.core.somaxconn
MAX_CONNECTIONS = 1000
IDLE_TIMEOUT = 60  # seconds
CLEANUP_INTERVAL = 5  # seconds
MAX_HEADER_BYTES = 64 * 1024
SWEEP_INTERVAL = 1.0  # seconds
SILENT = 1.0  # seconds after which a connection may have to make room for a new one
ROOM = 10  # one in so many makes room at a time

log = logging.getLogger(__name__)


def serve(
    app: App, sock: socket.socket, threads: int, gate: Gate, max_body_bytes: int, clock: Clock
) -> Server:
    """
    Serve ``app`` on the bound socket with that many task threads; returns once it accepts.

    ``max_body_bytes`` is the limit that the application enforces to the byte; the one set here only keeps
    endless bodies out.
    """
    server = Server(gate, clock)
    dispatcher: Any = Dispatcher(clock, threads)  # waitress needs of one no more than add_task
    server.start(
        create_server(
            app,
            map=server.map,
            _dispatcher=dispatcher,
            _start=False,
            sockets=[sock],
            ident=None,
            backlog=BACKLOG,
            connection_limit=connection_limit(),
            channel_timeout=IDLE_TIMEOUT,
            cleanup_interval=CLEANUP_INTERVAL,
            clear_untrusted_proxy_headers=False,  # nobody here reads them, and looking costs each request
            recv_bytes=64 * 1024,
            max_request_header_size=MAX_HEADER_BYTES,
            # Framing of chunked bodies counts as well; and waitress refuses at its limit, not above.
            max_request_body_size=max_body_bytes + max_body_bytes // 4 + 1,
            log_socket_errors=False,
        )
    )
    return server


def connection_limit() -> int:
    """How many connections at once: a busy one may need a second descriptor for a long body."""
    open_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if open_files == resource.RLIM_INFINITY else min(MAX_CONNECTIONS, open_files // 2)


class Server:
    """The running HTTP side, as main sees it."""

    def __init__(self, gate: Gate, clock: Clock) -> None:
        self.map: dict[int, Any] = {}  # what the loop looks after, by descriptor; filled by waitress
        self._gate = gate
        self._clock = clock
        self._tick = self._swept = clock.monotonic()
        self._deadline: float | None = None
        self._failure: BaseException | None = None
        self.waitress: Any = None
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)

    def closing(self) -> bool:
        """Whether answers end their connections."""
        return self._deadline is not None or self._gate.draining

    def start(self, waitress: Any) -> None:
        """Listen, and begin to turn; called once."""
        self.waitress = waitress
        waitress.channel_class = Channel
        waitress.closing = self.closing
        waitress.monotonic = self._clock.monotonic
        waitress.accept_connections()
        self._thread.start()

    def last_tick(self) -> float:
        """When the loop last came round (monotonic seconds); at most a second ago while all is well."""
        return self._tick

    def failed(self) -> BaseException | None:
        """What ended the loop, where something did that was no drain."""
        return self._failure

    def drain(self, deadline: float) -> None:
        """
        Stop listening, answer what has been asked, close; return when done or at the deadline.

        ``deadline`` is in monotonic seconds. Whatever is still under way then is cut off and counted in
        the log.
        """
        self._deadline = deadline
        self.waitress.pull_trigger()
        self._thread.join(max(0.0, deadline - self._clock.monotonic()) + 2 * DRAIN_TICK)
        rest = max(0.0, deadline - self._clock.monotonic())
        self.waitress.task_dispatcher.shutdown(rest)

    def _run(self) -> None:
        try:
            while self._deadline is None:
                self._turn(TICK)
            self._stop_listening()
            self._finish(self._deadline)
        except BaseException as error:  # the thread's edge: main asks failed() and exits
            self._failure = error
            log.critical("the HTTP loop failed", exc_info=error, extra={"event": "http.failed"})

    def _turn(self, pause: float) -> None:
        known = len(self.map)
        wasyncore.loop(timeout=pause, use_poll=True, map=self.map, count=1)
        # Who came may not have come alone, and who left made room; to look each time would cost each request.
        if len(self.map) != known and self._deadline is None:
            self._accept()
        self._tick = self._clock.monotonic()
        if self._tick - self._swept >= SWEEP_INTERVAL:
            self._swept = self._tick
            self._sweep()

    def _sweep(self) -> None:
        """Close what arrives too slowly; where no connection is left, those that were silent the longest."""
        channels = self.waitress.active_channels.values()
        for channel in channels:
            channel.will_close |= channel.dawdles(self._tick)
        if self.waitress.in_connection_overflow:
            before = self._clock.now() - SILENT
            silent = [
                each for each in channels if each.last_activity < before and each.waits_for_its_client()
            ]
            silent.sort(key=lambda channel: channel.last_activity)
            for channel in silent[: len(channels) // ROOM + 1]:
                channel.will_close = True

    def _accept(self) -> None:
        """
        Take in the connections that the kernel already made, as far as there is room for them.

        waitress takes in one a turn, and a turn looks at every connection: a burst would be quadratic work.
        """
        pending = select.poll()
        pending.register(self.waitress.socket, select.POLLIN)
        for _ in range(BACKLOG):
            if not (self.waitress.readable() and pending.poll(0)):
                break
            self.waitress.handle_accept()

    def _stop_listening(self) -> None:
        """Take in who is already connected, then close our copy of the socket."""
        self._accept()
        wasyncore.dispatcher.close(self.waitress)

    def _finish(self, deadline: float) -> None:
        grace_ends = self._clock.monotonic() + IDLE_GRACE
        channels = self.waitress.active_channels
        while channels and (now := self._clock.monotonic()) < deadline:
            if now >= grace_ends:
                self._close_idle(channels.values())
            self._turn(DRAIN_TICK)
        if channels:
            log.warning("cut off %d connections at the deadline", len(channels), extra={"event": "http.cut"})
        for channel in list(channels.values()):
            channel.handle_close()

    def _close_idle(self, channels: Iterable[Channel]) -> None:
        for channel in channels:
            if channel.idle():
                channel.will_close = True
