"""What a pre-flight came to. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mailerd.preflight.findings import Finding, Severity
from mailerd.preflight.forecast import Forecast


@dataclass(frozen=True, slots=True)
class Report:
    """What was found; of so many ``recipients`` so many were ``examined``."""

    recipients: int
    examined: int
    findings: Sequence[Finding]
    forecast: Forecast | None = None

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return all(finding.remark.severity is Severity.NOTE for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """As programs are told."""
        return {
            "recipients": self.recipients,
            "examined": self.examined,
            "good": self.good,
            "findings": [finding.to_json() for finding in self.findings],
            "forecast": self.forecast and self.forecast.to_json(),
        }
