"""
The rules of Redis addresses and what may be shown of a URL that holds a password.

Pure string work; opens no connection. Used by the configuration, and by whoever shows a URL.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

_SENTINEL = {"redis+sentinel": "redis", "rediss+sentinel": "rediss"}
_SCHEMES = ("redis", "rediss", "unix", *_SENTINEL)
_SENTINEL_PORT = 26379
_SENTINEL_FORM = "redis+sentinel://host:26379,host2:26379/mymaster/0"
_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:/@\s]+):(\d{1,5})")
_SENTINEL_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:/@\s]+)(?::(\d{1,5}))?")
_USER = re.compile(r"(?<=://).*@", re.DOTALL)
_PASSWORD_QUERY = re.compile(r"([?&][^=&]*pass[^=&]*=)[^&]*", re.IGNORECASE)


def check_redis_url(url: str) -> None:
    """
    Whether ``url`` can be a Redis URL.

    Raises ``ValueError`` with a sentence that does not repeat the URL, since it may hold a password.
    """
    scheme, separator, rest = url.partition("://")
    if scheme not in _SCHEMES or not separator or not rest:
        raise ValueError("must be a redis://, rediss://, unix:// or redis+sentinel:// URL")
    if scheme == "unix":
        return
    if scheme in _SENTINEL:
        url = parse_sentinel_url(url).server
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("must be a URL with a port from 0 to 65535: redis://host:6379/0") from None
    if not host:
        raise ValueError("must name a host: redis://host:6379/0")
    database = parts.path.strip("/")
    if database and not database.isdecimal():
        raise ValueError("must end with the number of a database: redis://host:6379/0")


@dataclass(frozen=True, slots=True)
class SentinelUrl:
    """
    What a URL with sentinels says: whom to ask, for which master, and how to talk to the servers.

    ``server`` is the URL of any of the servers but for its host, which the sentinels tell.
    """

    sentinels: tuple[tuple[str, int], ...]
    master: str
    server: str


def is_sentinel_url(url: str) -> bool:
    """Whether the URL names sentinels instead of a server."""
    return url.partition("://")[0] in _SENTINEL


def parse_sentinel_url(url: str) -> SentinelUrl:
    """
    Take ``redis+sentinel://[user:password@]host[:port][,host…]/master[/database][?options]`` apart.

    Raises ``ValueError`` with a sentence that does not repeat the URL.
    """
    scheme, _, rest = url.partition("://")
    place, _, options = rest.partition("?")
    address, _, path = place.partition("/")
    user, at, hosts = address.rpartition("@")
    found = [_SENTINEL_HOST.fullmatch(host) for host in hosts.split(",")]
    sentinels = [(match[1].strip("[]"), int(match[2] or _SENTINEL_PORT)) for match in found if match]
    if len(sentinels) < len(found) or any(port > 65535 for _, port in sentinels):  # noqa: PLR2004 - the highest port
        raise ValueError(f"must name each sentinel as host or host:port: {_SENTINEL_FORM}")
    master, _, database = path.partition("/")
    if not master:
        raise ValueError(f"must name the master that the sentinels watch: {_SENTINEL_FORM}")
    server = f"{_SENTINEL[scheme]}://{user}{at}master/{database}"
    return SentinelUrl(tuple(sentinels), master, f"{server}?{options}" if options else server)


def apply_redis_addr(address: str, url: str) -> str:
    """
    The URL that ``REDIS_ADDR=address`` makes of the configured ``url``.

    ``host:port`` (also ``[::1]:6379``) replaces host and port and keeps scheme, user, password and database;
    a URL replaces everything. Where the URL names sentinels, ``host:port`` is a server that needs none.
    Raises ``ValueError`` where ``address`` is neither.
    """
    if address.partition("://")[0] in _SCHEMES:
        check_redis_url(address)
        return address
    match = _HOST_PORT.fullmatch(address)
    if not match or int(match[2]) > 65535:  # noqa: PLR2004 - the highest port
        shown = "" if "@" in address else f", not {address!r}"
        raise ValueError(f"must be host:port or a redis://, rediss:// or unix:// URL{shown}")
    if url.startswith("unix:"):
        return f"redis://{address}/0"
    parts = urlsplit(parse_sentinel_url(url).server if is_sentinel_url(url) else url)
    user, at, _ = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}{at}{address}"))


def scrub(url: str) -> str:
    """``url`` as it may be shown: without user and password."""
    return _PASSWORD_QUERY.sub(r"\1***", _USER.sub("***@", url, count=1))


def is_loopback(host: str) -> bool:
    """Whether a connection to ``host`` stays on this machine, as far as the text tells."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
