"""
Signature version 4, checked as AWS documents it, without botocore, so that it vouches for botocore.

Used by ``fake_ses``.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote, unquote, urlsplit

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 "
    r"Credential=(?P<key>[^/]+)/(?P<day>\d{8})/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request, ?"
    r"SignedHeaders=(?P<headers>[a-z0-9;-]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)
_TOLERANCE = 300.0  # seconds


@dataclass(frozen=True)
class Request:
    """One request as it came; the names of ``headers`` in small letters."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Guard:
    """Who may come in: secrets by access key, and session tokens for keys that need one."""

    secrets: Mapping[str, str]
    tokens: Mapping[str, str]
    region: str
    service: str = "ses"

    def complaint(self, request: Request, now: datetime) -> tuple[str, str] | None:
        """Error code and text of what is wrong with the request's signature; None if nothing."""
        said = _AUTHORIZATION.fullmatch(request.headers.get("authorization", ""))
        if not said:
            return "MissingAuthenticationTokenException", "Missing Authentication Token"
        if said["key"] not in self.secrets:
            return "UnrecognizedClientException", "The security token included in the request is invalid."
        if request.headers.get("x-amz-security-token", "") != self.tokens.get(said["key"], ""):
            return "ExpiredTokenException", "The security token included in the request is expired"
        wrong = self._wrong(said, request, now)
        return ("InvalidSignatureException", wrong) if wrong else None

    def _wrong(self, said: re.Match[str], request: Request, now: datetime) -> str:
        stamp = request.headers.get("x-amz-date", "")
        if (said["day"], said["region"], said["service"]) != (stamp[:8], self.region, self.service):
            return f"Credential should be scoped to {self.region}/{self.service}"
        dated = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if abs((dated - now).total_seconds()) > _TOLERANCE:
            return "Signature expired"
        names = said["headers"].split(";")
        if not {"host", "x-amz-date"} <= set(names) or names != sorted(names):
            return "host and x-amz-date must be signed, in order"
        if not hmac.compare_digest(self._signature(request, stamp, names, said["key"]), said["signature"]):
            return "The request signature we calculated does not match"
        return ""

    def _signature(self, request: Request, stamp: str, names: list[str], key: str) -> str:
        scope = f"{stamp[:8]}/{self.region}/{self.service}/aws4_request"
        digest = hashlib.sha256(_canonical(request, names).encode()).hexdigest()
        secret = b"AWS4" + self.secrets[key].encode()
        for part in scope.split("/"):
            secret = hmac.digest(secret, part.encode(), "sha256")
        return hmac.digest(secret, f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}".encode(), "sha256").hex()


def _canonical(request: Request, names: list[str]) -> str:
    parts = urlsplit(request.target)
    query = sorted(
        (quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in parse_qsl(parts.query)
    )
    lines = [
        request.method,
        quote(quote(unquote(parts.path), safe="/-_.~"), safe="/-_.~"),
        "&".join(f"{name}={value}" for name, value in query),
        *(f"{name}:{' '.join(request.headers.get(name, '').split())}" for name in names),
        "",
        ";".join(names),
        hashlib.sha256(request.body).hexdigest(),
    ]
    return "\n".join(lines)
