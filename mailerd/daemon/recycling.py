"""
Which worker has done enough and is replaced by a fresh one: policy without mechanism.

The limits grow with the slot's number, so that workers who started together do not leave together, and only
a tenth of the pool, at least one, is away at a time. A reload is the same thing: every worker of an older
generation has done enough. Pure; the supervisor asks.
"""

from __future__ import annotations

from dataclasses import dataclass

from mailerd.config.model import Workers

_MEGABYTE = 2**20


@dataclass(frozen=True, slots=True)
class Service:
    """
    What a worker has done so far.

    ``memory``: the most bytes that were its alone, 0 where not known; ``growing``: the job that took them is
    still in hand.
    """

    number: int
    generation: int
    jobs: int
    seconds: float
    memory: int
    growing: bool = False


def why_recycle(service: Service, limits: Workers, generation: int) -> str:
    """Why this worker should be replaced, in words; empty when it should not."""
    tenths = 10 + (service.number - 1) % 10
    if service.generation < generation:
        return "of an older configuration"
    if limits.max_jobs and 10 * service.jobs >= tenths * limits.max_jobs:
        return f"{service.jobs} jobs done"
    if limits.max_age and 10 * service.seconds >= tenths * limits.max_age:
        return f"{service.seconds:.0f} s old"
    # Not in the middle of the job: its successor would take the same job and as much memory.
    if limits.max_memory_mb and not service.growing and service.memory > limits.max_memory_mb * _MEGABYTE:
        return f"{service.memory / _MEGABYTE:.0f} MB of memory"
    return ""


def at_once(pool: int) -> int:
    """How many workers may be away for this reason at the same time."""
    return max(1, pool // 10)
