"""
What may stand behind the question mark: each parameter read strictly, all wrong ones told at once.

A misspelt ``?stat=done`` that is ignored would answer a question that nobody asked. An empty parameter is one
that was not given. Used by the resources that show batches.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

import falcon

from mailerd.api.problems import Refusal
from mailerd.errors import Problem
from mailerd.job import is_name

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000

_LIMIT = re.compile("[0-9]{1,9}")
_CURSOR = re.compile("[!-~ ]{1,512}")

Kind = TypeVar("Kind", bound=StrEnum)


class Parameters:
    """The query of one request; ``done`` raises what was found wrong by then."""

    def __init__(self, req: falcon.Request, *known: str) -> None:
        self._problems: list[Problem] = []
        self._values: dict[str, str] = {}
        given: Mapping[str, str | list[str]] = req.params
        for name, value in given.items():
            if name not in known:
                names = ", ".join(known)
                self._wrong(
                    name, f"is no parameter here; there are {names}" if known else "is no parameter here"
                )
            elif isinstance(value, list):
                self._wrong(name, "is given more than once")
            elif value:
                self._values[name] = value

    def client_id(self) -> str | None:
        """Whose batches."""
        value = self._values.get("client_id")
        if value is not None and not is_name(value):
            self._wrong("client_id", "can be no client's id")
        return value

    def choice(self, name: str, kind: type[Kind]) -> Kind | None:
        """One of ``kind``."""
        value = self._values.get(name)
        if value is None:
            return None
        if value not in list(kind):
            self._wrong(name, f"must be one of {', '.join(kind)}")
            return None
        return kind(value)

    def limit(self) -> int:
        """How many at most."""
        value = self._values.get("limit", str(DEFAULT_LIMIT))
        number = int(value) if _LIMIT.fullmatch(value) else 0
        if not 1 <= number <= MAX_LIMIT:
            self._wrong("limit", f"must be a number from 1 to {MAX_LIMIT}")
        return number

    def cursor(self) -> str:
        """Where to go on; empty at the beginning."""
        value = self._values.get("cursor", "")
        if value and not _CURSOR.fullmatch(value):
            self._wrong("cursor", "must be what next was in the page before")
        return value

    def done(self) -> None:
        """Raise the 422 that names every parameter at fault, if one is."""
        if self._problems:
            raise Refusal(422, "; ".join(map(str, self._problems)), self._problems)

    def _wrong(self, name: str, message: str) -> None:
        self._problems.append(Problem(name, message))
