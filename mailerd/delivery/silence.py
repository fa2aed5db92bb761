"""
When answers are lost one after the other: pure policy.

Each one makes a recipient ``unknown``, whom somebody has to look at. So a route that takes mails and says
nothing is left alone after a few, and then tried with one mail at a time until it answers. Kept by
``delivery.py`` for as long as the incarnation lives.
"""

from __future__ import annotations

from mailerd.delivery.values import NO_HAND_OVER, End, Pass
from mailerd.outcome import Kind, Outcome

# One or two may be these mails' fault, or a connection's.
BEARABLE = 2


class Silence:
    """How many answers in a row were lost."""

    def __init__(self) -> None:
        self._lost = 0
        self._last = ""

    def heard(self, outcome: Outcome) -> None:
        """A hand-over has come to this; any answer ends it."""
        if outcome.kind is Kind.UNKNOWN:
            self._lost += 1
            self._last = outcome.reason
        elif outcome.kind not in NO_HAND_OVER:
            self._lost = 0

    @property
    def unbearable(self) -> bool:
        """Whether nobody more may be handed over before a pause, and then one alone."""
        return self._lost > BEARABLE

    @property
    def end(self) -> Pass:
        """How it ends a pass."""
        return Pass(End.REFUSED, f"no answer to {self._lost} mails in a row; the last one: {self._last}")
