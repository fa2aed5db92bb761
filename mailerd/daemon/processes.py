"""
What the operating system tells of other processes; the only user of psutil in the daemon.

Never decides who is dead: that is ``waitpid``'s word. Called by main and the supervisor.
"""

from __future__ import annotations

import os
from signal import Signals
from typing import Any

import psutil


def private_memory(pid: int) -> int:
    """The bytes of memory that only this process has (USS); 0 where nobody tells."""
    try:
        return int(psutil.Process(pid).memory_full_info().uss)
    except psutil.Error:
        return 0


def is_running(pid: int) -> bool:
    """Whether there is such a process that is more than a dead one not yet waited for."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def how_it_ended(code: int) -> str:
    """An exit code in words; negative codes are signals."""
    return f"exit code {code}" if code >= 0 else f"killed by {Signals(-code).name}"


def who_listens(address: tuple[str, int] | str) -> str:
    """Who has the port, or the unix socket of that path, in words."""
    pid = _listener(address)
    if pid is None:
        return "another process"
    try:
        return f"{psutil.Process(pid).name()} (pid {pid})"
    except psutil.Error:
        return f"pid {pid}"


def _listener(address: tuple[str, int] | str) -> int | None:
    try:
        connections = psutil.net_connections("unix" if isinstance(address, str) else "tcp")
    except (psutil.Error, OSError):
        return None
    for connection in connections:
        if _is_at(connection, address) and connection.pid not in {None, os.getpid()}:
            return int(connection.pid)
    return None


def _is_at(connection: Any, address: tuple[str, int] | str) -> bool:
    if isinstance(address, str):
        return bool(connection.laddr == address)
    return connection.status == psutil.CONN_LISTEN and bool(connection.laddr.port == address[1])
