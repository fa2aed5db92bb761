"""
What is explored: every fault alone, those that meet in pairs, an operator's words at every moment.

``QUICK`` is a second of it, for every run of the tests; ``cases`` are what the gate has time for.
"""

from __future__ import annotations

from dataclasses import replace

from chaos.model.state import Case

ALONE = ((0,), (0,))  # one recipient, in two jobs
DEATHS = ("crash", "vanish", "late", "janitor")
ANSWERS = ("unanswered", "deferred", "failed", "blocked")
LIVE = ("stall", "stop", "lose")
ALL = DEATHS + ANSWERS + LIVE

QUICK = (
    Case("a lost answer", faults=("lose",)),
    Case("a cancelling", most_faults=0, words=("cancel",)),
    Case("a pause", most_faults=0, words=("pause", "resume"), resend=True),
)

_CASES = (
    Case("one fault, slices", faults=ALL),
    Case("one fault, groups of two", slice=2, connections=2, faults=ALL),
    Case("two faults, one worker", ALONE, workers=1, faults=ALL, most_faults=2),
    Case("a fault and a cancelling", ALONE, faults=ALL, words=("cancel",)),
    Case("a fault and a pause", ALONE, faults=("crash", "stall", "lose", "stop"), words=("pause", "resume")),
)


def cases(*, resend: bool) -> tuple[Case, ...]:
    """Those of one policy for unknown outcomes."""
    return tuple(replace(case, resend=resend) for case in _CASES)
