"""
A mail server that keeps every mail it gets as a file and sends nothing on.

Run as a process of its own, ``python -m mailerd.demo.catcher FOLDER``: it prints the port it chose and
ends when its standard input does, so it cannot outlive the demo. Loopback only.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

MAX_MAIL = 64 * 1024 * 1024
HELO_TIMEOUT = 300


class Keeper:
    """The handler that aiosmtpd asks: writes ``00001.eml``, ``00002.eml`` …, one for each recipient."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept = 0

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802  # aiosmtpd's name
        """Keep the mail as it came, below the two lines that a final delivery adds (RFC 5321, 4.4)."""
        for recipient in envelope.rcpt_tos:
            delivery = f"Return-Path: <{envelope.mail_from}>\r\nDelivered-To: {recipient}\r\n"
            self._keep(delivery.encode() + (envelope.original_content or b""))
        return "250 kept"

    def _keep(self, content: bytes) -> None:
        self._kept += 1
        unfinished = self._folder / f"{self._kept:05}.part"
        unfinished.write_bytes(content)
        unfinished.rename(unfinished.with_suffix(".eml"))


async def catch(folder: Path) -> None:
    """Take mail until standard input ends."""
    keeper = Keeper(folder)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(keeper, enable_SMTPUTF8=True, data_size_limit=MAX_MAIL, timeout=HELO_TIMEOUT, loop=loop),
        "127.0.0.1",
        0,
    )
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201  # what the parent waits for
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ended.set)  # the parent never writes: readable is the end
    await ended.wait()
    server.close()


if __name__ == "__main__":
    asyncio.run(catch(Path(sys.argv[1])))
