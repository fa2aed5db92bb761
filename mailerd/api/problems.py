"""
Every error that a client sees, as ``application/problem+json`` (RFC 9457).

``Refusal`` is what the resources raise; whatever else Falcon or a fault raises is put into the same form
here, and what nobody foresaw is logged and answered with a bare 500. Installed by ``app.py``; the page is
also used by ``channel.py`` for what waitress refuses by itself.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from typing import Any

import falcon

from mailerd.errors import JobRejected, NotJson, Problem, RedisRefused, RedisUnavailable

PROBLEM_JSON = "application/problem+json"
RETRY_REDIS = 5  # seconds after which a client that met an absent Redis may come back

log = logging.getLogger(__name__)


class Refusal(falcon.HTTPError):
    """A request that is answered with an error: its status, a sentence, and the fields at fault."""

    def __init__(
        self,
        status: int,
        detail: str,
        errors: Iterable[Problem] = (),
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        when = {} if retry_after is None else {"Retry-After": str(retry_after)}
        super().__init__(status, description=detail, headers={**when, **(headers or {})})
        self.errors = tuple(errors)


def unavailable(detail: str, retry_after: int = RETRY_REDIS) -> Refusal:
    """The 503 for something that passes; ``retry_after`` in seconds."""
    return Refusal(503, detail, retry_after=retry_after)


def page(status: int, detail: str | None, errors: Iterable[Problem] = ()) -> bytes:
    """The body of a problem whose type is its status (about:blank: RFC 9457, 4.2.1)."""
    title = falcon.code_to_http_status(status)[4:]
    problem: dict[str, Any] = {"type": "about:blank", "title": title, "status": status}
    if detail:
        problem["detail"] = detail
    fields = [{"field": error.field, "message": error.message} for error in errors]
    if fields:
        problem["errors"] = fields
    return json.dumps(problem, ensure_ascii=False).encode() + b"\n"


def install(app: falcon.App[falcon.Request, falcon.Response]) -> None:
    """Make the application answer every error in this form."""
    app.set_error_serializer(_serialize)
    app.add_error_handler(RedisUnavailable, _redis_away)
    app.add_error_handler(RedisRefused, _redis_away)
    app.add_error_handler(JobRejected, _job_rejected)
    app.add_error_handler(Exception, _fault)


def _serialize(req: falcon.Request, resp: falcon.Response, error: falcon.HTTPError) -> None:
    errors = error.errors if isinstance(error, Refusal) else ()
    resp.content_type = PROBLEM_JSON
    resp.data = page(error.status_code, error.description or _hint(req, error), errors)


def _hint(req: falcon.Request, error: falcon.HTTPError) -> str | None:
    """What somebody who has mistyped a path or a method wants to know."""
    if isinstance(error, falcon.HTTPRouteNotFound):
        return f"nothing is at {req.path[:100]}; /openapi.json has every path"
    if isinstance(error, falcon.HTTPMethodNotAllowed):
        allowed = dict(error.headers or {}).get("Allow", "")
        return f"{req.method} is no method of {req.path[:100]}; it takes {allowed}"
    return None


def _redis_away(_req: falcon.Request, _resp: falcon.Response, error: Exception, _params: Any) -> None:
    words = str(error)
    raise unavailable(words if "Redis" in words else f"Redis: {words}")


def _job_rejected(_req: falcon.Request, _resp: falcon.Response, error: JobRejected, _params: Any) -> None:
    raise Refusal(400 if isinstance(error, NotJson) else 422, error.reason, error.problems)


def _fault(req: falcon.Request, _resp: falcon.Response, error: Exception, _params: Any) -> None:
    # The edge of the request: whatever is wrong in here must not end the server or show itself outside.
    log.error(
        "cannot answer %s %s", req.method, req.uri_template, exc_info=error, extra={"event": "http.fault"}
    )
    raise Refusal(500, "something is wrong inside mailerd; its log says what")
