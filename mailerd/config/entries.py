"""
The settings that are lists of tables, such as ``[[api.keys]]`` and ``[[limits.clients]]``.

Pure. Each is also one line in a variable or a credential, since these have no tables. Used by ``model.py``,
and by whoever is handed an entry.
"""

from __future__ import annotations

import json
import re
from email.utils import parseaddr
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from mailerd.config.kinds import Count, OptionalPath, Positive, Seconds, Section

EVERY_CLIENT = "*"

Tls = Literal["starttls", "implicit", "none"]

_CLIENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}")
_SHA256 = re.compile("[0-9a-f]{64}")
_CODE = re.compile(r"[45]\d{0,2}")
_ENHANCED = re.compile(r"[45](\.\d{1,3}){0,2}")
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9])?)*")


def _api_keys(value: Any) -> Any:
    # client:sha256,client:sha256
    if not isinstance(value, str):
        return value
    pairs = (pair.partition(":") for pair in value.split(",") if pair.strip())
    return [{"client_id": client.strip(), "sha256": digest.strip()} for client, _, digest in pairs]


def _client(value: str) -> str:
    if not _CLIENT.fullmatch(value):
        raise ValueError("must be a client id")
    return value


def _client_or_all(value: str) -> str:
    if value != EVERY_CLIENT and not _CLIENT.fullmatch(value):
        raise ValueError(f'must be a client id, or "{EVERY_CLIENT}" for a key that opens every client\'s')
    return value


def _sha256(value: SecretStr) -> SecretStr:
    digest = value.get_secret_value().lower()
    if not _SHA256.fullmatch(digest):
        raise ValueError("must be the 64 hex digits that mailerd key create prints, not the token itself")
    return SecretStr(digest)


def _all_different(keys: tuple[ApiKey, ...]) -> tuple[ApiKey, ...]:
    if len({key.sha256.get_secret_value() for key in keys}) < len(keys):
        raise ValueError("has one sha256 twice: every key needs a token of its own")
    return keys


def _dkim_keys(value: Any) -> Any:
    # domain:selector:key_file,domain:selector:key_file
    if not isinstance(value, str):
        return value
    entries = (entry.split(":", 2) for entry in value.split(",") if entry.strip())
    names = ("domain", "selector", "key_file")
    return [dict(zip(names, map(str.strip, entry), strict=False)) for entry in entries]


def _json_like(example: str) -> BeforeValidator:
    """For entries whose one line is JSON."""
    return BeforeValidator(lambda value: _from_json(value, example))


def _from_json(value: Any, example: str) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value or "[]")
    except ValueError:
        raise ValueError(f"must be JSON on one line: {example}") from None


def relay_tables(value: Any) -> Any:
    """``smtp.relays`` as a list of tables, where it is one line of JSON."""
    return _from_json(value, '[{"host": "smtp2.example.com"}]')


def _code(value: Any) -> Any:
    code = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(code, str) or (code and not _CODE.fullmatch(code)):
        raise ValueError("must be a code that refuses, such as 550, or its beginning: 55 or 5")
    return code


def _enhanced(value: Any) -> Any:
    if not isinstance(value, str) or (value and not _ENHANCED.fullmatch(value)):
        raise ValueError('must be an enhanced code that refuses, such as "5.7.1", or its beginning: "5.7"')
    return value


def _dns_name(value: str) -> str:
    name = value.lower().rstrip(".")
    if not _NAME.fullmatch(name):
        raise ValueError("must be a name as it stands in the DNS, an international one in its xn-- form")
    return name


class ApiKey(Section):
    """Who may come in: the bearer of the token with this SHA-256 acts for this client, or for every one."""

    client_id: Annotated[str, AfterValidator(_client_or_all)]
    sha256: Annotated[SecretStr, AfterValidator(_sha256)]


DnsName = Annotated[str, AfterValidator(_dns_name)]


class Dkim(Section):
    """A key that signs what is sent from a domain and those below it: PEM, in ``key`` or in ``key_file``."""

    domain: DnsName
    selector: DnsName
    key: SecretStr = SecretStr("")
    key_file: OptionalPath = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Dkim:
        if bool(self.key) == bool(self.key_file):
            raise ValueError("needs the private key, in key_file or in key")
        return self

    def covers(self, mailbox: str) -> bool:
        """Whether it signs mail from this address, or from ``Name <address>``."""
        domain = parseaddr(mailbox)[1].rpartition("@")[2].lower()
        return f".{domain}".endswith(f".{self.domain}")


class SmtpReply(Section):
    """
    What a server's refusal means here: a row that fits it comes before what mailerd knows of itself.

    It fits where all hold that are given: the beginning of the code, that of the enhanced code, and a text
    that stands somewhere in the reply, in capital or small letters.
    """

    code: Annotated[str, BeforeValidator(_code)] = ""
    enhanced: Annotated[str, BeforeValidator(_enhanced)] = ""
    text: Annotated[str, Field(max_length=200)] = ""
    means: Literal["deferred", "failed", "throttle", "quota", "route", "outage"]
    wait: Seconds = 0.0

    @model_validator(mode="after")
    def _fits_something(self) -> SmtpReply:
        if not (self.code or self.enhanced or self.text.strip()):
            raise ValueError("needs a code, an enhanced code or a text to know the reply by")
        if self.code and self.enhanced and self.code[0] != self.enhanced[0]:
            raise ValueError("fits nothing: code and enhanced begin with the same digit")
        if self.wait and self.means != "deferred":
            raise ValueError('has a wait, which is for means = "deferred" only')
        return self

    def __str__(self) -> str:
        """On one line, for people."""
        words = filter(None, (self.code, self.enhanced, self.text and f'"{self.text}"'))
        return f"{' '.join(words)}: {self.means}" + (f", {self.wait:g} s" if self.wait else "")


class SmtpRelay(Section):
    """A further server for mail: what is not given is as ``[smtp]`` says, see ``Smtp.servers``."""

    host: Annotated[str, Field(min_length=1)]
    tls: Tls = "starttls"
    port: Annotated[Positive, Field(le=65535)] = 587
    username: str = ""
    password: SecretStr = SecretStr("")
    password_file: OptionalPath = None
    ca_file: OptionalPath = None

    def __str__(self) -> str:
        """On one line, for people."""
        shown = {name: getattr(self, name) for name in ("port", "tls", "username") if name in self.given}
        return " ".join([self.host, *(f"{name}={value}" for name, value in shown.items())])

    @property
    def given(self) -> dict[str, Any]:
        """What was said of it, by name; a password is the given user's alone."""
        given = {name: getattr(self, name) for name in self.model_fields_set - {"password_file"}}
        return {"password": SecretStr(""), **given} if "username" in given else given


class Limit(Section):
    """At most so many mails in any second, and in any 24 hours; 0: any number."""

    per_second: Seconds = 0.0
    per_day: Count = 0

    def __str__(self) -> str:
        """On one line, for people."""
        return self.model_dump_json(exclude_defaults=True)


class _LimitOf(Limit):
    @model_validator(mode="after")
    def _limits_something(self) -> _LimitOf:
        if not (self.per_second or self.per_day):
            raise ValueError("limits nothing: needs per_second, per_day or both")
        return self


class ClientLimit(_LimitOf):
    """A limit for all mails of one client."""

    client_id: Annotated[str, AfterValidator(_client)]


class DomainLimit(_LimitOf):
    """A limit for all mails to one domain, and with ``mx`` to those whose mail servers' names end with it."""

    domain: DnsName
    mx: Annotated[str, AfterValidator(lambda value: _dns_name(value) if value else value)] = ""


def _once_each(limits: tuple[Any, ...], name: str) -> tuple[Any, ...]:
    names = [getattr(limit, name) for limit in limits]
    for one in names:
        if names.count(one) > 1:
            raise ValueError(f"has {one} twice: each {name} has one limit")
    return limits


ApiKeys = Annotated[tuple[ApiKey, ...], BeforeValidator(_api_keys), AfterValidator(_all_different)]
DkimKeys = Annotated[tuple[Dkim, ...], BeforeValidator(_dkim_keys)]
SmtpReplies = Annotated[
    # A text may have any character in it.
    tuple[SmtpReply, ...], _json_like('[{"code": 550, "text": "relay access denied", "means": "route"}]')
]
SmtpRelays = Annotated[tuple[SmtpRelay, ...], BeforeValidator(relay_tables)]
ClientLimits = Annotated[
    tuple[ClientLimit, ...],
    _json_like('[{"client_id": "shop", "per_second": 5}]'),
    AfterValidator(lambda limits: _once_each(limits, "client_id")),
]
DomainLimits = Annotated[
    tuple[DomainLimit, ...],
    _json_like('[{"domain": "example.com", "per_second": 5}]'),
    AfterValidator(lambda limits: _once_each(limits, "domain")),
]
