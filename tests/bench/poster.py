"""
Clients that post without pause on connections that stay open.

    python poster.py PORT CLIENTS SECONDS KIND [LINES]

A process of its own, so that its work is nobody else's. ``KIND`` says what is posted: ``hello`` (a GET),
``job`` (one job of two contacts, 200 bytes, each a new batch) or ``bulk`` (so many jobs a request). Each
client sends its next request when the answer to the last is complete. Prints JSON: answers, seconds they
took in all, statuses, and the percentiles of the single ones in ms; a first tenth only warms up.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable

READ = 1 << 16
CONTACTS = "c0a80a1e-5b7d-4a39-9f0e-6f2b7d8e4a10", "c0a80a1e-5b7d-4a39-9f0e-6f2b7d8e4a11"
Maker = Callable[[], bytes]


def request(kind: str, lines: int) -> Maker:
    """What makes the next request."""
    if kind == "hello":
        return lambda: b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    path, media, many = {
        "job": ("/queue", "application/json", 1),
        "bulk": ("/queue/bulk", "application/x-ndjson", lines),
    }[kind]
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {media}\r\nContent-Length: %d\r\n\r\n"
    fixed = json.dumps({"client_id": "shop", "contact_ids": CONTACTS, "template_id": "spring"})[:-1]
    count = 0
    prefix = f"{os.getpid()}-{time.time_ns():x}"

    def make() -> bytes:
        nonlocal count
        count += many
        jobs = (f'{fixed}, "batch_id": "{prefix}-{number:09}"}}' for number in range(count, count + many))
        body = "\n".join(jobs)
        return (head % len(body) + body).encode()

    return make


class Client:
    """One connection, and the answer that it waits for."""

    def __init__(self, port: int, make: Maker) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.make = make
        self.begun = 0.0
        self._got = b""

    def ask(self) -> None:
        """Send the next request whole."""
        data = self.make()
        self.begun = time.perf_counter()
        self.socket.sendall(data)

    def status(self) -> int:
        """Read on; the status once the answer is complete, else 0."""
        piece = self.socket.recv(READ)
        assert piece, f"the server hung up after {self._got[:200]!r}"
        self._got += piece
        head, end, body = self._got.partition(b"\r\n\r\n")
        if not end or len(body) < _length(head):
            return 0
        self._got = b""
        return int(head[9:12])


def _length(head: bytes) -> int:
    _, _, rest = head.lower().partition(b"content-length:")
    return int(rest.split(b"\r\n", 1)[0])


def run(port: int, clients: int, seconds: float, make: Maker) -> tuple[float, list[float], Counter[int]]:
    """Post for so long: seconds measured, the seconds of each answer, and how often each status came."""
    poll, by_descriptor = select.epoll(), {}
    for _ in range(clients):
        client = Client(port, make)
        by_descriptor[client.socket.fileno()] = client
        poll.register(client.socket, select.EPOLLIN)
        client.ask()
    begun = time.perf_counter() + seconds / 10
    end, took, statuses = begun + seconds, list[float](), Counter[int]()
    while (now := time.perf_counter()) < end:
        for descriptor, _ in poll.poll(1.0):
            client = by_descriptor[descriptor]
            if status := client.status():
                now = time.perf_counter()
                if client.begun >= begun:
                    took.append(now - client.begun)
                    statuses[status] += 1
                client.ask()
    for client in by_descriptor.values():
        client.socket.close()
    return now - begun, took, statuses


def main() -> None:
    """Post, and print what came of it."""
    port, clients, seconds, kind, *rest = sys.argv[1:]
    make = request(kind, int(rest[0]) if rest else 1)
    measured, took, statuses = run(int(port), int(clients), float(seconds), make)
    took.sort()
    at = {f"p{part}": 1e3 * took[min(len(took) - 1, len(took) * part // 100)] for part in (50, 99)}
    print(json.dumps({"answers": len(took), "seconds": measured, "statuses": statuses, **at}))


if __name__ == "__main__":
    main()
