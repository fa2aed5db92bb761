"""How the fleet's limits stand: a read model for ``mailerd status`` and ``/metrics``. Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

import redis

from mailerd.config import Limits
from mailerd.queue.keys import Keys
from mailerd.queue.limits import Table
from mailerd.queue.scripts import run


@dataclass(frozen=True, slots=True)
class LimitView:
    """
    One limit by its name; 0 is none.

    ``in_line``: slices that wait for it; ``paused``: for so long (seconds).
    """

    name: str
    who: str
    per_second: float
    in_use: int
    per_day: int
    used: int
    in_line: int
    paused: float

    def __str__(self) -> str:
        """On one line, for people."""
        parts = []
        if self.per_second:
            parts.append(f"{self.per_second:.3g} mails a second, {self.in_use} in use")
        if self.per_day:
            parts.append(f"{self.used:,} of {self.per_day:,} mails in 24 hours")
        if self.in_line:
            parts.append(f"{self.in_line:,} in line")
        if self.paused:
            parts.append(f"paused for {self.paused:.0f} s")
        return f"{self.who}: {'; '.join(parts)}"


def limit_views(client: redis.Redis, keys: Keys, limits: Limits) -> list[LimitView]:
    """Every limit that limits anything now. Raises ``RedisUnavailable``."""
    table = Table(limits).all()
    bounds = [value for limit in table for value in (str(limit.per_second), limit.per_day)]
    said = run(client, "limits", [keys.limit(limit.name) for limit in table], bounds)
    views = [
        LimitView(limit.name, limit.who, float(rate), in_use, day, used, in_line, paused / 1000)
        for limit, (rate, in_use, day, used, in_line, paused) in zip(table, said, strict=True)
    ]
    return [view for view in views if view.per_second or view.per_day or view.paused]
