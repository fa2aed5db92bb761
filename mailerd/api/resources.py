"""
What can be asked over HTTP: one class a path, each method a few named steps.

They parse, ask the ports, and put the answer into words; they know no Redis and no waitress. Errors leave
as ``Refusal`` or as faults that ``problems.py`` translates. Routed by ``app.py``.
"""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import falcon

from mailerd.api.ports import Batches, Enqueuer, Gate
from mailerd.api.problems import Refusal, unavailable
from mailerd.errors import Problem, RedisRefused, RedisUnavailable
from mailerd.job import EmailJob, is_name, job_from, parse_json
from mailerd.queue.model import Admission, Enqueued

RETRY_FULL = 10  # seconds after which a client that met a full queue may come back

_CONFLICT = {
    Admission.CONFLICT: "this batch is known with other content",
    Admission.FOREIGN: "this batch is known from a job that another program pushed",
}


class Intake:
    """The way in for both enqueue calls: closed until the daemon has started, open while it drains."""

    def __init__(self, enqueuer: Enqueuer, gate: Gate) -> None:
        self._enqueuer = enqueuer
        self._gate = gate

    def take(self, job: EmailJob) -> Enqueued:
        """Queue the job; raises ``RedisUnavailable`` or ``RedisRefused``."""
        if not self._gate.ready and not self._gate.draining:
            raise RedisUnavailable(self._gate.reason)
        return self._enqueuer.enqueue(job, uuid4().hex)


class QueueTest:
    """``POST /queue/test``: a job that needs nothing to be sent along, for a first try."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    def on_post(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Queue the test job; 500 where that is not possible, as the original answers."""
        job = EmailJob("test-client", ("test1", "test2"), "test-template", str(uuid4()))
        try:
            admission = self._intake.take(job).admission
        except (RedisUnavailable, RedisRefused) as error:
            raise Refusal(500, f"the test job could not be queued: {error}") from error
        if admission is not Admission.QUEUED:
            raise Refusal(500, f"the test job could not be queued: the queue says {admission}")
        resp.data = _json({"queued": True, "batch_id": job.batch_id})


class Queue:
    """``POST /queue``: a job in the body."""

    def __init__(self, intake: Intake, max_body_bytes: int) -> None:
        self._intake = intake
        self._max_body_bytes = max_body_bytes

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Queue the job; 202, or 200 where the very same was queued before."""
        job = job_from(_with_batch_id(parse_json(self._body(req))))
        enqueued = self._intake.take(job)
        _refuse_unless_queued(enqueued.admission, job)
        answer = {"queued": True, "batch_id": job.batch_id, "recipients": enqueued.recipients}
        if enqueued.admission is Admission.REPLAYED:
            answer["replayed"] = True
        else:
            resp.status = falcon.HTTP_202
        resp.location = f"/batches/{job.batch_id}"
        resp.data = _json(answer)

    def _body(self, req: falcon.Request) -> bytes:
        media_type, _ = falcon.parse_header(req.content_type or "")
        if media_type.lower() != falcon.MEDIA_JSON:
            raise Refusal(415, "the job must come as application/json")
        body: bytes = req.bounded_stream.read(self._max_body_bytes + 1)
        if len(body) > self._max_body_bytes:
            raise Refusal(413, f"the body is longer than {self._max_body_bytes} bytes")
        return body


class Batch:
    """``GET /batches/{batch_id}``: how far a batch is."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def on_get(self, req: falcon.Request, resp: falcon.Response, batch_id: str) -> None:
        """Show the batch; 409 where several clients have one of that id and none is named."""
        client_id = req.get_param("client_id")
        found = self._batches.find(batch_id, client_id) if _can_exist(batch_id, client_id) else []
        if not found:
            raise Refusal(
                404, f"no batch {batch_id} is known" + (f" of client {client_id}" if client_id else "")
            )
        if len(found) > 1:
            needed = Problem("client_id", "is needed to tell them apart")
            raise Refusal(
                409, f"{len(found)} clients have a batch {batch_id}; name one by ?client_id=", [needed]
            )
        resp.data = _json(found[0].to_json())

    on_head = on_get


class Health:
    """``GET /healthz``: the process is alive and its server turns."""

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Answer, which is all there is to prove."""
        resp.data = _json({"status": "alive"})

    on_head = on_get


class Readiness:
    """``GET /readyz``: whether new jobs should be sent here."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """200, or 503 with the reason."""
        if self._gate.draining:
            raise unavailable("mailerd is stopping")
        if not self._gate.ready:
            raise unavailable(self._gate.reason)
        resp.data = _json({"status": "ready"})

    on_head = on_get


def _with_batch_id(value: Any) -> Any:
    if isinstance(value, dict) and value.get("batch_id") is None:
        return {**value, "batch_id": str(uuid4())}
    return value


def _refuse_unless_queued(admission: Admission, job: EmailJob) -> None:
    if admission in _CONFLICT:
        raise Refusal(409, f"{_CONFLICT[admission]}: client {job.client_id}, batch {job.batch_id}")
    if admission is Admission.FULL:
        raise Refusal(429, "the queue is full", retry_after=RETRY_FULL)


def _can_exist(batch_id: str, client_id: str | None) -> bool:
    return is_name(batch_id) and (client_id is None or is_name(client_id))


def _json(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer, ensure_ascii=False).encode() + b"\n"
