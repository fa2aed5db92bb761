"""How fast a batch goes, by looks at it, and how long it will take; pure. Used by ``batch watch``."""

from __future__ import annotations

from collections import deque

_SPAN = 10.0  # seconds that the rate is taken over


class Pace:
    """Remembers how many recipients were settled when, over the last seconds."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, int]] = deque()

    def note(self, now: float, settled: int) -> None:
        """One look: at ``now`` (seconds) so many were settled."""
        self._looks.append((now, settled))
        while len(self._looks) > 2 and now - self._looks[1][0] >= _SPAN:  # noqa: PLR2004 - two make a rate
            self._looks.popleft()

    @property
    def rate(self) -> float:
        """Recipients a second; 0 before the second look, and where a command opened some again."""
        begun, before = self._looks[0]
        now, settled = self._looks[-1]
        return max(0.0, (settled - before) / (now - begun)) if now > begun else 0.0

    def left(self, total: int) -> float | None:
        """Seconds until ``total`` are settled; None where nobody can tell."""
        rate = self.rate
        return (total - self._looks[-1][1]) / rate if rate else None
