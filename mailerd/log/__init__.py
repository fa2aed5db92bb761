"""
The log: one record, one line, in the form that its reader wants, and never a reason to fail.

``setup`` is called once in each process, again after each fork. Text for people, JSON by setting, fields and
priorities for the journal. A full disk, a closed pipe or a reader that has stopped reading costs records,
which are counted and told of later; it costs the caller no exception and no more than a blink. Starts no
thread, knows nothing of jobs or mail but that an address is masked at INFO and above, in case its owner
forgot to.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TextIO

from mailerd.log import journal
from mailerd.log.journal import Journal
from mailerd.log.stream import Stream

_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
_COLOURS = {logging.WARNING: "\033[33m", logging.ERROR: "\033[31m", logging.CRITICAL: "\033[1;31m"}
_PART = r"""[^\s@<>()\[\]{},;:"'=]"""
# Begins at the beginning of a word and never gives back: linear in the length of the text.
_ADDRESS = re.compile(rf"(?<!{_PART})({_PART}){_PART}*+@(?=[^\s@])")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_OWN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "event", "worker"}
# journald cuts a line at 48 KB.
_MAX_CHARACTERS = 16_000


class Settings(Protocol):
    """The part of the configuration that is needed here: the section ``[log]``."""

    @property
    def format(self) -> str:
        """``text`` or ``json``."""

    @property
    def level(self) -> str:
        """The least level that is logged."""

    @property
    def addresses(self) -> bool:
        """Whether mail addresses may stand in the log."""


def setup(
    settings: Settings,
    stream: TextIO | None = None,
    worker: int | None = None,
    environ: Mapping[str, str] = os.environ,
    journal_socket: Path = journal.SOCKET,
) -> None:
    """
    Log this process' records to ``stream`` (default: standard error), as those of worker ``worker``.

    Where that stream is journald's, they go to journald itself, with their fields.

    Replaces what an earlier call, also one of the parent before a fork, has set up.
    """
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _Handler)]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(settings.level.upper())
    stream = stream or sys.stderr
    # Started with standard error closed there is none; its number may by now be anybody's.
    if stream is not None:
        journals = _is_journal(stream, environ)
        formatter = _formatter(settings, stream, worker, journals=journals)
        direct = Journal(journal_socket) if journals else None
        root.addHandler(_Handler(Stream(stream.fileno()), formatter, direct))


def _formatter(settings: Settings, stream: TextIO, worker: int | None, *, journals: bool) -> _Formatter:
    if settings.format == "json":
        return _Json(worker, settings.addresses, journal=journals)
    return _Text(worker, settings.addresses, journal=journals, terminal=stream.isatty())


def _is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    status = os.fstat(stream.fileno())
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def mask_addresses(text: str) -> str:
    """``text`` with every mail address reduced to its first letter and its domain."""
    return _ADDRESS.sub(r"\1***@", text) if "@" in text else text


class _Formatter(logging.Formatter):
    """What both forms share."""

    def __init__(self, worker: int | None, addresses: bool, *, journal: bool) -> None:
        super().__init__()
        self._worker = worker
        self._addresses = addresses
        self._journal = journal

    def _shown(self, record: logging.LogRecord, text: str) -> str:
        """``text`` as it may be shown at the record's level."""
        return text if self._addresses or record.levelno < logging.INFO else mask_addresses(text)

    def _worker_of(self, record: logging.LogRecord) -> int | None:
        return getattr(record, "worker", self._worker)

    def _traceback(self, record: logging.LogRecord) -> str:
        return self.formatException(record.exc_info) if record.exc_info else ""

    def _priority(self, record: logging.LogRecord) -> str:
        return f"<{_PRIORITIES.get(record.levelno, 6)}>" if self._journal else ""

    def fields(self, record: logging.LogRecord) -> dict[str, str]:
        """The record as the journal keeps it: what it brings along can be searched for."""
        known = {
            "MESSAGE": self.format(record).removeprefix(self._priority(record)),
            "PRIORITY": str(_PRIORITIES.get(record.levelno, 6)),
            "SYSLOG_IDENTIFIER": "mailerd",
            "MAILERD_EVENT": getattr(record, "event", record.name),
        }
        if (worker := self._worker_of(record)) is not None:
            known["MAILERD_WORKER"] = str(worker)
        brought = {name: value for name, value in record.__dict__.items() if name not in _OWN}
        return known | {
            f"MAILERD_{name.upper()}": self._shown(record, str(brought[name])) for name in brought
        }


class _Text(_Formatter):
    """``2026-11-24 06:13:59 INFO    worker 1: Worker started``."""

    def __init__(self, worker: int | None, addresses: bool, *, journal: bool, terminal: bool) -> None:
        super().__init__(worker, addresses, journal=journal)
        self._terminal = terminal

    def format(self, record: logging.LogRecord) -> str:
        """See ``logging``."""
        worker, batch = self._worker_of(record), getattr(record, "batch", None)
        text = record.getMessage()
        if batch and str(batch) not in text:
            text += f" (batch {batch})"
        if worker is not None:
            text = f"worker {worker}: {text}"
        text = _one_line(self._shown(record, text)) + self._folded(record)
        if self._journal:
            return self._priority(record) + text
        moment = datetime.fromtimestamp(record.created).astimezone()
        return self._coloured(record, f"{moment:%Y-%m-%d %H:%M:%S} {record.levelname:<7} {text}")

    def _folded(self, record: logging.LogRecord) -> str:
        """The traceback: below the line on a terminal, else in the line, so that it stays one entry."""
        traceback = self._shown(record, self._traceback(record))
        if self._terminal:
            return traceback and f"\n{traceback}"
        return traceback and " | " + _one_line(traceback.replace("\n", " | "))

    def _coloured(self, record: logging.LogRecord, line: str) -> str:
        colour = _COLOURS.get(record.levelno) if self._terminal else None
        return f"{colour}{line}\033[0m" if colour else line


class _Json(_Formatter):
    """One object a line: time, level, event, message, pid, worker, and what the record brings along."""

    def format(self, record: logging.LogRecord) -> str:
        """See ``logging``."""
        moment = datetime.fromtimestamp(record.created, UTC)
        fields: dict[str, Any] = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": getattr(record, "event", record.name),
            "message": self._cut(record, record.getMessage()),
            "pid": record.process,
        }
        if (worker := self._worker_of(record)) is not None:
            fields["worker"] = worker
        for name, value in record.__dict__.items():
            if name not in _OWN:
                fields[name] = self._value(record, value)
        if traceback := self._traceback(record):
            fields["exception"] = self._cut(record, traceback)
        return self._priority(record) + json.dumps(fields, ensure_ascii=False, default=str)

    def _cut(self, record: logging.LogRecord, text: str) -> str:
        return self._shown(record, text[:_MAX_CHARACTERS])

    def _value(self, record: logging.LogRecord, value: Any) -> Any:
        """A number as it is; of anything that holds an address its masked text."""
        text = str(value)
        shown = self._cut(record, text)
        return value if shown == text else shown


def _one_line(text: str) -> str:
    """``text`` without line ends and control characters, which could forge entries and move cursors."""
    if not text.isprintable():
        text = _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
    return text if len(text) <= _MAX_CHARACTERS else text[:_MAX_CHARACTERS] + " ..."


class _Handler(logging.Handler):
    """Writes records, counts those that could not be written."""

    def __init__(self, stream: Stream, formatter: _Formatter, direct: Journal | None) -> None:
        super().__init__()
        self._form = formatter
        self.setFormatter(formatter)
        self._stream = stream
        self._direct = direct
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        """See ``logging``; raises nothing."""
        if not self._dropped and self._goes_directly(record):
            return
        line = self._line(record)
        if self._dropped:
            line = self._line(self._notice()) + line
        self._dropped = 0 if self._stream.write(line) else self._dropped + 1

    def _goes_directly(self, record: logging.LogRecord) -> bool:
        with suppress(Exception):  # a badly written log call, of which the ordinary way tells
            return self._direct is not None and self._direct.send(self._form.fields(record))
        return False

    def _line(self, record: logging.LogRecord) -> bytes:
        try:
            text = self.format(record)
        except Exception as error:  # noqa: BLE001 - a badly written log call must not stop what it tells of
            text = f"a log record could not be written: {record.msg!r} ({error!r})"
        return text.encode("utf-8", "backslashreplace") + b"\n"

    def _notice(self) -> logging.LogRecord:
        text = f"{self._dropped} log records were lost: the log could not be written"
        notice = {"msg": text, "levelno": logging.WARNING, "levelname": "WARNING", "event": "log.lost"}
        return logging.makeLogRecord(notice)

    def close(self) -> None:
        """See ``logging``."""
        self._stream.close()
        if self._direct:
            self._direct.close()
        super().close()
