"""
How many short jobs a worker takes at once: as many as it works off in a moment, one where they are slow.

Pure; the worker tells it what jobs took. Whoever takes several lets the later ones wait for the first, so a
handful is small in time and not in number. That it is at most a worker's share of the queue, the script sees
to.
"""

from __future__ import annotations

# Seconds of work that one claim should bring.
MOMENT = 0.05
MOST = 100
# A handful that takes so much longer than it should goes back, for others to take.
TOO_LONG = 4 * MOMENT


class Handful:
    """
    What one worker has learned of its jobs; it begins with one.

    ``worked_off``: how many of those in hand are, up to the take that acks them.
    """

    def __init__(self) -> None:
        self.worked_off = 0
        self._each: float | None = None
        self._began = 0.0

    @property
    def most(self) -> int:
        """How many to take at once."""
        return 1 if self._each is None else max(1, min(MOST, int(MOMENT / max(self._each, 1e-6))))

    def begins(self, now: float) -> None:
        """The jobs in hand are worked off from now on."""
        self._began = now

    def takes_too_long(self, now: float) -> bool:
        """Whether the rest in hand would wait for too long."""
        return now - self._began > TOO_LONG

    def is_over(self, now: float) -> None:
        """Those worked off have been acked."""
        if self.worked_off:
            self.took(self.worked_off, now - self._began)
            self.worked_off = 0

    def took(self, jobs: int, seconds: float) -> None:
        """So many jobs were worked off in so long: slower ones count at once, quicker ones by and by."""
        each = seconds / jobs
        quicker = self._each is not None and each < self._each
        self._each = (3 * self._each + each) / 4 if quicker and self._each is not None else each
