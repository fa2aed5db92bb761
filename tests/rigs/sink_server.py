"""
The process behind ``rigs.sink.Sink``: an SMTP server that writes down the truth.

A mail counts as accepted once its final dot was read: from there on any real server may deliver it, whether
or not its answer is read by anybody. Run by path; prints its port, ends when its standard input closes.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import re
import ssl
import sys
import time
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session

_HAND_OVERS = itertools.count(time.monotonic_ns())  # no number comes again after a restart
_LINE_LIMIT = 1001  # RFC 5321: 1000 with CRLF; a dot may be stuffed in front


class Behaviour:
    """
    What the test wants, read again whenever its file changes.

    ``{"delay": seconds, "envelope": seconds, "rules": [...]}``
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = 0
        self._used: dict[int, int] = {}
        self.delay = self.envelope = 0.0
        self._rules: list[dict[str, Any]] = []

    def at(self, moment: str, recipient: str = "") -> str | None:
        """What to do at this moment to this recipient: a reply, ``hang_up``, ``hang``, or nothing special."""
        self._read()
        for number, rule in enumerate(self._rules):
            if rule["at"] != moment or not re.search(rule.get("match", ""), recipient):
                continue
            used = self._used.get(number, 0)
            if used < rule.get("times", 1 << 62):
                self._used[number] = used + 1
                return str(rule["do"])
        return None

    def _read(self) -> None:
        stamp = self._path.stat().st_mtime_ns
        if stamp != self._stamp:
            wanted = json.loads(self._path.read_text())
            self._stamp, self._used = stamp, {}
            self.delay, self.envelope = wanted.get("delay", 0.0), wanted.get("envelope", 0.0)
            self._rules = wanted.get("rules", [])


class Truth:
    """The record: one JSON line per thing that happened, in order."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", buffering=1)

    def note(self, event: str, hand_over: int, **facts: object) -> None:
        """Write one line; it is in the file when this returns."""
        line = {"event": event, "hand_over": hand_over, "time": time.monotonic(), **facts}
        self._file.write(json.dumps(line) + "\n")


class Server(SMTP):
    """One connection; notes when each hand-over begins and when it is answered."""

    line_length_limit = _LINE_LIMIT

    def __init__(self, behaviour: Behaviour, truth: Truth, start_tls: ssl.SSLContext | None) -> None:
        super().__init__(
            Handler(behaviour, truth),
            hostname="sink.test",
            enable_SMTPUTF8=True,
            tls_context=start_tls,
            require_starttls=start_tls is not None,
        )
        self._behind = False
        self._behaviour = behaviour
        self._truth = truth
        self._current = 0

    def data_received(self, data: bytes) -> None:
        """Notes whether an envelope comes together with the final dot before it."""
        self._behind = b"\r\n.\r\nMAIL FROM" in data
        super().data_received(data)

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802 # aiosmtpd names its methods after the command
        envelope = self.envelope
        recipient = envelope.rcpt_tos[0] if envelope and envelope.rcpt_tos else ""
        self._current = next(_HAND_OVERS)
        peer = self.session.peer if self.session else None
        helo = self.session.host_name if self.session else ""
        port = peer[1] if peer else 0
        facts = {"recipient": recipient, "port": port, "helo": helo, "behind": self._behind}
        self._truth.note("begun", self._current, **facts)
        wanted = self._behaviour.at("data", recipient)
        if wanted is not None:
            await self.obey(wanted)
            return
        if self._behaviour.at("before_dot", recipient) is not None:
            await super().push("354 go ahead, and I hang up")
            await self.obey("hang_up")
            return
        await super().smtp_DATA(arg)

    async def push(self, status: str) -> None:
        await super().push(status)
        if self._current and not status.startswith("354"):
            self._truth.note("answered", self._current, reply=status)
            self._current = 0

    async def obey(self, wanted: str) -> None:
        """Answer so, or hang up, or hang for ever."""
        if wanted == "hang_up" and self.transport is not None:
            self.transport.abort()
        elif wanted == "hang":
            await asyncio.Event().wait()
        else:
            await self.push(wanted)

    def hand_over(self) -> int:
        """The number of the hand-over that is open on this connection."""
        return self._current


class Handler:
    """Decides what becomes of each command."""

    def __init__(self, behaviour: Behaviour, truth: Truth) -> None:
        self._behaviour = behaviour
        self._truth = truth

    async def handle_EHLO(  # noqa: N802 # aiosmtpd names its hooks after the command
        self, _server: Server, session: Session, _envelope: Envelope, name: str, replies: list[str]
    ) -> list[str]:
        """It reads one command after the other, however many come at once."""
        session.host_name = name
        return [*replies[:-1], "250-PIPELINING", replies[-1]]

    async def handle_MAIL(  # noqa: N802 # aiosmtpd names its hooks after the command
        self, server: Server, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        wanted = self._behaviour.at("mail", address)
        if wanted is None:
            envelope.mail_from = address
            envelope.mail_options.extend(options)
        return await self._reply(server, wanted)

    async def handle_RCPT(  # noqa: N802 # see above
        self, server: Server, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        wanted = self._behaviour.at("rcpt", address)
        if wanted is None:
            envelope.rcpt_tos.append(address)
            envelope.rcpt_options.extend(options)
            if self._behaviour.envelope:
                await _pass(random.uniform(0, self._behaviour.envelope))
        return await self._reply(server, wanted)

    async def handle_DATA(self, server: Server, _session: Session, envelope: Envelope) -> str:  # noqa: N802 # see above
        wanted = self._behaviour.at("dot", envelope.rcpt_tos[0])
        refused = wanted is not None and wanted[:1] in "45"
        if not refused:
            content = bytes(envelope.original_content or b"").decode("latin-1")
            recipients = [str(address) for address in envelope.rcpt_tos]
            facts = {"sender": envelope.mail_from, "recipients": recipients, "content": content}
            self._truth.note("accepted", server.hand_over(), **facts)
        await _pass(self._behaviour.delay)
        return await self._reply(server, wanted)

    async def _reply(self, server: Server, wanted: str | None) -> str:
        if wanted in ("hang_up", "hang"):
            await server.obey(wanted)
        return wanted if wanted is not None and wanted[:1].isdigit() else "250 OK"


async def _pass(seconds: float) -> None:
    over = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, over.set)
    await over.wait()


async def serve(folder: Path) -> None:
    """Serve until standard input closes."""
    behaviour, truth = Behaviour(folder / "behaviour.json"), Truth(folder / "truth.jsonl")
    loop = asyncio.get_running_loop()
    port = int(sys.argv[2])
    tls = sys.argv[3]
    context = None if tls == "none" else ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if context is not None:
        context.load_cert_chain(folder / "server.pem")
    implicit, started = (context, None) if tls == "implicit" else (None, context)
    server = await loop.create_server(
        lambda: Server(behaviour, truth, started), "127.0.0.1", port, backlog=512, ssl=implicit
    )
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    over = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), over.set)
    await over.wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
