"""
The application: which path is answered by what, and what is refused before it gets there.

A plain WSGI application without a socket; ``server.py`` carries it, and tests call it directly.
"""

from __future__ import annotations

import falcon

from mailerd.api import problems
from mailerd.api.ports import Batches, Enqueuer, Gate
from mailerd.api.resources import Batch, Health, Intake, Queue, QueueTest, Readiness
from mailerd.api.waiting import Shedding

App = falcon.App[falcon.Request, falcon.Response]


def create_app(enqueuer: Enqueuer, batches: Batches, gate: Gate, max_body_bytes: int) -> App:
    """The application over these ports; a body may have ``max_body_bytes`` and no more."""
    intake = Intake(enqueuer, gate)
    app = falcon.App(middleware=[Shedding(exempt=(Health, Readiness))])
    problems.install(app)
    app.add_route("/queue/test", QueueTest(intake))
    app.add_route("/queue", Queue(intake, max_body_bytes))
    app.add_route("/batches/{batch_id}", Batch(batches))
    app.add_route("/healthz", Health())
    app.add_route("/readyz", Readiness(gate))
    return app
