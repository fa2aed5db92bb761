"""
The kinds of values that settings have: numbers with bounds, paths, addresses, URLs; and what a section is.

Pure; the types from which ``model.py`` and ``entries.py`` are made. A wrong value is told in a sentence that
does not repeat it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from mailerd.config.urls import check_redis_url

_WORD = r"""[^\s\x00-\x1f\x7f<>()\[\]@,;:"\\]+"""
_BARE = re.compile(rf"{_WORD}@{_WORD}")
_NAME = r"""(?:"[^"\\<>\x00-\x1f\x7f]*"|[^"\\<>@,;:\x00-\x1f\x7f]*)"""
_MAILBOX = re.compile(rf"{_BARE.pattern}|{_NAME} ?<{_BARE.pattern}>")


def _no_boolean(value: Any) -> Any:
    # Python's True is an int, and pydantic would take it for 1.
    if isinstance(value, bool):
        raise ValueError("must be a number")  # noqa: TRY004 - pydantic collects ValueErrors only
    return value


def _empty_is_none(value: Any) -> Any:
    # TOML has no null: an empty string is how a file says "none".
    return None if value == "" else value


def _numbers(value: Any) -> Any:
    # An environment variable has no lists: 60,300,900.
    return value.strip("[] ").split(",") if isinstance(value, str) else value


def _expanded(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError("needs an absolute path: this user has no home directory") from None


def _contact_query(value: str) -> str:
    if ":contact_ids" not in value:
        raise ValueError('must say which contacts: "... WHERE id IN :contact_ids"')
    return value


def _contact_url(value: SecretStr) -> SecretStr:
    if "://" not in value.get_secret_value():
        raise ValueError('must be a database URL, such as "sqlite:///contacts.db"')
    return value


def _address(value: str) -> str:
    if value and not _MAILBOX.fullmatch(value):
        raise ValueError('must be an address, such as "news@example.com" or "News <news@example.com>"')
    return value


def _bare_address(value: str) -> str:
    if value and not _BARE.fullmatch(value):
        raise ValueError('must be an address without a name, such as "bounces@example.com"')
    return value


def _web_url(value: str) -> str:
    parts = urlsplit(value)
    if value and (parts.scheme not in ("http", "https") or not parts.hostname):
        raise ValueError('must be the URL of a server, such as "https://email.eu-west-1.amazonaws.com"')
    return value


def _redis_url(value: SecretStr) -> SecretStr:
    check_redis_url(value.get_secret_value())
    return value


Whole = Annotated[int, BeforeValidator(_no_boolean)]
Number = Annotated[float, BeforeValidator(_no_boolean), Field(allow_inf_nan=False)]
Count = Annotated[Whole, Field(ge=0)]
Positive = Annotated[Whole, Field(ge=1)]
Seconds = Annotated[Number, Field(ge=0)]
Span = Annotated[Number, Field(gt=0)]
Folder = Annotated[Path, AfterValidator(_expanded), Field(validate_default=True)]
OptionalPath = Annotated[Annotated[Path, AfterValidator(_expanded)] | None, BeforeValidator(_empty_is_none)]
Delays = Annotated[tuple[Span, ...], Field(min_length=1), BeforeValidator(_numbers)]
Mailbox = Annotated[str, AfterValidator(_address)]
BareAddress = Annotated[str, AfterValidator(_bare_address)]
WebUrl = Annotated[str, AfterValidator(_web_url)]
RedisUrl = Annotated[SecretStr, AfterValidator(_redis_url)]
ContactUrl = Annotated[SecretStr, AfterValidator(_contact_url)]
ContactQuery = Annotated[str, AfterValidator(_contact_query)]


class Section(BaseModel):
    """What all sections share: frozen, and no key that nobody knows."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
