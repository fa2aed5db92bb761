"""
A pre-flight in a process of its own, for the HTTP door: with a bound in time that nothing can overrun.

Contacts and templates are then never loaded into the main process, and no template, however it loops, and no
database, however it hangs, can keep its threads: the child ends by itself, and is killed if it does not. What
goes to it is pickled by its own parent. Handed to the door by ``wiring.py``; ``__main__.py`` is the child.
"""

from __future__ import annotations

import json
import logging
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

from mailerd.config import Config
from mailerd.job import EmailJob
from mailerd.preflight.findings import Finding, Remark, Severity
from mailerd.preflight.report import Report

# Without the working directory, in which a file may be called like a module of Python's.
_CHILD = (sys.executable, "-P", "-m", "mailerd.preflight")
_ADVICE = "mailerd preflight has the time for it, and mailerd check --online tries each part"

_PATIENCE = 6.0  # seconds for all of it; a busy host takes one to start Python

log = logging.getLogger(__name__)


class Apart:
    """Looks at one batch at a time, since each look costs a process; ``config`` tells what is in force."""

    def __init__(self, config: Callable[[], Config], patience: float = _PATIENCE) -> None:
        self._config = config
        self._patience = patience
        self._busy = threading.Lock()

    def look(self, job: EmailJob) -> Mapping[str, Any] | None:
        """The report on the first contacts, in JSON; None while another one is being made."""
        if not self._busy.acquire(blocking=False):
            return None
        try:
            return self._look(job)
        finally:
            self._busy.release()

    def _look(self, job: EmailJob) -> Mapping[str, Any]:
        asked = pickle.dumps((self._config(), job, self._patience))
        try:
            child = subprocess.run(
                _CHILD, input=asked, capture_output=True, timeout=self._patience, check=True
            )
        except subprocess.TimeoutExpired:
            return _broken_off(job, f"it took longer than {self._patience:g} s")
        except subprocess.CalledProcessError as error:
            words = error.stderr.decode(errors="replace").strip()
            what = "a dry run failed (%s): %s"
            log.error(what, error.returncode, words, extra={"event": "http.fault"})  # noqa: TRY400 - it says nothing
            return _broken_off(job, "it failed, and mailerd's log says how")
        report: dict[str, Any] = json.loads(child.stdout)
        return report


def _broken_off(job: EmailJob, why: str) -> Mapping[str, Any]:
    remark = Remark(Severity.PROBLEM, "unfinished", f"the look at the batch was broken off: {why}", _ADVICE)
    return Report(len(job.distinct()), 0, (Finding(remark),)).to_json()
