"""
The kit of a worker: what it works with and what can be made before the fork, for all of them.

Nothing in it is connected. Made by ``wiring``, used by the worker.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mailerd.config import Config
from mailerd.contacts import ContactSource, open_contacts
from mailerd.queue.limiter import Outside
from mailerd.transports import Domains, Session, account_of, open_transport
from mailerd.work.letters import Letters


@dataclass(frozen=True, slots=True)
class Kit:
    """
    What a worker works with.

    ``session`` has ``workers.connections``; there is none where the transport is ``none``. ``troubles`` are
    the transport's.
    """

    contacts: ContactSource
    letters: Letters
    session: Session | None
    troubles: Callable[[], Mapping[str, str]]
    outside: Outside

    @classmethod
    def of(cls, config: Config) -> Kit:
        """The kit for this configuration. Raises ``ConfigurationError`` where a part of it cannot be made."""
        transport = open_transport(config)
        session = transport.session(config.workers.connections) if transport else None
        troubles = transport.troubles if transport else dict
        outside = Outside(account_of(transport) if transport else None, Domains(config.limits.domains).of)
        return cls(open_contacts(config), Letters(config), session, troubles, outside)
