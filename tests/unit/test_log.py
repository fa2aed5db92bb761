"""The log's forms, and what it does when nobody can read it."""

from __future__ import annotations

import json
import logging
import os
import resource
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TextIO

import pytest

from mailerd import log as log_module
from mailerd.config import Log

log = logging.getLogger("mailerd.test")


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """The root logger as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def logged(tmp_path: Path) -> Callable[..., list[str]]:
    """A function that sets the log up, lets something be logged, and returns the lines."""

    def run(act: Callable[[], None], settings: Log | None = None, worker: int | None = None) -> list[str]:
        # pytest's own handlers fail a test over an ill-formed record, which ours must not.
        logging.getLogger().handlers[:] = []
        with (tmp_path / "log").open("w") as stream:
            log_module.setup(settings or Log(), stream, worker, {})
            act()
        return (tmp_path / "log").read_text("utf-8").splitlines()

    return run


def fail(why: str) -> None:
    raise ValueError(why)


def pipe() -> tuple[int, TextIO]:
    read, write = os.pipe()
    return read, os.fdopen(write, "w")


def test_text_is_time_level_worker_and_message(logged: Callable[..., list[str]]) -> None:
    """A line for people says when, how grave, which worker and what."""
    [line] = logged(lambda: log.info("Worker started", extra={"event": "worker.started"}), worker=1)

    assert line[19:] == " INFO    worker 1: Worker started"
    assert line[4] == line[7] == "-"


def test_text_names_the_batch_once(logged: Callable[..., list[str]]) -> None:
    """The batch stands in the line, but not twice when the message names it."""

    def act() -> None:
        log.info("done", extra={"event": "a", "batch": "b-1"})
        log.info("b-1 is done", extra={"event": "a", "batch": "b-1"})

    first, second = logged(act)

    assert first.endswith("done (batch b-1)")
    assert second.endswith(" b-1 is done")


def test_json_has_stable_fields(logged: Callable[..., list[str]]) -> None:
    """A JSON record is one object with its event, batch, worker and all else that came along."""
    extra = {"event": "batch.done", "batch": "b-1", "recipients": 3}
    [line] = logged(lambda: log.warning("done: %d", 3, extra=extra), Log(format="json"), worker=2)

    record = json.loads(line)
    moment = record.pop("time")

    assert moment.endswith("Z")
    assert record == {
        "level": "warning",
        "event": "batch.done",
        "message": "done: 3",
        "pid": os.getpid(),
        "worker": 2,
        "batch": "b-1",
        "recipients": 3,
    }


def test_a_foreign_record_has_its_logger_for_event(logged: Callable[..., list[str]]) -> None:
    """Records of libraries have an event as well."""
    [line] = logged(lambda: logging.getLogger("waitress").error("oops"), Log(format="json"))

    assert json.loads(line)["event"] == "waitress"


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_exception_is_one_line(logged: Callable[..., list[str]], form: str) -> None:
    """A traceback does not become many entries, and nothing that was logged can forge one."""

    def act() -> None:
        try:
            fail("first\nsecond\r\x1b[2J")
        except ValueError:
            log.exception("it failed\n2026-01-01 00:00:00 INFO forged", extra={"event": "x"})

    lines = logged(act, Log.model_validate({"format": form}))

    assert len(lines) == 1
    assert "ValueError: first" in lines[0]
    assert "\x1b" not in lines[0]


@pytest.mark.parametrize("form", ["text", "json"])
def test_addresses_are_masked_at_info(logged: Callable[..., list[str]], form: str) -> None:
    """Whoever forgot to mask an address, in the message, an argument, a field or a fault, did no harm."""

    def act() -> None:
        try:
            fail("no such user <ulla.fault@example.com>")
        except ValueError:
            log.exception(
                "to %s", "ulla@example.com", extra={"event": "x", "batch": "ulla-batch@example.com"}
            )
            log.info("ids", extra={"event": "x", "batch": "b", "ids": ["ulla2@example.com"]})

    text = "\n".join(logged(act, Log.model_validate({"format": form})))

    assert "ulla" not in text
    assert "u***@example.com" in text


def test_addresses_are_shown_when_asked_for(logged: Callable[..., list[str]]) -> None:
    """With log.addresses and at debug level an address stands as it is."""
    [shown] = logged(lambda: log.info("ulla@example.com"), Log(addresses=True))
    [debug] = logged(lambda: log.debug("ulla@example.com"), Log(level="debug"))

    assert shown.endswith("ulla@example.com")
    assert debug.endswith("ulla@example.com")


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("no address", "no address"),
        ("a@b.de", "a***@b.de"),
        ("u***@b.de", "u***@b.de"),
        ("<ül.la+x@bücher.de>, b@c", "<ü***@bücher.de>, b***@c"),
        ("alone @ here", "alone @ here"),
        ("to=ulla@b.de", "to=u***@b.de"),
    ],
)
def test_masking(text: str, masked: str) -> None:
    """Only addresses are masked, and a masked one stays as it is."""
    assert log_module.mask_addresses(text) == masked


def test_masking_is_linear() -> None:
    """A long word does not make masking slow."""
    timer = signal.signal(signal.SIGVTALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_VIRTUAL, 1)
    try:
        assert log_module.mask_addresses("x" * 1_000_000 + " a@b").endswith(" a***@b")
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, timer)


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_journal_gets_priorities(tmp_path: Path, form: str) -> None:
    """On standard error, where journald itself takes nothing, a line begins with a priority that it knows."""
    with (tmp_path / "log").open("w") as stream:
        status = os.fstat(stream.fileno())
        environ = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        log_module.setup(Log.model_validate({"format": form}), stream, None, environ, tmp_path / "nobody")
        log.info("one")
        log.error("two")

    lines = (tmp_path / "log").read_text().splitlines()

    assert [line[:3] for line in lines] == ["<6>", "<3>"]
    if form == "text":
        assert lines == ["<6>one", "<3>two"]


def test_a_terminal_gets_colours_and_readable_tracebacks() -> None:
    """On a terminal errors are coloured and a traceback keeps its lines."""
    master, terminal = os.openpty()
    with os.fdopen(terminal, "w") as stream:
        log_module.setup(Log(), stream, None, {})
        try:
            fail("why")
        except ValueError:
            log.exception("failed")
        shown = os.read(master, 65536).decode()
    os.close(master)

    assert shown.startswith("\033[31m")
    assert "Traceback (most recent call last):\r\n" in shown


def test_a_bad_log_call_is_told_and_harms_nobody(logged: Callable[..., list[str]]) -> None:
    """A record whose arguments do not fit its message is logged as such."""
    [line] = logged(lambda: log.info("%d ids", "many"))

    assert "'%d ids'" in line


def test_a_second_set_up_replaces_the_first(logged: Callable[..., list[str]]) -> None:
    """After set-up again, as after a fork or a reload, each record is written once, by the new rules."""
    log_module.setup(Log(level="debug"), sys.__stderr__, None, {})

    def act() -> None:
        log.info("x")
        log.debug("y")

    assert len(logged(act)) == 1


def test_a_closed_pipe_harms_nobody(capfd: pytest.CaptureFixture[str]) -> None:
    """A reader that went away costs the records and nothing else."""
    read, stream = pipe()
    log_module.setup(Log(), stream, None, {})
    os.close(read)

    for _ in range(3):
        log.info("into the void")
    stream.close()

    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", ["pipe", "socket", "terminal"])
def test_a_stopped_reader_blocks_nobody(kind: str) -> None:
    """When nobody reads, records are dropped; when somebody reads again, their number is told."""
    if kind == "pipe":
        read, write = os.pipe()
    elif kind == "terminal":
        read, write = os.openpty()
    else:
        read, write = (end.detach() for end in socket.socketpair())
    with os.fdopen(write, "w") as stream:
        log_module.setup(Log(), stream, None, {})
        for number in range(400):
            log.info("record %d %s", number, "x" * 10_000)
        _drain(read)
        log.info("the first one again")
        log.info("the last one")
        text = _drain(read)
    os.close(read)

    assert text.count("log records were lost: the log could not be written") == 1
    assert text.rstrip().endswith("the last one")
    assert "x2" not in text
    assert "x\033" not in text


def test_a_slow_reader_loses_nothing() -> None:
    """Somebody who reads, though more slowly than is written, gets every record."""
    read, stream = pipe()
    log_module.setup(Log(), stream, None, {})
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.extend(iter(partial(os.read, read, 1000), b"")))
    reader.start()

    for number in range(200):
        log.info("record %d %s", number, "x" * 10_000)
    log_module.setup(Log(), None, None, {})
    stream.close()
    reader.join()
    os.close(read)

    assert b"".join(got).count(b"\n") == 200
    assert b"lost" not in b"".join(got)


def _drain(descriptor: int) -> str:
    data = b""
    while select.select([descriptor], [], [], 0.1)[0]:
        data += os.read(descriptor, 65536)
    return data.decode()


def test_a_full_disk_harms_nobody(tmp_path: Path) -> None:
    """When the file can grow no more, records are dropped; when it can again, their number is told."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with (tmp_path / "log").open("a") as stream:
        log_module.setup(Log(), stream, None, {})
        log.info("first")
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (60, limits[1]))
            log.info("second")
            log.info("third")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        log.info("fourth")

    lines = (tmp_path / "log").read_text().splitlines()

    assert lines[0].endswith("first")
    assert lines[-2][20:] == "WARNING 2 log records were lost: the log could not be written"
    assert lines[-1].endswith("fourth")


def test_without_standard_error_nothing_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Started with standard error closed, its number may be anybody's: nothing is written to it."""
    monkeypatch.setattr(sys, "stderr", None)
    log_module.setup(Log())

    assert not [
        handler for handler in logging.getLogger().handlers if type(handler).__module__ == "mailerd.log"
    ]
