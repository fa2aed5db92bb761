"""
The transport ``smtp``: one server, or several, and what each worker's session shares.

Opened by ``open_transport``; who hands the mails over is ``smtp_session.py``.
"""

from __future__ import annotations

from mailerd.clock import Clock
from mailerd.config import Smtp
from mailerd.transports.relays import Relays
from mailerd.transports.replies import ReplyTable
from mailerd.transports.smtp_session import SmtpSession


class SmtpTransport:
    """One server, or several. Raises ``ConfigurationError`` where a ``ca_file`` holds no certificates."""

    name = "smtp"

    def __init__(self, settings: Smtp, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._relays = Relays(settings, clock)
        self._table = ReplyTable(settings.replies)
        self._suspects: set[str] = set()

    def session(self, connections: int) -> SmtpSession:
        """See ``Transport``."""
        bounds = connections, self._settings.mails_per_connection
        return SmtpSession(bounds, self._relays, self._table, self._suspects, self._clock)

    def troubles(self) -> dict[str, str]:
        """See ``Transport``."""
        return self._relays.troubles()

    def trouble(self) -> str:
        """See ``Transport``: mails go out as long as one server lets us in."""
        troubles = [relay.trouble() for relay in self._relays.all]
        return "; ".join(troubles) if all(troubles) else ""
