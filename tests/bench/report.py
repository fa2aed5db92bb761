"""What a benchmark is asked for and what it finds, as values, and how they are told: lines, JSON. Pure."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

Figures = dict[str, float]
OURS = "mailerd"


@dataclass(frozen=True)
class Asked:
    """What the command line asks for; no ``peers`` or ``parts``: all of them, but those ``left_out``."""

    quick: bool
    rounds: int
    peers: tuple[str, ...]
    parts: tuple[str, ...]
    peers_dir: Path
    left_out: frozenset[str] = frozenset()

    def wants_peer(self, name: str) -> bool:
        """Whether this peer takes part."""
        return name not in self.left_out and (not self.peers or name in self.peers)

    def wants_part(self, name: str) -> bool:
        """Whether this part of the subject is measured."""
        return not self.parts or name in self.parts


class Contestant(Protocol):
    """Somebody who takes part in every round of a comparison."""

    @property
    def name(self) -> str:
        """As the report calls it; mailerd itself is ``OURS``."""

    def round(self) -> Figures:
        """Do the work once more; the figures of this round."""


@dataclass
class Comparison:
    """The figures of all rounds, by contestant; a round in which one failed is missing there."""

    name: str
    rounds: dict[str, list[Figures]] = field(default_factory=dict)

    def play(self, contestants: Iterable[Contestant], rounds: int) -> Comparison:
        """Everybody in turn, so many times; every other round begins with the last."""
        order = list(contestants)
        for number in range(1, rounds + 1):
            for one in order:
                figures = one.round()
                self.rounds.setdefault(one.name, []).append(figures)
                print(f"{self.name} {number}/{rounds}: {one.name:<28}{_told(figures)}", flush=True)
            order.reverse()
        return self

    def median(self, who: str, figure: str) -> float:
        """The middle one of a figure."""
        return statistics.median(each[figure] for each in self.rounds[who] if figure in each)

    def ratio(self, figure: str, of: str, to: str) -> float:
        """The middle one of the ratios that two of them had in one round."""
        pairs = zip(self.rounds[of], self.rounds[to], strict=True)
        return statistics.median(one[figure] / other[figure] for one, other in pairs)

    def medians(self) -> dict[str, Figures]:
        """The middle one of each figure of each."""
        return {
            who: {figure: self.median(who, figure) for figure in _names(rounds)}
            for who, rounds in self.rounds.items()
        }


@dataclass(frozen=True)
class Aim:
    """A figure that was to be reached: ``value`` is to be at least ``wanted``, or at most with ``most``."""

    row: str  # of the table of aims
    what: str
    value: float
    wanted: float
    most: bool = False

    @property
    def reached(self) -> bool:
        """Whether it was."""
        return self.value <= self.wanted if self.most else self.value >= self.wanted

    def __str__(self) -> str:
        word = "at most" if self.most else "at least"
        verdict = "reached" if self.reached else "MISSED"
        return f"{self.row:>4}  {self.what:<66}{_number(self.value):>10}  {word} {self.wanted:g}: {verdict}"


@dataclass
class Report:
    """All that a subject found: comparisons, aims, single facts; charts (SVG) and Markdown tables by name."""

    subject: str
    comparisons: list[Comparison] = field(default_factory=list)
    aims: list[Aim] = field(default_factory=list)
    facts: Figures = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    charts: dict[str, str] = field(default_factory=dict)
    tables: dict[str, str] = field(default_factory=dict)
    load: tuple[float, ...] = ()  # of the machine, before and after

    @property
    def good(self) -> bool:
        """Whether every aim was reached."""
        return all(aim.reached for aim in self.aims)

    def text(self) -> str:
        """For a terminal."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        told = " to ".join(f"{each:.1f}" for each in self.load)
        yield f"\n{self.subject}, medians; load {told} on {os.cpu_count()} cores, its own included"
        for comparison in self.comparisons:
            yield f"  {comparison.name}"
            for who, figures in comparison.medians().items():
                yield f"    {who:<28}{_told(figures)}"
        for what, value in self.facts.items():
            yield f"  {what:<72}{_number(value):>10}"
        yield from map(str, self.aims)
        yield from self.tables.values()

    def as_json(self) -> dict[str, Any]:
        """For a program."""
        return {
            "subject": self.subject,
            "machine": machine(),
            "settings": self.settings,
            "comparisons": {
                each.name: {"median": each.medians(), "rounds": each.rounds} for each in self.comparisons
            },
            "facts": self.facts,
            "aims": [vars(aim) | {"reached": aim.reached, "load": self.load} for aim in self.aims],
            "tables": self.tables,
        }


def machine() -> dict[str, Any]:
    """What these figures were measured on."""
    return {
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def _names(rounds: list[Figures]) -> list[str]:
    return list(dict.fromkeys(name for figures in rounds for name in figures))


def _told(figures: Figures) -> str:
    return "  ".join(f"{name} {_number(value)}" for name, value in figures.items())


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
