"""Configuration files for the tests, written from plain values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def toml(sections: Mapping[str, Mapping[str, Any]]) -> str:
    """The TOML of sections of scalars, of lists of scalars, and of lists of tables."""
    lines: list[str] = []
    for name, keys in sections.items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {_scalar(value)}" for key, value in keys.items() if not _tables(value)]
        for key, tables in keys.items():
            for table in tables if _tables(tables) else ():
                lines.append(f"[[{name}.{key}]]")
                lines += [f"{inner} = {_scalar(value)}" for inner, value in table.items()]
    return "\n".join(lines) + "\n"


def _scalar(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)
