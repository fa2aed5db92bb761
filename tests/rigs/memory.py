"""A limit on what one process may still allocate, so that the kernel kills it for real. Needs root."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rigs.waiting import wait_until

_ONE = Path("/sys/fs/cgroup/memory")  # the controller's own hierarchy, where the system has it
_UNIFIED = Path("/sys/fs/cgroup")


@contextmanager
def allowed_megabytes(pid: int, megabytes: int) -> Iterator[None]:
    """The process may have so many more megabytes; leave when it is dead."""
    group = (_ONE if _ONE.exists() else _UNIFIED) / f"mailerd-tests-memory-{pid}"
    limit = group / ("memory.limit_in_bytes" if _ONE.exists() else "memory.max")
    group.mkdir()
    limit.write_text(str(megabytes * 2**20))
    (group / "cgroup.procs").write_text(str(pid))
    try:
        yield
    finally:
        wait_until(lambda: not (group / "cgroup.procs").read_text(), 20.0, f"{pid} lives on")
        group.rmdir()
