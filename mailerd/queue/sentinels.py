"""
Servers behind Redis Sentinel: whoever is master now is asked for at each new connection.

redis-py's own pool does that; here is what it asks, so that threads may share it, nobody waits long for a
sentinel that is gone, and what is wrong is said. Called by ``connection.py`` alone; imported only where the
configured URL names sentinels.
"""

from __future__ import annotations

from typing import Any

import redis
from redis.sentinel import (
    MasterNotFoundError,
    Sentinel,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)

from mailerd.config.urls import SentinelUrl
from mailerd.queue.leaving import Leaving

# Seconds for each sentinel: there are several, and whoever waits for all of them waits for a master too.
LONGEST_ANSWER = 0.5


class _Connection(Leaving, SentinelManagedConnection):
    """To whoever is master."""


class _TlsConnection(Leaving, SentinelManagedSSLConnection):
    """To whoever is master, encrypted."""


class _Sentinels(Sentinel):
    """The sentinels of one master; the one that answered last is asked first."""

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """Where the master is. Raises ``MasterNotFoundError``, which says what each sentinel says."""
        said = []
        for sentinel in self.sentinels:
            state = self._ask(sentinel, service_name)
            if not isinstance(state, str):
                # Replaced and not changed in place: other threads may be looking through it.
                self.sentinels = [sentinel, *(one for one in self.sentinels if one is not sentinel)]
                return state["ip"], state["port"]
            said.append(f"{_place(sentinel)} {state}")
        raise MasterNotFoundError(f"no sentinel names the master {service_name}: {'; '.join(said)}")

    def _ask(self, sentinel: Any, name: str) -> Any:
        """What one sentinel knows of the master, or in words why that does not help."""
        try:
            state = sentinel.sentinel_master(name)
        except redis.AuthenticationError as error:
            raise redis.AuthenticationError(
                f"the sentinel {_place(sentinel)} says {error}; set redis.sentinel_password"
            ) from error
        except (redis.ConnectionError, redis.TimeoutError) as error:
            return f"does not answer ({' '.join(str(error).split())})"
        except redis.ResponseError as error:
            return f"says {error}"
        is_up: bool = self.check_master_state(state, name)  # type: ignore[no-untyped-call] # redis-py's
        return state if is_up else "says that it is down"


def master_of(url: SentinelUrl, password: str, options: dict[str, Any]) -> redis.Redis:
    """A client of that master; ``options`` are those of its connections. Nothing is sent yet."""
    encrypted = url.server.startswith("rediss:")
    patience = min(LONGEST_ANSWER, options["socket_timeout"])
    asking = {
        **{name: options[name] for name in ("retry", "protocol", "driver_info")},
        **{name: value for name, value in options.items() if name.startswith("ssl_")},
        "socket_timeout": patience,
        "socket_connect_timeout": patience,
        "password": password or None,
        "ssl": encrypted,
    }
    sentinels: Any = _Sentinels(url.sentinels, sentinel_kwargs=asking)  # type: ignore[no-untyped-call] # redis-py's
    connection = _TlsConnection if encrypted else _Connection
    made: redis.Redis = sentinels.master_for(url.master, connection_class=connection, **options)
    return made


def _place(sentinel: Any) -> str:
    options = sentinel.connection_pool.connection_kwargs
    return f"{options['host']}:{options['port']}"
