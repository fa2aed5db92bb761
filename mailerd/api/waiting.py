"""
Back-pressure: a request that waited too long, or in too long a queue, is refused instead of worked on.

waitress queues without a bound and never refuses. ``channel.py`` notes in the WSGI environment how long a
request waited for a task thread and how many wait behind it; the middleware here turns that into a 503.
So a Redis that hangs costs each client one time-out and not the sum of everybody's.
"""

from __future__ import annotations

from typing import Any

import falcon

from mailerd.api.problems import unavailable

WAITED = "mailerd.waited"  # seconds between the request's arrival and its task thread
WAITING = "mailerd.waiting"  # requests that still wait for a task thread, for each thread there is
MAX_WAITED = 1.0
MAX_WAITING = 4.0
RETRY_AFTER = 1


class Shedding:
    """Falcon middleware: refuses what came too late; the ``exempt`` resources always answer."""

    def __init__(self, exempt: tuple[type, ...]) -> None:
        self._exempt = exempt

    def process_resource(
        self, req: falcon.Request, _resp: falcon.Response, resource: object, _params: dict[str, Any]
    ) -> None:
        """Raise the 503 before the resource is asked."""
        if isinstance(resource, self._exempt):
            return
        if req.env.get(WAITED, 0) > MAX_WAITED or req.env.get(WAITING, 0) > MAX_WAITING:
            raise unavailable("too many requests at once", RETRY_AFTER)
