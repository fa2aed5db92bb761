"""
The board's file in the state directory: taken by one daemon, kept for its next life.

The lock hangs on a descriptor that every process of the daemon inherits, so it is free only when the last
of them has gone. What a dead worker left goes from its slot into a small file of its own and stays there
until it is settled, over any number of restarts. What is from before the host's last boot is believed only if
the daemon had ended in order and sealed it: else nobody knows which of its pages had reached the disk.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import mmap
import os
import struct
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from mailerd.board.slot import Slot, slot_size
from mailerd.board.values import Remains, SlotState, remains_from
from mailerd.errors import BoardHeld, ConfigurationError, DiskFull, Problem

log = logging.getLogger(__name__)

_MAGIC = b"MAILERD-BOARD-5\n"  # another layout gets another magic
_HEADER = struct.Struct("@16sIId48s")  # magic, slots, room, heartbeat, boot
_HEADER_SIZE = 4096
_HEARTBEAT = struct.Struct("@d")
_HEARTBEAT_AT = 24
_SEAL_AT = _HEADER.size


class Board:
    """All slots of one daemon; created before anything is forked, inherited by every process."""

    def __init__(self, state_dir: Path, memory: mmap.mmap, shape: tuple[int, int], lock: int) -> None:
        self.slots = _slots(memory, *shape)
        self.room = shape[1]
        self._state_dir = state_dir
        self._memory = memory
        self._lock = lock

    @classmethod
    def create(cls, state_dir: Path, slots: int, room: int, now: float = 0.0) -> Board:
        """
        Take the state directory; what the workers of an earlier life left is kept for ``previous``.

        ``now`` (seconds since 1970) is when the rings count those as told that were in a hand at its end.

        Raises ``BoardHeld`` while a process of another life is there, ``DiskFull`` where there is no room,
        and ``ConfigurationError`` where the directory cannot be written. The room is taken at once: a page
        that the disk cannot give later would kill the worker that touches it.
        """
        try:
            state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = _take_lock(state_dir / "board.lock")
            former = _keep_all(state_dir)
            memory = _map_new(state_dir / "board", slots, room)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DiskFull(error.filename or state_dir, os.strerror(error.errno)) from None
            message = (
                f"cannot use {error.filename or state_dir}: {error.strerror}; it must be a folder of ours"
            )
            raise ConfigurationError([Problem("daemon.state_dir", message)]) from None
        board = cls(state_dir, memory, (slots, room), lock)
        board._take_over(former, now)
        return board

    @staticmethod
    def previous(state_dir: Path) -> list[Remains]:
        """What dead workers, of this life or an earlier one, left that nobody has settled yet."""
        boot = _boot()
        left = []
        for path in sorted((state_dir / "remains").glob("*.json")):
            with suppress(FileNotFoundError):  # the janitor has settled it in this very moment
                left.append(_load(path, boot))
        return left

    @staticmethod
    def forget(state_dir: Path, incarnation: str) -> None:
        """Delete what ``incarnation`` left; to be called once it is settled."""
        _remains_path(state_dir, incarnation).unlink(missing_ok=True)

    def clear(self, slot: Slot, now: float) -> Remains:
        """
        Empty the slot of a dead worker; what it left is returned, and on disk until it is forgotten.

        It stays on the ring as well: a Redis that forgets how it was settled is told again.
        """
        remains = slot.remains()
        try:
            _keep(self._state_dir, remains)
        except OSError as error:
            message = "What worker %d left cannot be kept on disk: %s"
            log.error(message, slot.number, error, extra={"event": "board.not_kept"})  # noqa: TRY400 - says all
        slot.note_end(now)
        slot.close()
        return remains

    def _take_over(self, former: tuple[Slot, ...], now: float) -> None:
        """Keep the rings of an earlier life, also where there are fewer slots now."""
        for index, old in enumerate(former):
            old.note_end(now)
            slot = self.slots[index % len(self.slots)]
            slot.ring.take_over(old.ring)
            slot.era = old.era if index < len(self.slots) or slot.era == old.era else ""

    def seal(self) -> None:
        """
        Bring all that is known to the disk, and then note that it is; to be called when no worker is left.

        So whoever was in hand while Redis was away is settled after a reboot in order as after a restart.
        """
        try:
            for path in (self._state_dir / "remains").glob("*.json"):
                _bring_to_disk(path)
            _bring_to_disk(self._state_dir / "remains")
            _bring_to_disk(self._state_dir)
            self._memory.flush()
            self._memory[_SEAL_AT] = 1
            self._memory.flush()
        except OSError as error:
            message = "The board does not reach the disk, and is not believed after a reboot: %s"
            log.error(message, error, extra={"event": "board.not_sealed"})  # noqa: TRY400 - says all

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


def _keep_all(state_dir: Path) -> tuple[Slot, ...]:
    """Keep the remains on an earlier board, and put it away; its slots where they can be believed."""
    path = state_dir / "board"
    slots: tuple[Slot, ...] = ()
    with suppress(FileNotFoundError):
        slots, believed, boot = _read(path)
        if believed and boot != _boot():
            for each in (state_dir / "remains").glob("*.json"):
                _keep(state_dir, _load(each, boot))
        for slot in slots:
            if slot.state != SlotState.EMPTY:
                _keep(state_dir, slot.remains() if believed else Remains(slot.incarnation, None))
        _break_seal(path)
        path.unlink()
        slots = slots if believed else ()
    return slots


def _keep(state_dir: Path, remains: Remains) -> None:
    path = _remains_path(state_dir, remains.incarnation)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    unfinished = path.with_suffix(".new")
    unfinished.write_text(json.dumps({"boot": _boot(), "remains": asdict(remains)}))
    unfinished.replace(path)


def _load(path: Path, boot: str) -> Remains:
    # Of a file from before the last boot nobody knows whether it is whole, nor whether it was the last word.
    with suppress(ValueError):
        kept = json.loads(path.read_text())
        if kept["boot"] == boot != "":
            return remains_from(kept["remains"])
    log.warning("%s is from before the last boot and is not believed", path, extra={"event": "board.stale"})
    return Remains(path.stem, None)


def _remains_path(state_dir: Path, incarnation: str) -> Path:
    return state_dir / "remains" / f"{incarnation}.json"


def _map_new(path: Path, slots: int, room: int) -> mmap.mmap:
    size = _HEADER_SIZE + slots * slot_size(room)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)
        else:
            os.ftruncate(descriptor, size)
        memory = mmap.mmap(descriptor, size)
        # Whoever looks at all slots reads a page or two of each: what lies around need not be mapped as well.
        memory.madvise(mmap.MADV_RANDOM)
    finally:
        os.close(descriptor)
    _HEADER.pack_into(memory, 0, _MAGIC, slots, room, 0.0, _boot().encode())
    return memory


def _slots(memory: mmap.mmap, slots: int, room: int) -> tuple[Slot, ...]:
    size = slot_size(room)
    made = tuple(Slot(memory, _HEADER_SIZE + index * size, index + 1, room) for index in range(slots))
    for slot in made:
        slot.peers = made
    return made


def _read(path: Path) -> tuple[tuple[Slot, ...], bool, str]:
    """The slots on an earlier board, whether what they tell can be believed, and which boot it is from."""
    with path.open("r+b") as file:
        if os.fstat(file.fileno()).st_size < _HEADER_SIZE:
            return (), False, ""
        memory = mmap.mmap(file.fileno(), 0)
    magic, slots, room, _, boot = _HEADER.unpack_from(memory)
    if magic != _MAGIC:
        log.warning("%s is of another version and is not read", path, extra={"event": "board.unreadable"})
        return (), False, ""
    boot = boot.rstrip(b"\0").decode()
    believed = boot == _boot() != "" or (boot != "" and memory[_SEAL_AT] == 1)
    if not believed:
        message = "%s is from before the last boot and is not believed"
        log.warning(message, path, extra={"event": "board.stale"})
    return _slots(memory, slots, room), believed, boot


def _break_seal(path: Path) -> None:
    """Should a power cut bring a board back that was put away, it is not the last word."""
    with path.open("r+b") as file:
        if os.pread(file.fileno(), 1, _SEAL_AT) == b"\1":
            os.pwrite(file.fileno(), b"\0", _SEAL_AT)
            os.fsync(file.fileno())


def _bring_to_disk(path: Path) -> None:
    with suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _boot() -> str:
    # Elsewhere than on Linux no boot has a name, and no board is believed after a restart.
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""
