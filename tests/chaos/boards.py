"""
What a daemon's board says in the moment of a kill: whom its workers have handed over and have no answer of.

The processes stand still while it is read, so that no clock has to say which answers they had read by then.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

import psutil

from chaos.fleet import Host
from chaos.jobs import address
from mailerd.board import Phase, Slot
from mailerd.board.file import _read
from rigs.waiting import wait_until

STANDS_WITHIN = 5.0


def stand_still(processes: Iterable[psutil.Process]) -> None:
    """Stop processes; return once none of them runs any more."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.suspend()
    for process in processes:
        with contextlib.suppress(psutil.Error):
            wait_until(lambda process=process: _stands(process), STANDS_WITHIN)  # type: ignore[misc] # bound


def unanswered(host: Host, pids: Iterable[int]) -> frozenset[str]:
    """The addresses of those whom these workers have handed over, by the board of their host."""
    wanted = set(pids)
    return frozenset(
        address(one.contact_id)
        for slot in _slots(host)
        if slot.pid in wanted and (group := slot.read_group()) is not None
        for one in group.recipients
        if one.phase is Phase.HANDED_OVER
    )


def _stands(process: psutil.Process) -> bool:
    return process.status() in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE)


def _slots(host: Host) -> tuple[Slot, ...]:
    with contextlib.suppress(FileNotFoundError):
        return _read(host.daemon.folder / "state" / "board")[0]
    return ()
