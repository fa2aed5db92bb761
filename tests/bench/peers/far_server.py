"""
A mail server far away: STARTTLS, and whatever is said reaches it late.

    python far_server.py CERTIFICATE KEY DELAY FILE

Prints its port, and appends to FILE a line of 40 bytes with each recipient whose mail it took. DELAY in
seconds is that of the whole way there and back; what follows one piece at once arrives right after it, as on
a long line.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from contextlib import suppress
from pathlib import Path

EHLO = b"250-far\r\n250-PIPELINING\r\n250-8BITMIME\r\n"
END = b"\r\n.\r\n"


class Conversation:
    """One connection."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        context: ssl.SSLContext,
        delay: float,
    ) -> None:
        self._reader, self._writer, self._context, self._delay = reader, writer, context, delay
        self._pieces: asyncio.Queue[bytes] = asyncio.Queue()
        self._said, self._recipient = b"", b""
        self._in_data = self._is_safe = self._is_over = False

    async def run(self, taken: Path) -> None:
        """Hold it, until the client leaves or is killed."""
        listening = asyncio.create_task(self._listen())
        self._writer.write(b"220 far ESMTP\r\n")
        with taken.open("ab", buffering=0) as self._taken, suppress(OSError):
            while not self._is_over:
                await self._hear()
        listening.cancel()
        self._writer.close()

    async def _hear(self) -> None:
        piece = await self._pieces.get()
        self._said += piece
        self._is_over = not piece
        while not self._is_over and await self._turn():
            pass

    async def _listen(self) -> None:
        piece = b" "
        while piece:
            try:
                piece = await self._reader.read(1 << 16)
            except OSError:
                piece = b""
            asyncio.get_running_loop().call_later(self._delay, self._pieces.put_nowait, piece)

    async def _turn(self) -> bool:
        """Answer the next command, or the end of a mail; whether there was one."""
        part, end, rest = self._said.partition(END if self._in_data else b"\r\n")
        if not end:
            return False
        self._said = rest
        if self._in_data:
            self._taken.write(self._recipient.ljust(39) + b"\n")
            self._in_data = False
            self._writer.write(b"250 taken\r\n")
        else:
            await self._answer(part, part[:4].upper())
        return True

    async def _answer(self, line: bytes, verb: bytes) -> None:
        if verb == b"EHLO":
            self._writer.write(EHLO + (b"250 SIZE\r\n" if self._is_safe else b"250 STARTTLS\r\n"))
        elif verb == b"STAR":
            self._writer.write(b"220 go on\r\n")
            await self._writer.drain()
            await self._writer.start_tls(self._context)
            self._is_safe = True
        elif verb == b"DATA":
            self._writer.write(b"354 go on\r\n")
            self._in_data = True
        else:
            self._recipient = line[9:-1] if verb == b"RCPT" else self._recipient
            self._is_over = verb == b"QUIT"
            self._writer.write(b"221 bye\r\n" if self._is_over else b"250 fine\r\n")


async def main(certificate: str, key: str, delay: float, taken: Path) -> None:
    """Serve for ever."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = await asyncio.start_server(
        lambda reader, writer: Conversation(reader, writer, context, delay).run(taken), "127.0.0.1", 0
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3]), Path(sys.argv[4])))
