"""The links of a mail: found in its HTML or its text, and judged one by one. Pure; used by ``mails.py``."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from html import unescape
from urllib.parse import urlsplit

from mailerd.preflight.findings import Remark, Severity

_IN_HTML = re.compile(
    r"""<(?:a|area|img)\b[^>]*?\s(?:href|src)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>"']+))""", re.IGNORECASE
)
_IN_TEXT = re.compile(r"""\bhttps?://[^\s<>"'\])]+""", re.IGNORECASE)
_NO_PAGES = frozenset({"mailto", "tel", "sms", "cid", "data"})
# What stays in a mail where nothing was put in its place: Jinja, mail merge, shells.
PLACEHOLDER = re.compile(r"\{\{|\{%|%7B%7B|\*\|\w|%%\w+%%|\$\{", re.IGNORECASE)
_HERE = (".localhost", ".local", ".internal", ".test", ".invalid")

OPEN = Remark(
    Severity.PROBLEM,
    "link.placeholder",
    "a link has a placeholder in it that nothing was put into",
    "write the variable as {{ name }} in the template; values are not rendered",
)
EMPTY = Remark(
    Severity.PROBLEM, "link.empty", "a link is empty or leads nowhere", "give it an address, or take it out"
)
RELATIVE = Remark(
    Severity.PROBLEM,
    "link.relative",
    "a link is relative, and a mail has no page that it could be relative to",
    "write it whole: https://example.com/page",
)
PRIVATE = Remark(
    Severity.PROBLEM,
    "link.private",
    "a link leads to a host that its reader cannot reach",
    "put the public name there",
)
UNENCRYPTED = Remark(
    Severity.WARNING,
    "link.http",
    "a link is http, which readers are warned of and proxies can change",
    "write https://",
)


def in_html(html: str) -> list[str]:
    """Where its links and pictures lead, each once."""
    found = ("".join(groups) for groups in _IN_HTML.findall(html))
    return list(dict.fromkeys(unescape(link).strip() for link in found))


def in_text(text: str) -> list[str]:
    """The web addresses in a text, each once."""
    return list(dict.fromkeys(link.rstrip(".,;:!?") for link in _IN_TEXT.findall(text)))


@lru_cache(maxsize=4096)
def remark_on(link: str) -> Remark | None:
    """What is wrong with a link, if anything."""
    if PLACEHOLDER.search(link):
        return OPEN
    if link in ("", "#") or link.lower().startswith("javascript:"):
        return EMPTY
    try:
        parts = urlsplit(link)
        host = (parts.hostname or "").rstrip(".")
    except ValueError:
        return EMPTY
    if parts.scheme in _NO_PAGES or link.startswith("#"):
        return None
    if not parts.scheme:
        return RELATIVE
    return _of_web(parts.scheme, host)


def _of_web(scheme: str, host: str) -> Remark | None:
    if scheme not in ("http", "https"):
        return None  # an app's own scheme
    if not host:
        return EMPTY
    if _is_private(host):
        return PRIVATE
    return UNENCRYPTED if scheme == "http" else None


def _is_private(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return "." not in host or f".{host}".endswith(_HERE)
