"""Records that go to journald itself, and what becomes of them when it does not take them."""

from __future__ import annotations

import logging
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailerd import log as log_module
from mailerd.config import Log

log = logging.getLogger("mailerd.test")


class Journald:
    """Its socket, the stream that it gave to the service, and what came through either."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "socket"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._socket.setblocking(False)
        self.stream = (folder / "stream").open("w+")
        status = os.fstat(self.stream.fileno())
        self.environ = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}

    def entry(self) -> dict[str, str]:
        """The next entry."""
        data, fields = self._socket.recv(1 << 20), {}
        while data:
            name, _, rest = data.partition(b"\n")
            (length,) = struct.unpack("<Q", rest[:8])
            fields[name.decode()] = rest[8 : 8 + length].decode()
            data = rest[8 + length + 1 :]
        return fields

    def lines(self) -> list[str]:
        """What was written to the stream."""
        return Path(self.stream.name).read_text().splitlines()

    def close(self) -> None:
        """Go away, as at a restart."""
        self._socket.close()
        self.path.unlink(missing_ok=True)


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[Journald]:
    """A journald; what is logged goes to it, as worker 3."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    made = Journald(tmp_path)
    log_module.setup(Log(), made.stream, 3, made.environ, made.path)
    yield made
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    made.stream.close()
    made.close()


def test_what_a_record_brings_along_is_a_field(journald: Journald) -> None:
    """Message, priority, event, worker and batch are fields; addresses are masked in all of them."""
    log.warning(
        "ann@example.com waits", extra={"event": "mail.waits", "batch": "b1", "news": "ann@example.com"}
    )

    assert journald.entry() == {
        "MESSAGE": "worker 3: a***@example.com waits (batch b1)",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "mailerd",
        "MAILERD_EVENT": "mail.waits",
        "MAILERD_WORKER": "3",
        "MAILERD_BATCH": "b1",
        "MAILERD_NEWS": "a***@example.com",
    }
    assert journald.lines() == []


def test_no_value_forges_another_field(journald: Journald) -> None:
    """A line end within a value stays within it."""
    log.info("one", extra={"batch": "b1\nPRIORITY=0"})

    entry = journald.entry()
    assert (entry["PRIORITY"], entry["MAILERD_BATCH"]) == ("6", "b1\nPRIORITY=0")


def test_what_journald_does_not_take_goes_to_the_stream(journald: Journald) -> None:
    """While it is away, and for an entry that is too large for it; afterwards it is handed over again."""
    log.info("large", extra={"batch": "b" * (1 << 20)})
    assert [line[:18] for line in journald.lines()] == ["<6>worker 3: large"]

    log.info("small")
    assert journald.entry()["MESSAGE"] == "worker 3: small"

    journald.close()
    log.info("away")
    assert journald.lines()[-1] == "<6>worker 3: away"


def test_a_journald_that_reads_nothing_costs_no_more_than_a_blink(journald: Journald) -> None:
    """Once its queue is full records take the stream, and none of them is lost."""
    for number in range(2000):
        log.info("record %d", number)

    lines = journald.lines()
    assert lines
    assert lines[-1] == "<6>worker 3: record 1999"
    first = int(lines[0].rpartition(" ")[2])
    assert len(lines) == 2000 - first
