"""
Under which of the configured domains' limits an address falls: by its domain, or by its mail servers' names.

The room of dnspython, which is imported only where a limit names ``mx``. A resolver that does not answer
within 2 s is left alone for a minute; then addresses fall under limits by their domain only. Made with the
transport, asked by the limiter.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

from mailerd.clock import Clock, SystemClock
from mailerd.config import DomainLimit

log = logging.getLogger(__name__)

PATIENCE = 2.0  # seconds
LEFT_ALONE = 60.0
# What was found holds so long (seconds), for at most so many domains.
HOLDS = 3600.0
MOST = 10_000


class Domains:
    """The limits of ``limits.domains``; for one thread at a time."""

    def __init__(self, limits: Sequence[DomainLimit], clock: Clock | None = None) -> None:
        self._names = {limit.domain for limit in limits}
        self._suffixes = [(f".{limit.mx}", limit.domain) for limit in limits if limit.mx]
        self._clock = clock or SystemClock()
        self._found: dict[str, tuple[float, str]] = {}
        self._not_before = -math.inf

    def of(self, address: str) -> str:
        """The domain whose limit the address falls under; '' for none."""
        domain = address.rpartition("@")[2].lower()
        if domain in self._names:
            return domain
        return self._by_servers(domain) if self._suffixes else ""

    def _by_servers(self, domain: str) -> str:
        now = self._clock.monotonic()
        until, found = self._found.get(domain, (-math.inf, ""))
        if now < until or now < self._not_before:
            return found
        servers = self._servers(domain, now)
        if servers is None:
            return found
        found = next(
            (name for suffix, name in self._suffixes if any(f".{one}".endswith(suffix) for one in servers)),
            "",
        )
        if len(self._found) >= MOST:
            self._found.clear()
        self._found[domain] = now + HOLDS, found
        return found

    def _servers(self, domain: str, now: float) -> list[str] | None:
        """The names of a domain's mail servers; None where nobody can tell."""
        import dns.exception  # noqa: PLC0415 - see above
        import dns.resolver  # noqa: PLC0415 - see above

        try:
            answer = dns.resolver.resolve(domain, "MX", lifetime=PATIENCE)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer, dns.exception.SyntaxError):
            return []
        except (dns.exception.DNSException, OSError) as error:
            self._not_before = now + LEFT_ALONE
            log.warning(
                "The DNS does not say who takes mail for %s; limits go by domain for a minute: %s",
                domain,
                " ".join(str(error).split()),
                extra={"event": "limit.no_dns"},
            )
            return None
        return [record.exchange.to_text(omit_final_dot=True).lower() for record in answer]
