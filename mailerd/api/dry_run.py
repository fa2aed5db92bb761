"""
``POST /queue?dry_run=1``: what would come of a job, and what is wrong with its mails; nothing is queued.

The same requests are refused as without it; only then is the batch looked at. Called by ``intake.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import falcon

from mailerd.api.parameters import Parameters
from mailerd.api.ports import Preflight
from mailerd.api.problems import Refusal, unavailable
from mailerd.errors import Problem
from mailerd.job import EmailJob

_RETRY_BUSY = 2  # seconds


class _Answer(StrEnum):
    YES = "1"
    TRUE = "true"
    NO = "0"
    FALSE = "false"


class DryRun:
    """Asks for reports, one at a time."""

    def __init__(self, preflight: Preflight) -> None:
        self._preflight = preflight

    @staticmethod
    def is_wanted(req: falcon.Request) -> bool:
        """Whether it is asked for; what is misspelt, or has no value, is refused: it would send mail."""
        query = Parameters(req, "dry_run")
        answer = query.choice("dry_run", _Answer)
        query.done()
        if answer is None and "dry_run" in req.params:
            problem = Problem("dry_run", f"must be one of {', '.join(_Answer)}")
            raise Refusal(422, str(problem), [problem])
        return answer in (_Answer.YES, _Answer.TRUE)

    def report(self, job: EmailJob) -> Mapping[str, Any]:
        """The report; raises the 503 while another one is being made."""
        report = self._preflight(job)
        if report is None:
            raise unavailable("another dry run is under way, and there is one at a time", _RETRY_BUSY)
        return report
