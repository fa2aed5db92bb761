"""
CPU time of whole trees of processes, and what a unit of work costs them while a backlog is worked off.

What is counted lies between 10 % and 97 % of the backlog: no start, no end. User and system time, the reaped
children's included. Called by every subject.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

import psutil

FIRST, LAST = 0.10, 0.97


def spent(pids: Iterable[int]) -> float:
    """CPU seconds that these processes and all below them have used so far."""
    return sum(_own(process) for pid in set(pids) for process in _tree(pid))


def busy() -> float:
    """CPU seconds that anybody has used on this machine so far."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq + times.steal)


def _tree(pid: int) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        top = psutil.Process(pid)
        return [top, *top.children(recursive=True)]
    return []


def _own(process: psutil.Process) -> float:
    with suppress(psutil.NoSuchProcess):
        return float(sum(process.cpu_times()[:4]))
    return 0.0


@dataclass(frozen=True)
class Sample:
    """One moment of a drain: when, how much was done, and the CPU seconds of each tree by its name."""

    time: float
    done: int
    cpu: dict[str, float]


def drain(
    trees: dict[str, list[int]], done: Callable[[], int], total: int, longest: float = 120.0
) -> tuple[Sample, Sample]:
    """
    Watch a backlog of ``total`` units being worked off; the moments at 10 % and at 97 % of it.

    Raises TimeoutError when it is not done after ``longest`` seconds.
    """
    pause, deadline = threading.Event(), time.monotonic() + longest
    first: Sample | None = None
    last: Sample | None = None
    while (count := done()) < total:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{count} of {total} done after {longest} s")
        if count >= FIRST * total and (first is None or count <= LAST * total):
            sample = Sample(time.monotonic(), count, {name: spent(pids) for name, pids in trees.items()})
            first, last = first or sample, sample
        pause.wait(0.01)
    assert first is not None, "the backlog is too small"
    assert last is not None
    return first, last


def per_unit(first: Sample, last: Sample) -> dict[str, float]:
    """Microseconds of CPU a unit, by tree and together, and units a second."""
    units = last.done - first.done
    costs = {f"{name}_us": 1e6 * (last.cpu[name] - first.cpu[name]) / units for name in first.cpu}
    return {"cpu_us": sum(costs.values()), **costs, "per_second": units / (last.time - first.time)}
