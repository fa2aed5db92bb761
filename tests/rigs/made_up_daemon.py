"""
A daemon with made-up roles, run as a script: real forks and real signals, no Redis, no HTTP, no mail.

Arguments: the configuration as JSON, and a folder. Files in that folder steer it (see ``rigs.made_up``); what
its processes did is noted there, one JSON line each, in ``deaths`` and ``audit``.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from mailerd import log as logs
from mailerd.board import Board, Death, Group, Slot, SlotState
from mailerd.clock import Stop
from mailerd.config import Config
from mailerd.daemon import Gate, Roles, pool, run
from mailerd.errors import ConfigurationError, MailerdError, Problem, RedisNotReachable
from mailerd.outcome import Kind, Outcome

FOLDER = Path(sys.argv[2])
STEP = 0.02


def told(name: str) -> bool:
    return (FOLDER / name).exists()


def note(name: str, **what: Any) -> None:
    with (FOLDER / name).open("a") as file:
        file.write(json.dumps(what) + "\n")


def audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "os.fork":
        note("audit", event="fork", pid=os.getpid(), threads=len(os.listdir("/proc/self/task")))  # noqa: PTH208 - as the kernel counts
    elif event == "os.kill":
        note("audit", event="kill", to=arguments[0], signal=int(arguments[1]))


def be_born_slowly() -> None:
    if told("slow-birth"):
        threading.Event().wait(1.0)


def prepare(_: Config) -> Callable[[Slot, Stop, Stop], int]:
    if told("helpers"):
        for code in (3, 4, 78):
            if os.fork() == 0:
                while not told("dismiss"):
                    threading.Event().wait(STEP)
                os._exit(code)
    return work


def work(slot: Slot, stop: Stop, hurry: Stop) -> int:
    if told("crash"):
        return 3
    if told("stuck"):
        get_stuck(slot)
    if told("busy"):
        slot.state = SlotState.SENDING
        slot.deadline = time.monotonic() + 60.0
        stop.wait(60.0)
    if told("refuse"):
        raise ConfigurationError([Problem("contacts.url", "has no driver")])
    if told("hold"):
        return hold(slot, stop, hurry)
    while not stop.wait(STEP):
        slot.state = SlotState.IDLE
        slot.deadline = time.monotonic() + 2.0
        slot.settled += told("settle")
        slot.jobs += told("jobs")
        if told("wedge"):
            get_stuck(slot)
    return 0


def get_stuck(slot: Slot) -> None:
    """The main thread is in C for ever, and a side thread goes on as if all were well."""

    def beat() -> None:
        while True:
            slot.progress = time.monotonic()
            threading.Event().wait(STEP)

    threading.Thread(target=beat, daemon=True).start()
    ctypes.CDLL(None).pause()


def hold(slot: Slot, stop: Stop, hurry: Stop) -> int:
    slot.begin_group(Group("acme", "batch", ["ann", "ben", "cem"]))
    slot.hand_over(0)
    slot.answer(0, Outcome(Kind.SENT, "250 Ok", "id-1"))
    slot.hand_over(1)
    slot.state = SlotState.SENDING
    slot.settled += 1
    stop.wait(60.0)
    while not told("release") and not hurry.wait(STEP):
        pass
    if not hurry:
        slot.clear_group()
    note("left", hurried=bool(hurry), flag=slot.stop_flag)
    return 0


class Server:
    """Answers every connection with what the gate says."""

    def __init__(self, door: socket.socket, gate: Gate) -> None:
        self._door = door
        self._gate = gate
        self._tick = time.monotonic()
        self._failure: BaseException | None = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._door.settimeout(STEP)
        while not self._end.is_set():
            self._tick = time.monotonic()
            if told("break-http"):
                self._failure = RuntimeError("broken")
                return
            with contextlib.suppress(TimeoutError):
                client, _ = self._door.accept()
                client.sendall(json.dumps([self._gate.ready, self._gate.draining]).encode())
                client.close()

    def last_tick(self) -> float:
        return self._tick

    def failed(self) -> BaseException | None:
        return self._failure

    def drain(self, deadline: float) -> None:
        self._end.set()
        self._thread.join(max(0.0, deadline - time.monotonic()))
        self._door.close()
        note("drained", at=time.monotonic())


def probe(config: Config, stop: Stop, waiting: Callable[[], None]) -> None:
    deadline = time.monotonic() + config.redis.startup_timeout
    while not told("redis"):
        waiting()
        if time.monotonic() > deadline:
            raise RedisNotReachable
        if stop.wait(STEP):
            return


def housekeep(config: Config, stop: Stop, deaths: SimpleQueue[Death | None]) -> None:
    while not (stop and deaths.empty()):
        if told("break-janitor"):
            raise RuntimeError("broken")
        with contextlib.suppress(Empty):
            if death := deaths.get(timeout=STEP):
                settle(config, death)


def settle(config: Config, death: Death) -> None:
    group = death.remains.group
    phases = {one.contact_id: one.phase.name for one in group.recipients} if group else None
    note("deaths", slot=death.slot, incarnation=death.incarnation, how=death.how, phases=phases)
    Board.forget(config.daemon.state_dir, death.incarnation)


def reload() -> Config:
    text = (FOLDER / "reload").read_text()
    if text == "bad":
        raise ConfigurationError(
            [Problem("smtp.port", "must be a number"), Problem("smtp.hots", "is no setting")]
        )
    return Config.model_validate_json(text)


class Lingering:
    """The interpreter takes its time to end: in its last moments, where no handler is left."""

    def __init__(self) -> None:
        words, flags = str(FOLDER / "last-words"), os.O_CREAT | os.O_WRONLY
        # Whatever they need is bound now: no module is whole any more by then.
        self._last_words = [partial(os.open, words, flags), partial(time.sleep, 0.5)]

    def __del__(self) -> None:
        for word in self._last_words:
            word()


if told("linger"):
    # What is kept there goes last. Main has frozen all others, and no collector looks for them at the end.
    vars(sys)["lingering"] = Lingering()


def main() -> int:
    sys.addaudithook(audit)
    os.register_at_fork(after_in_child=be_born_slowly)
    if told("impatient"):
        pool._BOOT_WITHIN = 1.0
    config = Config.model_validate_json(sys.argv[1])
    logs.setup(config.log)
    roles = Roles(
        prepare=prepare,
        serve=lambda _, door, gate, __: Server(door, gate),
        probe=probe,
        housekeep=housekeep,
        describe=lambda: "0 jobs waiting",
        reload=reload,
    )
    try:
        return run(config, roles)
    except MailerdError as fault:
        print(fault, file=sys.stderr)
        return fault.exit_code


if __name__ == "__main__":
    sys.exit(main())
