"""
Many clients that post at the same time, in a process of their own: ``python post_many.py PORT CLIENTS PATH``.

Prints a JSON list with status, seconds and Retry-After of each answer. Seconds count from the request's first
byte to the answer's last.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from typing import NamedTuple

HEAD = "HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"


class Timed(NamedTuple):
    """One answer."""

    status: int
    seconds: float
    retry_after: str | None


def post_many(port: int, clients: int, path: str = "/queue") -> list[Timed]:
    """Have it done by another process."""
    command = [sys.executable, __file__, str(port), str(clients), path]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    return [Timed(*each) for each in json.loads(done.stdout)]


async def _post(port: int, path: str, number: int, together: asyncio.Barrier) -> Timed:
    job = {"client_id": "shop", "contact_ids": ["a", "b"], "template_id": "hello", "batch_id": f"b-{number}"}
    body = json.dumps(job)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await together.wait()
    begun = time.monotonic()
    writer.write(f"POST {path} {HEAD}Content-Length: {len(body)}\r\n\r\n{body}".encode())
    answer = (await reader.read()).decode()
    seconds = time.monotonic() - begun
    writer.close()
    head = answer.partition("\r\n\r\n")[0].lower().split("\r\n")
    headers = dict(line.split(": ", 1) for line in head[1:])
    return Timed(int(head[0].split()[1]), seconds, headers.get("retry-after"))


async def _all(port: int, clients: int, path: str) -> list[Timed]:
    together = asyncio.Barrier(clients)
    return await asyncio.gather(*(_post(port, path, number, together) for number in range(clients)))


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_all(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))))
