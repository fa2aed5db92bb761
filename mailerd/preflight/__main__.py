"""The child of ``apart.py``: configuration and job come in, pickled; the report goes out in JSON."""

from __future__ import annotations

import json
import math
import pickle
import signal
import sys

from mailerd.clock import SystemClock
from mailerd.preflight.bounds import Bounds
from mailerd.preflight.examine import examine

_CONTACTS = 100
_SECONDS = 2.0  # for looking at them, from when the contacts are first asked for


def main() -> None:
    """Look and tell; ends with its parent or without it."""
    # The thread that started it had every signal blocked.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    config, job, patience = pickle.load(sys.stdin.buffer)  # noqa: S301 - from our own parent, by a pipe
    signal.alarm(math.ceil(patience))
    report = examine(config, job, SystemClock(), Bounds(_CONTACTS, _SECONDS), lambda _: None)
    json.dump(report.to_json(), sys.stdout)


main()
