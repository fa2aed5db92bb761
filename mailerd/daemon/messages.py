"""What main and the supervisor tell each other, as values."""

from __future__ import annotations

from dataclasses import dataclass

from mailerd.board import Death
from mailerd.config import Config


@dataclass(frozen=True, slots=True)
class Go:
    """To the supervisor: Redis is there, fork the workers."""


@dataclass(frozen=True, slots=True)
class Replace:
    """To the supervisor: replace the workers, a few at a time, by ones of this configuration."""

    config: Config
    generation: int


@dataclass(frozen=True, slots=True)
class Resize:
    """To the supervisor: have so many workers more, or fewer."""

    by: int


@dataclass(frozen=True, slots=True)
class Leave:
    """To the supervisor: let the workers finish what they have in hand, then exit."""


@dataclass(frozen=True, slots=True)
class Hurry:
    """To the supervisor: let the workers abandon at the next safe point."""


@dataclass(frozen=True, slots=True)
class Died:
    """To main: a worker has ended; ``exit_code`` is None when a signal killed it."""

    death: Death
    exit_code: int | None


@dataclass(frozen=True, slots=True)
class Staffing:
    """To main: how many workers there should be, and what keeps one away, in words."""

    wanted: int
    trouble: str
