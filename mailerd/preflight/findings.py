"""What a pre-flight says: remarks, and how many recipients each of them is about. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

_EXAMPLES = 5
_MOST = 100  # a template's fault may name another value for every contact


class Severity(StrEnum):
    """How bad it is; the worst first."""

    PROBLEM = "problem"  # somebody gets no mail, or one that is broken
    WARNING = "warning"  # it will be sent, and is hardly meant so
    NOTE = "note"  # good to know, and nothing wrong


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing to say: ``about`` is its name for programs, ``advice`` what to do."""

    severity: Severity
    about: str
    what: str
    advice: str


@dataclass(frozen=True, slots=True)
class Finding:
    """A remark, the number of recipients it is about (0: the batch as a whole), and some of them."""

    remark: Remark
    recipients: int = 0
    examples: tuple[str, ...] = ()

    def to_json(self) -> Mapping[str, Any]:
        """As programs are told."""
        remark = self.remark
        return {
            "severity": remark.severity,
            "about": remark.about,
            "message": remark.what,
            "advice": remark.advice,
            "recipients": self.recipients,
            "examples": list(self.examples),
        }


_FURTHER = Remark(
    Severity.PROBLEM,
    "further",
    "there are further problems, each of another kind",
    "mend those above and look again",
)


@dataclass(slots=True)
class Findings:
    """Collects remarks: the same remark about many recipients is one finding with a few examples."""

    _numbers: dict[Remark, int] = field(default_factory=dict)
    _examples: dict[Remark, list[str]] = field(default_factory=dict)

    def of_batch(self, remark: Remark, example: str = "") -> None:
        """Something about the batch as a whole."""
        self._numbers.setdefault(remark, 0)
        self._show(remark, example)

    def of_recipient(self, remark: Remark, example: str) -> None:
        """Something about one recipient."""
        known = remark if remark in self._numbers or len(self._numbers) < _MOST else _FURTHER
        self._numbers[known] = self._numbers.get(known, 0) + 1
        self._show(known, example)

    def worst_first(self) -> list[Finding]:
        """What was found, the worst first; of the equally bad what all have, then what most have."""
        severities = list(Severity)
        found = [
            Finding(remark, number, tuple(self._examples.get(remark, ())))
            for remark, number in self._numbers.items()
        ]
        return sorted(
            found,
            key=lambda one: (severities.index(one.remark.severity), one.recipients > 0, -one.recipients),
        )

    def _show(self, remark: Remark, example: str) -> None:
        shown = self._examples.setdefault(remark, [])
        if example and len(shown) < _EXAMPLES:
            shown.append(example)
