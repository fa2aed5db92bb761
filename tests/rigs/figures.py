"""Sources of metrics for tests that want none."""

from __future__ import annotations

from mailerd.api.ports import Sources
from mailerd.outcome import State
from mailerd.queue.figures import QueueFigures

NOTHING = QueueFigures(0, None, 0, 0, 0, 0, 0, 0, dict.fromkeys(State, 0), 0)


def no_sources() -> Sources:
    """An empty queue, no workers, no events."""
    return Sources(lambda: NOTHING, (), lambda _: 0, dict, list)
