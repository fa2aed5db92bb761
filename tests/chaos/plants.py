"""
How each planted defect is played so that it shows soon: which faults, which jobs, which settings. Pure.

The defects themselves are in ``planted``, which the daemons are started through.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from chaos.fleet import ADMITTED, MARKERS, TAKEN
from rigs.daemon import Sections


@dataclass(frozen=True)
class Preset:
    """What differs from an ordinary run."""

    finds: str  # a pattern of what the verdict must say
    only: tuple[str, ...]
    faults: int
    unknown: str = "hold"
    sizes: tuple[int, ...] = (5, 30, 60)
    backlog: int = 400
    pause: float = 0.0
    envelope: float = 0.0
    reply_delay: float = 0.0
    markers: tuple[bytes, ...] = MARKERS
    overlay: Sections = field(default_factory=dict)
    limited: bool = False


PRESETS: Mapping[str, Preset] = {
    "no-fencing": Preset(
        "times, and|nothing moves",
        ("stop-worker",),
        3,
        "resend",
        backlog=200,
        envelope=0.3,
        overlay={"queue": {"lease": 1}},
    ),
    "no-ledger": Preset("mailed twice", ("kill-worker",), 6),
    "client-retries": Preset(
        "lost: ",
        ("drop-reply",),
        4,
        sizes=(5,),
        backlog=200,
        markers=(TAKEN,),
        overlay={"workers": {"max_jobs": 0}},
    ),
    "no-linger": Preset("nobody will ever look", ("parked-take",), 3, sizes=(1,), backlog=20),
    "ack-before-mark": Preset("nothing moves", ("kill-worker",), 8, sizes=(60, 100), backlog=1000),
    "board-ignored": Preset("no hand-over of it was cut", ("kill-worker",), 8, envelope=0.15),
    "busy-is-dead": Preset(
        "times, and 0 hand-overs were cut",
        ("script-flush",),
        12,
        "resend",
        sizes=(8, 15),
        backlog=120,
        envelope=0.05,
    ),
    "cursor-not-compared": Preset(
        "were promised",
        ("drop-reply",),
        40,
        sizes=(3000,),
        backlog=30_000,
        reply_delay=0.03,
        markers=(ADMITTED,),
    ),
    "no-rest-for-the-dead": Preset(
        "mails in a second for", ("kill-worker", "kill-host"), 6, backlog=100, limited=True
    ),
}
