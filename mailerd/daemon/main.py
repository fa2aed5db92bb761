"""
The main process from its first step to its exit code.

Order matters here: the state directory is taken before anything is touched, and the supervisor is forked,
idle, before this process has a thread or a client of anything. What comes after is ``control``. The command
line calls ``run``.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping, MutableMapping
from signal import Signals
from types import FrameType

from setproctitle import setproctitle

from mailerd.board import Board, room_for
from mailerd.clock import Clock, Stop, SystemClock
from mailerd.config import Config
from mailerd.daemon import forking, linux, processes, signals, systemd, timetable
from mailerd.daemon.channel import Channel
from mailerd.daemon.control import Control
from mailerd.daemon.roles import Roles
from mailerd.daemon.supervisor import Supervisor
from mailerd.daemon.tree import Tree
from mailerd.errors import EXIT_CLEAN, EXIT_INTERNAL, BoardHeld, MailerdError

log = logging.getLogger(__name__)

SLOTS = 64  # the most workers that a configuration can ask for
_LOOK_AGAIN = 0.2


def run(config: Config, roles: Roles, environ: MutableMapping[str, str] = os.environ) -> int:
    """
    Be the daemon; return the exit code.

    To be called in the main thread, while there is no other. Raises the ``MailerdError`` that a start
    failed with (``CannotBind``, ``RedisNotReachable``, ...); whatever happens, no process is left.
    """
    clock, inbox, stop = SystemClock(), signals.Inbox(), Stop()
    _listen(inbox, stop)
    setproctitle("mailerd")
    notifier, passed = systemd.Notifier(environ), systemd.passed_sockets(environ)
    board = _take_board(config, clock, stop)
    if board is None:
        return EXIT_CLEAN
    linux.adopt_orphans()
    tree = _fork_supervisor(config, roles, board, clock, inbox, passed)
    control = Control(config, roles, board, tree, notifier, inbox, stop, clock)
    return _guarded(control, passed, tree)


def _listen(inbox: signals.Inbox, stop: Stop) -> None:
    def ends(number: int, _: FrameType | None) -> None:
        inbox.record(number)
        stop.raise_()

    ending = {Signals.SIGTERM, Signals.SIGINT, Signals.SIGQUIT}
    signals.adopt({number: ends if number in ending else inbox.record for number in signals.KNOWN})


def _take_board(config: Config, clock: Clock, stop: Stop) -> Board | None:
    """Take the state directory, waiting for the workers of a killed daemon; None when told to stop."""
    give_up_at = clock.monotonic() + timetable.longest_stop(config.workers.drain_timeout)
    said = False
    while not stop:
        try:
            room = room_for(config.workers.connections)
            return Board.create(config.daemon.state_dir, SLOTS, room, clock.now())
        except BoardHeld as held:
            if processes.is_running(held.holder) or clock.monotonic() >= give_up_at:
                raise
        if not said:
            said = True
            log.info("Waiting for the workers of the previous life", extra={"event": "main.waiting"})
        stop.wait(_LOOK_AGAIN)
    return None


def _fork_supervisor(
    config: Config,
    roles: Roles,
    board: Board,
    clock: Clock,
    inbox: signals.Inbox,
    passed: Mapping[str, socket.socket],
) -> Tree:
    ours, theirs = Channel.pair()

    def body() -> int:
        inbox.close()
        ours.close()
        for listener in passed.values():
            listener.close()
        return Supervisor(config, roles, board, theirs, clock).run()

    forking.keep_shared()
    supervisor = forking.fork(body)
    theirs.close()
    return Tree(board, supervisor, ours, clock)


def _guarded(control: Control, passed: Mapping[str, socket.socket], tree: Tree) -> int:
    try:
        return control.run(passed)
    except MailerdError:
        tree.kill()
        raise
    except Exception:
        # The edge of the process: whatever went wrong in the control loop, nothing may be left running.
        log.critical("The control loop failed", exc_info=True, extra={"event": "main.failed"})
        tree.kill()
        return EXIT_INTERNAL
    finally:
        signals.shut_out()
