"""
Settings of the contract that this version does not have yet.

Their defaults are taken, since they change nothing; another value is refused rather than ignored, because
whoever sets it relies on it. Pure; only ``loading.py`` and ``names.py`` call it. An entry goes when its
setting joins the model.
"""

from __future__ import annotations

from typing import Any

from mailerd.errors import Problem

# (section, key) with the default; a key of "" stands for the whole section.
LATER: dict[tuple[str, str], Any] = {
    ("limits", "per_second"): 0,
    ("limits", "per_day"): 0,
}
_MESSAGE = "comes with a later version of mailerd; leave it out"


def take_out_later(raw: dict[str, Any]) -> list[Problem]:
    """Remove from ``raw`` what only later versions know, and say what of it was relied on."""
    problems = []
    for (section, key), default in LATER.items():
        table = raw.get(section)
        if isinstance(table, dict) and key in table and str(table.pop(key)) != str(default):
            problems.append(Problem(f"{section}.{key}", _MESSAGE))
    if raw.pop("limits", None):
        problems.append(Problem("limits", _MESSAGE))
    return problems
