"""Postfix's own SMTP sink, as many as wanted, each with options of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rigs import needs
from rigs.ports import free_port, listening
from rigs.waiting import wait_until

# Starts one with such options; gives its port.
StartSink = Callable[..., int]


@contextmanager
def smtp_sinks() -> Iterator[StartSink]:
    """What starts them; all end with the block."""
    program = needs.program("smtp-sink", "the package postfix")
    user = ["-u", "root"] if needs.is_root() else []
    running: list[subprocess.Popen[bytes]] = []

    def start(*options: str) -> int:
        port = free_port()
        command = [program, *user, *options, f"127.0.0.1:{port}", "100"]
        running.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
        wait_until(lambda: listening(port), 10, "smtp-sink did not start")
        return port

    try:
        yield start
    finally:
        for process in running:
            process.kill()
            process.wait()
