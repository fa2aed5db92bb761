"""Faults around the queue: the mail server, the database, the disk; and what operators do to batches."""

from __future__ import annotations

import contextlib
import http.client
import sqlite3
import time
from collections.abc import Callable
from typing import Any

from chaos.schedule import Fault
from chaos.stage import End, Stage, nothing

DONE = 202
LATE = 30.0  # seconds after which no request is carried out any more
# The addresses that a fault of the mail server hits.
HIT = ("[05]@", "[1379]@", ".", "[2468]@")


def _rule(at: str, do: str, times: int | None = None) -> Callable[[Stage, Fault], End]:
    def begin(stage: Stage, fault: Fault) -> End:
        rule: dict[str, Any] = {"at": at, "match": HIT[fault.choice % len(HIT)], "do": do}
        if times is not None:
            rule["times"] = times
        setup = stage.fleet.setup
        stage.fleet.sink.behave(setup.delay, [rule], envelope=setup.envelope)
        return stage.fleet.calm_sink

    return begin


def _either(*faults: Callable[[Stage, Fault], End]) -> Callable[[Stage, Fault], End]:
    return lambda stage, fault: faults[(fault.choice >> 8) % len(faults)](stage, fault)


def slow(stage: Stage, fault: Fault) -> End:
    """The mail server takes its time."""
    stage.fleet.sink.behave(0.3, envelope=0.1)
    return stage.fleet.calm_sink


def gone(stage: Stage, fault: Fault) -> End:
    """The mail server dies and comes back."""
    stage.fleet.sink.stop()
    return stage.fleet.sink.start


def sql_gone(stage: Stage, fault: Fault) -> End:
    """The database of contacts is locked by somebody, or is not there at all."""
    database = stage.fleet.project.database
    if fault.choice % 2:
        locker = sqlite3.connect(database, isolation_level=None, check_same_thread=False)
        locker.execute("BEGIN EXCLUSIVE")
        return locker.close
    away = database.with_suffix(".away")
    database.rename(away)

    def end() -> None:
        away.rename(database)

    return end


def disk_full(stage: Stage, fault: Fault) -> End:
    """No room for logs and state on one host."""
    disk = stage.fleet.hosts[fault.host].disk
    if not disk.mounted:
        stage.skip(fault.name)
        return nothing
    disk.fill()
    return disk.free


def _operated(action: str, back: str = "") -> Callable[[Stage, Fault], End]:
    def begin(stage: Stage, fault: Fault) -> End:
        recent = list(stage.producers.clients)[-8:]
        if not recent:
            stage.skip(action)
            return nothing
        batch_id = recent[fault.choice % len(recent)]
        if action == "cancel":
            stage.cancelled.add(batch_id)
        if action == "pause":
            stage.paused[batch_id] = time.monotonic()
        if _post(stage, fault.host, batch_id, action) != DONE:
            stage.skip(f"{action}-batch")

        def end() -> None:
            if back:
                _post(stage, fault.host, batch_id, back)

        return end

    return begin


def resume_all(stage: Stage) -> None:
    """Resume what a lost answer, or a request that a stopped daemon carried out late, has left paused."""
    for batch_id, since in list(stage.paused.items()):
        if _post(stage, 0, batch_id, "resume") and time.monotonic() > since + LATE:
            del stage.paused[batch_id]


def _post(stage: Stage, first: int, batch_id: str, action: str) -> int:
    """The answer's status; 0 when neither host gave one that settles it."""
    for host in (stage.fleet.hosts[first], stage.fleet.hosts[1 - first]):
        connection = http.client.HTTPConnection("127.0.0.1", host.daemon.port, timeout=3)
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
            connection.request("POST", f"/batches/{batch_id}/{action}", b"")
            status = connection.getresponse().status
            if status in (DONE, 404, 409):
                return status
    return 0


FAULTS = {
    "smtp-4xx": _either(_rule("rcpt", "450 later"), _rule("dot", "451 later"), _rule("data", "452 later")),
    "smtp-5xx": _either(_rule("rcpt", "550 no", 20), _rule("dot", "554 no", 20)),
    "smtp-421": _either(
        _rule("rcpt", "421 closing"), _rule("mail", "421 closing"), _rule("dot", "421 closing")
    ),
    "smtp-stall": _either(_rule("rcpt", "hang", 8), _rule("dot", "hang", 8), _rule("mail", "hang", 8)),
    "smtp-hang-up-before-dot": _either(_rule("before_dot", "hang_up"), _rule("data", "hang_up")),
    "smtp-hang-up-after-dot": _rule("dot", "hang_up", 12),
    "smtp-slow": slow,
    "smtp-gone": gone,
    "smtp-outage": gone,
    "sql-gone": sql_gone,
    "disk-full": disk_full,
    "pause-batch": _operated("pause", "resume"),
    "cancel-batch": _operated("cancel"),
    "retry-batch": _operated("retry"),
}
