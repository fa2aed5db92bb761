"""The figures of a whole queue at one moment, as values; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mailerd.outcome import State


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """
    What the totals of a queue come to.

    ``oldest_seconds``: how long the job that is next has waited. ``recipients``: of all batches that are not
    deleted yet, by state. ``conservation_gap``: recipients accepted less those in any state; always 0.
    """

    length: int
    oldest_seconds: float | None
    put_aside: int
    dead: int
    workers_alive: int
    batches_open: int
    batches_needing_attention: int
    batches_ended: int
    recipients: Mapping[State, int]
    conservation_gap: int
