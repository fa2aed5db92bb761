"""What every fault gets: the fleet, and the log of what it did that may cut a hand-over off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from chaos.fleet import Fleet
from chaos.producers import Producers

End = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Kill:
    """Workers of a host killed at once; ``recipients``: whom they had handed over and had no answer of."""

    helo: str
    at: float
    recipients: frozenset[str]


@dataclass(frozen=True, slots=True)
class Pause:
    """From when until when processes may have been kept from working."""

    begun: float
    ended: float


@dataclass
class Stage:
    """Where the faults are played; ``ports`` are those of each killed worker with the moment of its death."""

    fleet: Fleet
    producers: Producers
    kills: list[Kill] = field(default_factory=list)
    pauses: list[Pause] = field(default_factory=list)  # where leases may lapse, and "resend" sends again
    worker_kills: list[tuple[float, frozenset[int]]] = field(default_factory=list)
    cancelled: set[str] = field(default_factory=set)
    paused: dict[str, float] = field(default_factory=dict)  # when
    skipped: dict[str, int] = field(default_factory=dict)

    def skip(self, name: str) -> None:
        """Note that a fault found nothing to break."""
        self.skipped[name] = self.skipped.get(name, 0) + 1


def nothing() -> None:
    """The end of a fault that ends by itself."""
