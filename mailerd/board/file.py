"""
The board's file in the state directory: taken by one daemon, kept for its next life.

The lock hangs on a descriptor that every process of the daemon inherits, so it is free only when the last
of them has gone. A board from before the host's last boot is not believed: nobody knows which of its pages
had reached the disk.
"""

from __future__ import annotations

import fcntl
import logging
import mmap
import os
import struct
from contextlib import suppress
from pathlib import Path

from mailerd.board.slot import Slot, slot_size
from mailerd.board.values import Remains, SlotState
from mailerd.errors import BoardHeld, ConfigurationError, Problem

log = logging.getLogger(__name__)

_MAGIC = b"MAILERD-BOARD-1\n"  # another layout gets another magic
_HEADER = struct.Struct("@16sIId48s")  # magic, slots, connections, heartbeat, boot
_HEADER_SIZE = 4096
_HEARTBEAT = struct.Struct("@d")
_HEARTBEAT_AT = 24


class Board:
    """All slots of one daemon; created before anything is forked, inherited by every process."""

    def __init__(self, memory: mmap.mmap, slots: int, connections: int, lock: int) -> None:
        self.slots = _slots(memory, slots, connections)
        self.connections = connections
        self._memory = memory
        self._lock = lock

    @classmethod
    def create(cls, state_dir: Path, slots: int, connections: int) -> Board:
        """
        Take the state directory; what a previous life left is put aside for ``previous``.

        Raises ``BoardHeld`` while a process of another life is there, and ``ConfigurationError`` where
        the directory cannot be written or has no room. The room is taken at once: a page that the disk
        cannot give later would kill the worker that touches it.
        """
        try:
            state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = _take_lock(state_dir / "board.lock")
            _put_aside(state_dir)
            memory = _map_new(state_dir / "board", slots, connections)
        except OSError as error:
            message = f"{error.filename or state_dir}: {error.strerror}"
            raise ConfigurationError([Problem("daemon.state_dir", message)]) from None
        return cls(memory, slots, connections, lock)

    @staticmethod
    def previous(state_dir: Path) -> list[Remains]:
        """What the workers of earlier lives left that nobody has settled yet."""
        return [remains for path in _put_aside_files(state_dir) for remains in _read(path)]

    @staticmethod
    def forget_previous(state_dir: Path) -> None:
        """Delete what earlier lives left; all of it is settled."""
        for path in _put_aside_files(state_dir):
            path.unlink()

    @property
    def heartbeat(self) -> float:
        """When the supervisor last went round (CLOCK_MONOTONIC seconds)."""
        beat: float = _HEARTBEAT.unpack_from(self._memory, _HEARTBEAT_AT)[0]
        return beat

    @heartbeat.setter
    def heartbeat(self, now: float) -> None:
        _HEARTBEAT.pack_into(self._memory, _HEARTBEAT_AT, now)

    def close(self) -> None:
        """Let go of the file and of this process's hold on the lock."""
        self._memory.close()
        os.close(self._lock)


def _take_lock(path: Path) -> int:
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = int(os.pread(lock, 20, 0) or b"0")
        os.close(lock)
        raise BoardHeld(path.parent, holder) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    return lock


def _put_aside(state_dir: Path) -> None:
    taken = [int(path.suffix[1:]) for path in _put_aside_files(state_dir)]
    with suppress(FileNotFoundError):
        (state_dir / "board").rename(state_dir / f"board.previous.{max(taken, default=0) + 1}")


def _put_aside_files(state_dir: Path) -> list[Path]:
    return list(state_dir.glob("board.previous.*"))


def _map_new(path: Path, slots: int, connections: int) -> mmap.mmap:
    size = _HEADER_SIZE + slots * slot_size(connections)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)
        else:
            os.ftruncate(descriptor, size)
        memory = mmap.mmap(descriptor, size)
    finally:
        os.close(descriptor)
    _HEADER.pack_into(memory, 0, _MAGIC, slots, connections, 0.0, _boot())
    return memory


def _slots(memory: mmap.mmap, slots: int, connections: int) -> tuple[Slot, ...]:
    size = slot_size(connections)
    return tuple(Slot(memory, _HEADER_SIZE + index * size, index + 1, connections) for index in range(slots))


def _read(path: Path) -> list[Remains]:
    with path.open("r+b") as file:
        if os.fstat(file.fileno()).st_size < _HEADER_SIZE:
            return []
        memory = mmap.mmap(file.fileno(), 0)
    magic, slots, connections, _, boot = _HEADER.unpack_from(memory)
    if magic != _MAGIC:
        log.warning("%s is of another version and is not read", path, extra={"event": "board.unreadable"})
        return []
    left = [slot.remains() for slot in _slots(memory, slots, connections) if slot.state != SlotState.EMPTY]
    if boot == _boot():
        return left
    log.warning("%s is from before the last boot and is not believed", path, extra={"event": "board.stale"})
    return [Remains(remains.incarnation, None) for remains in left]


def _boot() -> bytes:
    # Elsewhere than on Linux no boot has a name, and no board is believed after a restart.
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_bytes().strip().ljust(48, b"\0")
    return b""
