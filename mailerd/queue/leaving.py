"""
Connections that are given up when their server turns out to be no master, or not any more.

The next one asks the sentinels, or the name service, where the master is now. Used by ``connection.py`` and
``sentinels.py`` alone.
"""

from __future__ import annotations

import re
from typing import Any

import redis
from redis.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection

# An older server's script tells the code somewhere inside.
_NO_MASTER = re.compile(r"(?:^|[ -])(READONLY|UNBLOCKED|NOREPLICAS|MASTERDOWN)\b")


class Leaving(AbstractConnection):
    """What such connections have in common."""

    def read_response(self, *arguments: Any, **options: Any) -> Any:
        """One reply; after one of a server that takes no writes the connection is closed."""
        try:
            return super().read_response(*arguments, **options)
        except redis.ResponseError as error:
            if isinstance(error, redis.ReadOnlyError) or _NO_MASTER.search(str(error)):
                self.disconnect()  # type: ignore[no-untyped-call] # redis-py's
            raise


class TcpConnection(Leaving, Connection):
    """For redis:// URLs."""


class TlsConnection(Leaving, SSLConnection):
    """For rediss:// URLs."""


class SocketConnection(Leaving, UnixDomainSocketConnection):
    """For unix:// URLs."""


CLASSES = {"redis": TcpConnection, "rediss": TlsConnection, "unix": SocketConnection}
