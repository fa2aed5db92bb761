"""How much of a batch is looked at. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many contacts, and how long (0: all, as long as it takes); ``speed``: mails a second, if known."""

    contacts: int = 0
    seconds: float = 0.0
    speed: float = 0.0
