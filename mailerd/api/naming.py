"""
The batch of a job that names none: a new one, or the one that the ``Idempotency-Key`` header stands for.

With the header the same request finds its batch again, and is a replay. Pure but for new UUIDs; used by the
enqueue calls.
"""

from __future__ import annotations

import re
from typing import Any
from uuid import NAMESPACE_URL, uuid4, uuid5

import falcon

from mailerd.api.problems import Refusal
from mailerd.errors import Problem

HEADER = "Idempotency-Key"

_KEY = re.compile("[!-~]([ -~]{0,253}[!-~])?")
_NAMESPACE = uuid5(NAMESPACE_URL, "urn:mailerd:idempotency-key")


def idempotency_key(req: falcon.Request) -> str | None:
    """The request's key, where it has one; raises the 422 for one that is none."""
    key = req.get_header(HEADER)
    if key is not None and not _KEY.fullmatch(key):
        problem = Problem(HEADER, "must be 1 to 255 printable ASCII characters")
        raise Refusal(422, str(problem), [problem])
    return key


def with_batch_id(job: Any, key: str | None, place: int | None = None) -> Any:
    """
    The job's JSON with a ``batch_id``, if it can be a job at all.

    ``place`` tells apart the jobs of one request.
    """
    if not isinstance(job, dict) or job.get("batch_id") is not None:
        return job
    if key is None:
        return {**job, "batch_id": str(uuid4())}
    name = "\n".join(map(str, (job.get("client_id"), key, *(() if place is None else (place,)))))
    return {**job, "batch_id": str(uuid5(_NAMESPACE, name))}
