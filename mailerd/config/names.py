"""
The names of the settings: which there are, how variables spell them, and which one was probably meant.

Pure; derived from the model, so that a new key needs no second entry. Called by the readers of the sources
and by the messages about wrong keys.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache

from mailerd.config.model import keys, sections


@cache
def settings() -> tuple[tuple[str, str], ...]:
    """Every setting of this version as section and key."""
    return tuple((name, key) for name, section in sections().items() for key in keys(section))


@cache
def variables() -> dict[str, tuple[str, str]]:
    """``MAILERD_SMTP__PORT`` and so on, with section and key."""
    return {f"MAILERD_{section}__{key}".upper(): (section, key) for section, key in settings()}


def is_setting(section: str, key: str = "") -> bool:
    """Whether there is such a section, or such a key in it."""
    return (section, key) in variables().values() if key else section in sections()


def nearest(name: str, known: Iterable[str]) -> str:
    """``; did you mean smtp.port?`` where one of ``known`` is near enough to ``name``, else nothing."""
    matches = get_close_matches(name, known, n=1, cutoff=0.7)
    return f"; did you mean {matches[0]}?" if matches else ""


def suggestion(section: str, key: str) -> str:
    """Which setting was probably meant by ``section.key``: one near it, or this key of another section."""
    if not key:
        found = nearest(section, sections())
        elsewhere = [f"{home}.{name}" for home, name in settings() if name == section]
        return found or (f"; did you mean {elsewhere[0]}?" if elsewhere else "")
    found = nearest(f"{section}.{key}", [f"{home}.{name}" for home, name in settings() if home == section])
    elsewhere = [f"{home}.{name}" for home, name in settings() if name == key]
    return found or (f"; did you mean {elsewhere[0]}?" if elsewhere else "")
