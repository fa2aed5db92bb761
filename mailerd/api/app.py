"""
The application: which path is answered by what, and what is refused before it gets there.

A plain WSGI application without a socket; ``server.py`` carries it, and tests call it directly.
"""

from __future__ import annotations

from typing import Any

import falcon

from mailerd.api import problems
from mailerd.api.access import Access, Keyring
from mailerd.api.batches import Act, Batch, BatchList, Lookup, Recipients
from mailerd.api.docs import Docs
from mailerd.api.dry_run import DryRun
from mailerd.api.health import Health, Readiness
from mailerd.api.intake import Bulk, Intake, Queue, QueueTest
from mailerd.api.metrics import Metrics
from mailerd.api.openapi import Description, describe
from mailerd.api.ports import Ports
from mailerd.queue.model import Action

App = falcon.App[falcon.Request, falcon.Response]

# What needs no key.
OPEN_TO_ALL = (Health, Readiness, Description, Docs)


def create_app(ports: Ports, keyring: Keyring, max_body_bytes: int) -> App:
    """The application over these ports; a body may have ``max_body_bytes`` and no more."""
    app = falcon.App()
    app.add_middleware(Access(keyring, OPEN_TO_ALL))
    app.add_middleware(KnownMethods())
    problems.install(app)
    intake = Intake(ports.enqueuer, ports.gate)
    dry_run = DryRun(ports.preflight)
    app.add_route("/queue/test", QueueTest(intake))
    app.add_route("/queue/bulk", Bulk(intake, max_body_bytes))
    app.add_route("/queue", Queue(intake, dry_run, max_body_bytes))
    lookup = Lookup(ports.batches)
    app.add_route("/batches", BatchList(ports.batches))
    app.add_route("/batches/{batch_id}", Batch(lookup))
    app.add_route("/batches/{batch_id}/recipients", Recipients(lookup, ports.batches))
    for action in Action:
        app.add_route(f"/batches/{{batch_id}}/{action}", Act(action, lookup, ports.actions))
    app.add_route("/healthz", Health())
    app.add_route("/readyz", Readiness(ports.gate, ports.reachable))
    app.add_route("/metrics", Metrics(ports.sources))
    description = describe(guarded=bool(keyring))
    app.add_route("/openapi.json", Description(description))
    app.add_route("/docs", Docs(description))
    return app


class KnownMethods:
    """Falcon middleware: a method that HTTP does not know is a 405 like any other, not a 400."""

    def process_resource(
        self, req: falcon.Request, _resp: falcon.Response, resource: object, _params: dict[str, Any]
    ) -> None:
        """Raise the 405."""
        if req.method not in falcon.COMBINED_METHODS:
            has = [method for method in falcon.HTTP_METHODS if hasattr(resource, f"on_{method.lower()}")]
            raise falcon.HTTPMethodNotAllowed([*has, "OPTIONS"])
