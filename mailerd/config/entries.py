"""
The settings that are lists of tables: ``[[api.keys]]`` and ``[[mail.dkim]]``.

Pure. Each is also one line in a variable or a credential, since these have no tables. Used by ``model.py``,
and by whoever is handed an entry.
"""

from __future__ import annotations

import re
from email.utils import parseaddr
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, SecretStr, model_validator

from mailerd.config.kinds import OptionalPath, Section

EVERY_CLIENT = "*"

_CLIENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}")
_SHA256 = re.compile("[0-9a-f]{64}")
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9])?)*")


def _api_keys(value: Any) -> Any:
    # client:sha256,client:sha256
    if not isinstance(value, str):
        return value
    pairs = (pair.partition(":") for pair in value.split(",") if pair.strip())
    return [{"client_id": client.strip(), "sha256": digest.strip()} for client, _, digest in pairs]


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


ApiKeys = Annotated[tuple[ApiKey, ...], BeforeValidator(_api_keys), AfterValidator(_all_different)]
DkimKeys = Annotated[tuple[Dkim, ...], BeforeValidator(_dkim_keys)]
