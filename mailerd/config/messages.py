"""
The words in which a wrong setting is told to its user.

Pure; turns pydantic's findings into ``Problem``s. Never repeats the value of a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mailerd.config.entries import ApiKey, ClientLimit, Dkim, DomainLimit, SmtpRelay, SmtpReply
from mailerd.config.kinds import Section
from mailerd.config.model import is_secret
from mailerd.config.names import suggestion
from mailerd.errors import Problem

_ENTRIES: dict[tuple[str, str], type[Section]] = {
    ("api", "keys"): ApiKey,
    ("mail", "dkim"): Dkim,
    ("smtp", "replies"): SmtpReply,
    ("smtp", "relays"): SmtpRelay,
    ("limits", "clients"): ClientLimit,
    ("limits", "domains"): DomainLimit,
}
_SECRET_ENTRIES = {("api", "keys"), ("mail", "dkim"), ("smtp", "relays")}
_WORDS = {
    "missing": "is missing",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be a string",
    "path_type": "must be a path",
    "tuple_type": "must be a list",
    "model_type": "must be a section",
    "string_too_short": "must not be empty",
    "string_too_long": "must be shorter",
    "too_short": "must not be empty",
    "string_pattern_mismatch": "must be 1 to 64 of A-Z a-z 0-9 . _ : - and begin with a letter or digit",
}


def problem_of(detail: Any, origins: Mapping[str, str]) -> Problem:
    """The problem that one entry of pydantic's ``errors()`` tells, with the source of the wrong value."""
    section, key = ([*map(str, detail["loc"]), ""])[:2]
    path = ".".join(map(str, detail["loc"]))
    if detail["type"] == "extra_forbidden" and len(detail["loc"]) > 2:  # noqa: PLR2004 - section and key
        known = ", ".join(_ENTRIES[section, key].model_fields)
        return Problem(path, f"is nothing that one of {section}.{key} has: {known}")
    if detail["type"] == "extra_forbidden":
        kind = "setting" if key else "section"
        return Problem(path, f"is no {kind}{suggestion(section, key)}")
    origin = origins.get(f"{section}.{key}")
    sentence = _sentence(detail, _may_be_secret(section, key))
    return Problem(path, sentence + (f" (from {origin})" if origin else ""))


def _may_be_secret(section: str, key: str) -> bool:
    # Somebody may have put a token where its SHA-256 belongs, or a key where its file does.
    return is_secret(section, key) or (section, key) in _SECRET_ENTRIES


def _sentence(detail: Any, secret: bool) -> str:
    limits = detail.get("ctx", {})
    value = detail["input"]
    shown = "" if secret or not isinstance(value, str | int | float) else f", not {value!r}"
    match detail["type"]:
        case "literal_error":
            return f"must be {limits['expected']}{shown}"
        case "greater_than_equal":
            return f"must be at least {limits['ge']:g}{shown}"
        case "greater_than":
            return f"must be more than {limits['gt']:g}{shown}"
        case "less_than_equal":
            return f"must be at most {limits['le']:g}{shown}"
        case "value_error":
            return f"{limits['error']}{shown}"
        case kind:
            return _WORDS.get(kind, str(detail["msg"])) + shown
