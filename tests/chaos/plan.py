"""What a run is asked to be, and what it came to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from chaos.verdict import Verdict


@dataclass(frozen=True)
class Plan:
    """How long a run is and what it plays; ``faults`` and ``minutes`` of 0 do not bound it."""

    seed: int
    faults: int = 0
    minutes: float = 0.0
    recipients: int = 0
    only: tuple[str, ...] = ()  # these faults; none mean all that fit
    backlog: int = 400
    pause: float = 0.0  # between two batches
    eager: bool = False  # enough is seen once a sample shows a breach
    settled_within: float = (
        90.0  # something must move so often; the hands of the dead are looked at each minute
    )
    sizes: tuple[int, ...] = (1, 5, 30, 60, 100, 200, 400)


@dataclass
class Outcome:
    """What a run came to."""

    form: str = ""
    verdict: Verdict = field(default_factory=Verdict)
    breaches: list[str] = field(default_factory=list)
    played: Counter[str] = field(default_factory=Counter)
    slowest: dict[str, float] = field(default_factory=dict)
    kills: int = 0
    aimed: int = 0
    samples: int = 0
    seconds: float = 0.0
    load: float = 0.0  # processes a core that were ready to run, at most
    server: str = ""
    ends: Counter[int] = field(default_factory=Counter)
    skipped: dict[str, int] = field(default_factory=dict)
    rates: dict[str, int] = field(default_factory=dict)  # the most in a second under each limit
