"""
``GET /healthz`` and ``/readyz``: whether the daemon lives, and whether jobs should be sent to it.

Neither needs a key. Routed by ``app.py``.
"""

from __future__ import annotations

from collections.abc import Callable

import falcon

from mailerd.api.bodies import as_json
from mailerd.api.ports import Gate
from mailerd.api.problems import unavailable


class Health:
    """``GET /healthz``: the process is alive and its server turns."""

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Answer, which is all there is to prove."""
        resp.data = as_json({"status": "alive"})

    on_head = on_get


class Readiness:
    """``GET /readyz``: whether new jobs should be sent here."""

    def __init__(self, gate: Gate, reachable: Callable[[], bool]) -> None:
        self._gate = gate
        self._reachable = reachable

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """200, or 503 with the reason."""
        if self._gate.draining:
            raise unavailable("mailerd is stopping")
        if not self._gate.ready:
            raise unavailable(self._gate.reason)
        if not self._reachable():
            raise unavailable("Redis does not answer")
        resp.data = as_json({"status": "ready"})

    on_head = on_get
