"""
The servers that take the mail, and through which of them the next connection goes.

``order``, ``after`` and ``asked`` are the policy, pure: the first one is preferred, one that fails is left
alone for a while and then asked again, and the route is out of order only when all are. ``Relays`` opens
connections by it, for all sessions of a process. Knows no mail: one that was begun stays where it began,
since only the opening of a connection ever goes on to another relay. Made by ``smtp.py``,
used by its sessions.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from mailerd.clock import Clock
from mailerd.config import Smtp
from mailerd.errors import ConfigurationError, Problem
from mailerd.outcome import Kind
from mailerd.transports.connection import Connection, LoginRefused, RouteDown

FIRST_PAUSE = 5.0
LONGEST_PAUSE = 60.0
# So long (seconds) one that has failed may take for each step until it takes a mail, while others may be had.
_SHORT = 5.0


@dataclass(frozen=True, slots=True)
class Setback:
    """
    What a relay did to us last.

    ``kind`` is BLOCKED, or REFUSED where asking again may make it worse, such as locking the account;
    ``until`` (monotonic seconds) it is left alone.
    """

    kind: Kind
    why: str
    pause: float
    until: float


def after(last: Setback | None, kind: Kind, why: str, now: float) -> Setback:
    """What a failure makes of it; several in one pause, as of several mails at once, are one."""
    if last is not None and now < last.until:
        return replace(last, kind=kind, why=why)
    pause = FIRST_PAUSE if last is None else last.pause
    return Setback(kind, why, pause, now + pause)


def asked(last: Setback, now: float) -> Setback:
    """It is asked again, by one for all: should it fail, they leave it alone for twice as long."""
    pause = min(2 * last.pause, LONGEST_PAUSE)
    return replace(last, pause=pause, until=now + pause)


def order(setbacks: Sequence[Setback | None], now: float) -> list[int]:
    """
    Which relays to ask, and in which order.

    Before the route counts as out of order, also those that are left alone, but for those that refused us.
    An only one is always asked: whoever sends makes the pauses then.
    """
    if len(setbacks) == 1:
        return [0]
    numbered = [(number, each) for number, each in enumerate(setbacks)]
    ready = [number for number, each in numbered if each is None or each.until <= now]
    others = [
        number
        for number, each in numbered
        if each is not None and each.until > now and each.kind is not Kind.REFUSED
    ]
    return ready + others


@dataclass(slots=True, eq=False)
class Relay:
    """One server as this process knows it; ``setback`` stands until it has taken a mail again."""

    number: int
    settings: Smtp
    tls: ssl.SSLContext
    setback: Setback | None = None

    @property
    def where(self) -> str:
        """The server as people know it."""
        return f"{self.settings.host}:{self.settings.port}"

    def trouble(self) -> str:
        """Why it lets nobody in now; empty if it does."""
        connection = Connection(self.settings, self.tls, self.settings.command_timeout)
        try:
            connection.open()
        except RouteDown as error:
            return str(error)
        connection.quit()
        return ""

    def connection(self, *, others: bool, failed: bool) -> Connection:
        """
        A connection to it, not opened.

        Where there are ``others``, no step of opening it may take longer than connecting; where it has
        ``failed``, that is short, and holds for all commands on it.
        """
        settings = self.settings
        if others and failed:
            short = min(_SHORT, settings.connect_timeout)
            commands = min(short, settings.command_timeout)
            settings = settings.model_copy(update={"connect_timeout": short, "command_timeout": commands})
        longest = settings.connect_timeout if others else settings.command_timeout
        return Connection(settings, self.tls, min(longest, settings.command_timeout))


class Relays:
    """
    All relays of a process, for sessions in any thread.

    Raises ``ConfigurationError`` where a ``ca_file`` holds no certificates.
    """

    def __init__(self, settings: Smtp, clock: Clock) -> None:
        servers = settings.servers()
        # One of these takes half a megabyte.
        contexts = {server.ca_file: _tls(number, server) for number, server in enumerate(servers)}
        self.all = tuple(
            Relay(number, server, contexts[server.ca_file]) for number, server in enumerate(servers)
        )
        self._clock = clock
        self._lock = threading.Lock()

    def open(self, announce: Callable[[Connection], None]) -> tuple[Relay, Connection]:
        """
        A connection to the best relay that lets us in.

        Raises ``RouteDown`` where none does, which is ``LoginRefused`` where all refuse us; and where the
        connection was cut from our side. ``announce`` is told each connection before it opens.
        """
        for relay, failed in self._to_ask():
            connection = relay.connection(others=len(self.all) > 1, failed=failed)
            announce(connection)
            try:
                connection.open()
            except RouteDown as error:
                if connection.was_cut:
                    raise
                kind = Kind.REFUSED if isinstance(error, LoginRefused) else Kind.BLOCKED
                self.failed(relay, kind, str(error))
            else:
                return relay, connection
        raise self._out_of_order()

    def failed(self, relay: Relay, kind: Kind, why: str) -> None:
        """It takes no mail from us, by BLOCKED or by REFUSED."""
        with self._lock:
            relay.setback = after(relay.setback, kind, why, self._clock.monotonic())

    def worked(self, relay: Relay) -> None:
        """It has taken a mail."""
        if relay.setback is not None:
            with self._lock:
                relay.setback = None

    def have_other_than(self, relay: Relay) -> bool:
        """Whether another one may be asked now."""
        now = self._clock.monotonic()
        return any(_ready(each, now) for each in self.all if each is not relay)

    def have_better_than(self, relay: Relay) -> bool:
        """Whether one that is preferred to it may be asked now."""
        now = self._clock.monotonic()
        return any(_ready(each, now) for each in self.all[: relay.number])

    def troubles(self) -> dict[str, str]:
        """Where there are several: each, and why it is left alone, empty if it is not."""
        if len(self.all) == 1:
            return {}
        return {relay.where: relay.setback.why if relay.setback else "" for relay in self.all}

    def _to_ask(self) -> Iterator[tuple[Relay, bool]]:
        """Each, and whether it has failed."""
        with self._lock:
            numbers = order([relay.setback for relay in self.all], self._clock.monotonic())
        for relay in (self.all[number] for number in numbers):
            with self._lock:
                known, now = relay.setback, self._clock.monotonic()
                if known is not None and known.until <= now:
                    relay.setback = asked(known, now)
            yield relay, known is not None

    def _out_of_order(self) -> RouteDown:
        known = [relay.setback for relay in self.all if relay.setback]
        kinds = {setback.kind for setback in known}
        refused = kinds == {Kind.REFUSED} and len(known) == len(self.all)
        return (LoginRefused if refused else RouteDown)("; ".join(setback.why for setback in known))


def _ready(relay: Relay, now: float) -> bool:
    return relay.setback is None or relay.setback.until <= now


def _tls(number: int, server: Smtp) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=server.ca_file)
    except OSError as error:  # ssl.SSLError is one
        problem = f"holds no certificates that can be used: {error.strerror or error}"
        place = "smtp" if number == 0 else f"smtp.relays.{number - 1}"
        raise ConfigurationError([Problem(f"{place}.ca_file", problem)]) from None
