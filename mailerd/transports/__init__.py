"""
The ways out, and which one the configuration asks for.

``session.py`` says what a transport is. Opened by each worker, after its fork.
"""

from __future__ import annotations

from mailerd.config import Config
from mailerd.transports.session import Begin, Session, Transport

__all__ = ["Begin", "Session", "Transport", "open_transport"]


def open_transport(config: Config) -> Transport | None:
    """
    The transport that ``mail.transport`` names; None for ``none``, which hands nothing over.

    Raises ``ConfigurationError`` where it cannot be used. What is not used is not imported.
    """
    if config.mail.transport == "outbox":
        from mailerd.transports.outbox import OutboxTransport  # noqa: PLC0415 - see above

        return OutboxTransport(config.outbox)
    if config.mail.transport == "smtp" and config.smtp is not None:
        from mailerd.transports.smtp import SmtpTransport  # noqa: PLC0415 - see above

        return SmtpTransport(config.smtp)
    return None
