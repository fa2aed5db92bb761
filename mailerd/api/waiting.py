"""
Back-pressure: a request that waited too long for a thread is refused instead of worked on.

waitress queues without a bound and never refuses. ``channel.py`` notes in the WSGI environment how long a
request waited; the middleware here turns too long into a 503. So a Redis that hangs costs each client one
time-out and not the sum of everybody's. How many wait does not matter: connections are bounded, and a long
queue that moves is no reason to send anybody away.
"""

from __future__ import annotations

from typing import Any

import falcon

from mailerd.api.problems import unavailable

WAITED = "mailerd.waited"  # seconds between the request's arrival and its task thread
# With the 2.4 s that the queue gives an absent Redis, every client has its answer within 3 s.
MAX_WAITED = 0.6
RETRY_AFTER = 1


class Shedding:
    """Falcon middleware: refuses what came too late; the ``exempt`` resources always answer."""

    def __init__(self, exempt: tuple[type, ...]) -> None:
        self._exempt = exempt

    def process_resource(
        self, req: falcon.Request, _resp: falcon.Response, resource: object, _params: dict[str, Any]
    ) -> None:
        """Raise the 503 before the resource is asked."""
        if req.env.get(WAITED, 0) > MAX_WAITED and not isinstance(resource, self._exempt):
            raise unavailable("too many requests at once", RETRY_AFTER)
