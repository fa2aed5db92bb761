"""
What most people would write: a job in JSON, one LPUSH, 202; no check, no ledger, no replay.

Served by granian: ``granian --interface wsgi falcon_push:app``, with REDIS_PORT in the environment.
``POST /split`` only splits the lines of a bulk body and pushes them: the least that any bulk call must do.
"""

from __future__ import annotations

import json
import os

import falcon
import redis

client = redis.Redis(port=int(os.environ["REDIS_PORT"]))


class Queue:
    """``POST /queue``."""

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Push the job."""
        body = req.bounded_stream.read()
        job = json.loads(body)
        client.lpush("jobs", body)
        resp.status = falcon.HTTP_202
        resp.media = {"queued": True, "batch_id": job["batch_id"]}


class Split:
    """``POST /queue/bulk``: the lines as they are."""

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Push the lines."""
        lines = req.bounded_stream.read().split(b"\n")
        client.lpush("jobs", *lines)
        resp.status = falcon.HTTP_202
        resp.media = {"queued": len(lines)}


app = falcon.App()
app.add_route("/queue", Queue())
app.add_route("/queue/bulk", Split())
