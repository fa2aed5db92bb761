"""Rows as the read models understand them; the scripts' prelude defines the form. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from mailerd.outcome import State

STATES = {
    "q": State.QUEUED,
    "c": State.SENDING,
    "d": State.DEFERRED,
    "u": State.UNKNOWN,
    "s": State.SENT,
    "f": State.FAILED,
    "i": State.INVALID,
    "p": State.SUPPRESSED,
    "k": State.CANCELLED,
    "e": State.EXPIRED,
    "z": State.DISCARDED,
}
_WITHOUT_REASON = {
    State.QUEUED: "waiting to be sent",
    State.SENDING: "being handed over",
    State.UNKNOWN: "handed over, and the answer was lost",
    State.SENT: "accepted by the server",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One recipient's row; ``seconds`` from the batch's creation to the last change."""

    state: State
    seconds: int
    reason: str


def parse_row(value: str, reasons: dict[str, str]) -> Row:
    """The row; ``reasons`` are the batch's, by number."""
    seconds, number, *_ = f"{value[1:]},".split(",")
    state = STATES[value[0]]
    reason = _WITHOUT_REASON.get(state) or reasons.get(number, "no reason was kept")
    return Row(state, int(seconds or 0), reason)
