"""
The enqueue calls: ``POST /queue``, ``/queue/bulk`` and ``/queue/test``.

They parse, ask the port, and put the answer into words. Errors leave as ``Refusal`` or as faults that
``problems.py`` translates. Routed by ``app.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

import falcon

from mailerd.api.access import Caller, caller_of
from mailerd.api.bodies import NDJSON, Reader, as_json
from mailerd.api.dry_run import DryRun
from mailerd.api.lines import Group, groups_of, lines_of
from mailerd.api.naming import idempotency_key, with_batch_id
from mailerd.api.parameters import Parameters
from mailerd.api.ports import Enqueuer, Gate
from mailerd.api.problems import Refusal
from mailerd.errors import Problem, RedisRefused, RedisUnavailable
from mailerd.job import EmailJob, job_from, parse_json
from mailerd.queue.model import Admission, Enqueued

MAX_LINES = 10_000
RETRY_FULL = 10  # seconds after which a client that met a full queue may come back

_CONFLICT = {
    Admission.CONFLICT: "this batch is known with other content",
    Admission.FOREIGN: "this batch is known from a job that another program pushed",
}


class Intake:
    """
    The way in for all enqueue calls: closed until the daemon has started, open while it drains.

    Whether Redis is there is not asked before: the attempt tells, and a slow one is not made slower.
    """

    def __init__(self, enqueuer: Enqueuer, gate: Gate) -> None:
        self._enqueuer = enqueuer
        self._gate = gate

    def take(self, job: EmailJob) -> Enqueued:
        """Queue the job; raises ``RedisUnavailable`` or ``RedisRefused``."""
        self._check()
        return self._enqueuer.enqueue(job, uuid4().hex)

    def foretell(self, job: EmailJob) -> Enqueued:
        """What would come of it; raises ``RedisUnavailable`` or ``RedisRefused``."""
        self._check()
        return self._enqueuer.foretell(job)

    def take_all(self, jobs: Sequence[EmailJob]) -> Sequence[Enqueued]:
        """Queue all of the jobs or none; raises ``RedisUnavailable`` or ``RedisRefused``."""
        self._check()
        return self._enqueuer.enqueue_all(jobs, uuid4().hex)

    def _check(self) -> None:
        if not self._gate.ready and not self._gate.draining:
            raise RedisUnavailable(self._gate.reason)


class QueueTest:
    """``POST /queue/test``: a job that needs nothing to be sent along, for a first try."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Queue the test job; 500 where that is not possible, as the original answers."""
        job = EmailJob("test-client", ("test1", "test2"), "test-template", str(uuid4()))
        caller_of(req).refuse_other(job.client_id)
        try:
            admission = self._intake.take(job).admission
        except (RedisUnavailable, RedisRefused) as error:
            raise Refusal(500, f"the test job could not be queued: {error}") from error
        if admission is not Admission.QUEUED:
            raise Refusal(500, f"the test job could not be queued: the queue says {admission}")
        resp.data = as_json({"queued": True, "batch_id": job.batch_id})


class Queue:
    """``POST /queue``: a job in the body."""

    def __init__(self, intake: Intake, dry_run: DryRun, max_body_bytes: int) -> None:
        self._intake = intake
        self._dry_run = dry_run
        self._body = Reader(falcon.MEDIA_JSON, max_body_bytes)

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Queue the job; 202, or 200 where the very same was queued before, or it is a dry run."""
        dry = self._dry_run.is_wanted(req)
        body, key = self._body.read(req), idempotency_key(req)
        job = job_from(with_batch_id(parse_json(body), key))
        caller_of(req).refuse_other(job.client_id)
        if dry:
            resp.data = as_json(self._foretold(job))
        else:
            self._queue(job, resp)

    def _foretold(self, job: EmailJob) -> Mapping[str, Any]:
        admission = self._intake.foretell(job).admission
        _refuse_unless_queued(admission, job)
        replayed = admission is Admission.REPLAYED
        about = {"queued": False, "dry_run": True, "batch_id": job.batch_id, "replayed": replayed}
        return {**about, **self._dry_run.report(job)}

    def _queue(self, job: EmailJob, resp: falcon.Response) -> None:
        enqueued = self._intake.take(job)
        _refuse_unless_queued(enqueued.admission, job)
        answer = {"queued": True, "batch_id": job.batch_id, "recipients": enqueued.recipients}
        if enqueued.admission is Admission.REPLAYED:
            answer["replayed"] = True
        else:
            resp.status = falcon.HTTP_202
        resp.location = f"/batches/{job.batch_id}"
        resp.data = as_json(answer)


class Bulk:
    """``POST /queue/bulk``: a job a line, all of them or none."""

    def __init__(self, intake: Intake, max_body_bytes: int) -> None:
        self._intake = intake
        self._body = Reader(NDJSON, max_body_bytes)

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Queue a batch for each client and batch id among the lines."""
        Parameters(req).done()
        body, key = self._body.read(req), idempotency_key(req)
        groups = _groups(body, key)
        _refuse_others(caller_of(req), groups)
        enqueued = self._intake.take_all([group.job for group in groups])
        _refuse_unless_all_queued(groups, enqueued)
        replayed = sum(one.admission is Admission.REPLAYED for one in enqueued)
        answer = {
            "queued": len(groups) - replayed,
            "batch_ids": [group.job.batch_id for group in groups],
            "replayed": replayed,
        }
        resp.status = falcon.HTTP_202
        resp.data = as_json(answer)


def _groups(body: bytes, key: str | None) -> list[Group]:
    lines = lines_of(body)
    if len(lines) > MAX_LINES:
        raise Refusal(413, f"there are {len(lines)} lines, and at most {MAX_LINES} are taken at once")
    if not lines:
        raise Refusal(422, "there is no job in the body", [Problem("", "must hold one job a line")])
    return groups_of(lines, lambda job, place: with_batch_id(job, key, place))


def _refuse_others(caller: Caller, groups: Sequence[Group]) -> None:
    foreign = [group for group in groups if not caller.may_act_for(group.job.client_id)]
    if foreign:
        message = f"is another client's: this key is for client {caller.client_id}"
        problems = [Problem(line.name("client_id"), message) for group in foreign for line in group.lines]
        raise Refusal(403, "nothing was queued: some of the jobs are another client's", problems)


def _refuse_unless_queued(admission: Admission, job: EmailJob) -> None:
    if admission in _CONFLICT:
        raise Refusal(409, f"{_CONFLICT[admission]}: client {job.client_id}, batch {job.batch_id}")
    if admission is Admission.FULL:
        raise _full()


def _refuse_unless_all_queued(groups: Sequence[Group], enqueued: Sequence[Enqueued]) -> None:
    problems = [
        Problem(group.lines[0].name("batch_id"), _CONFLICT[one.admission])
        for group, one in zip(groups, enqueued, strict=True)
        if one.admission in _CONFLICT
    ]
    if problems:
        raise Refusal(409, "nothing was queued: some of the batches are known with other content", problems)
    if any(one.admission is Admission.FULL for one in enqueued):
        raise _full()


def _full() -> Refusal:
    return Refusal(429, "the queue is full", retry_after=RETRY_FULL)
