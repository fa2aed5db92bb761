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
DOUBT = ("unanswered", "failed", "deferred", "blocked", "crash", "vanish", "lose")
ALL = DEATHS + ANSWERS + LIVE
PAUSE = ("pause", "resume")
POISON_OVER = ("reopen", "revive")

# Two short jobs in one hand: worked off together where a slice has room for both, else one after the other.
TWO_IN_HAND = Case("two in hand", ((0,), (0,)), most_in_hand=2, max_deaths=9)

QUICK = (
    replace(TWO_IN_HAND, name="two in hand, a cancelling", slice=2, most_faults=0, words=("cancel",)),
    Case("a lost answer", faults=("lose",)),
    Case("a cancelling", most_faults=0, words=("cancel",)),
    Case("a pause", most_faults=0, words=PAUSE, resend=True),
)

_HOLD = (
    Case("a fault, slices", faults=ALL),
    Case("a fault, groups of two", slice=2, connections=2, faults=ALL),
    Case("two faults, one worker", ALONE, workers=1, faults=ALL, most_faults=2),
    Case("a fault and a cancelling", ALONE, faults=ALL, words=("cancel",)),
    Case("a fault and a pause", ALONE, faults=("stall", "stop"), words=PAUSE),
    Case("a lost answer, a pause and a cancelling", ALONE, faults=("lose",), words=(*PAUSE, "cancel")),
    Case("poison and its revival", ALONE, max_deaths=1, faults=("crash",), words=("reopen", "revive")),
    replace(TWO_IN_HAND, name="two together, a fault", slice=2, faults=ALL),
    replace(TWO_IN_HAND, name="two in hand, two deaths", workers=1, faults=("crash",), most_faults=2),
    replace(TWO_IN_HAND, name="two in hand, poison", max_deaths=1, faults=("crash",), words=POISON_OVER),
    Case("a failover and an answer", ((0,),), faults=("lag", "unanswered", "deferred"), most_faults=2),
    Case("a failover and a cancelling", ((0,),), faults=("lag",), words=("cancel",)),
    Case("refused and tried again", faults=("failed",), words=("retry",)),
)
_RESEND = (
    Case("a fault, slices", faults=ALL),
    Case("a fault, groups of two", slice=2, connections=2, faults=ALL),
    Case("two faults, one worker", ALONE, workers=1, faults=("crash", "unanswered", "lose"), most_faults=2),
    Case("a fault and a cancelling", ALONE, faults=("vanish", "lose", "unanswered"), words=("cancel",)),
    Case("two faults and a cancelling", ((0,),), workers=1, faults=DOUBT, most_faults=2, words=("cancel",)),
    Case("a lost answer and a pause", ALONE, faults=("lose",), words=PAUSE),
)


def cases(*, resend: bool) -> tuple[Case, ...]:
    """Those of one policy for unknown outcomes."""
    return tuple(replace(case, resend=True) for case in _RESEND) if resend else _HOLD
