"""
The ways out, and which one the configuration asks for.

``session.py`` says what a transport is. Opened by each worker, after its fork.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mailerd.clock import SystemClock
from mailerd.config import Config, Ses
from mailerd.errors import ConfigurationError, Problem
from mailerd.outcome import Allowance
from mailerd.transports.domains import Domains
from mailerd.transports.session import HandOvers, Session, Transport

if TYPE_CHECKING:
    from mailerd.transports.ses import SesTransport

__all__ = [
    "Domains",
    "HandOvers",
    "Session",
    "Transport",
    "account_of",
    "open_ses",
    "open_transport",
]


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

        return SmtpTransport(config.smtp, SystemClock())
    if config.mail.transport == "ses":
        return open_ses(config)
    return None


def account_of(transport: Transport) -> Callable[[], Allowance | None] | None:
    """How to ask what the transport's account grants; None where it has none that says so."""
    return getattr(transport, "allowance", None)


def open_ses(config: Config) -> SesTransport:
    """The transport ``ses``; raises ``ConfigurationError`` where it cannot be used, or boto3 is not there."""
    try:
        from mailerd.transports.ses import SesTransport  # noqa: PLC0415 - see above
    except ModuleNotFoundError as error:
        if error.name not in ("boto3", "botocore"):
            raise
        problem = Problem("mail.transport", "\"ses\" needs more packages: pip install 'mailerd[ses]'")
        raise ConfigurationError([problem]) from None
    return SesTransport(config.ses or Ses(), config.workers.connections, SystemClock())
