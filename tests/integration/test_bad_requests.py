"""A hundred bad requests by hand: the right status, the right field, nothing queued, the daemon alive."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPResponse
from typing import Any

import pytest

from rigs.door import JSON, NDJSON, PROBLEM, Door, job
from rigs.redis_server import RedisServer

LONG = "x" * 129


@dataclass(frozen=True)
class Bad:
    """A request, and what it must be answered; ``fields`` are those named, None where none is."""

    status: int
    fields: list[str] | None = None
    method: str = "POST"
    path: str = "/queue"
    body: Any = b""
    content_type: str | None = JSON
    header: tuple[str, str] | None = None

    def lines(self) -> tuple[bytes, dict[str, str]]:
        """Body and headers."""
        body = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        headers = {"Content-Type": self.content_type} if self.content_type is not None else {}
        return body, headers | dict([self.header] if self.header else [])


def bulk(status: int, fields: list[str] | None, *lines: Any, **more: Any) -> Bad:
    """A bulk request of these lines."""
    raw = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    settings = {"path": "/queue/bulk", "content_type": NDJSON, **more}
    return Bad(status, fields, body=b"\n".join(raw), **settings)


def got(status: int, fields: list[str] | None, path: str) -> Bad:
    """A GET."""
    return Bad(status, fields, "GET", path, content_type=None)


def without(*names: str) -> dict[str, Any]:
    """A job that lacks something."""
    return {name: value for name, value in job().items() if name not in names}


NOT_JSON = {
    "nothing": b"",
    "cut": b'{"client_id": "shop"',
    "two values": b"{} {}",
    "comma": b'{"client_id": "shop",}',
    "single quotes": b"{'client_id': 'shop'}",
    "latin-1": '{"client_id": "caf\xe9"}'.encode("latin-1"),
    "utf-16": json.dumps(job()).encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf" + json.dumps(job()).encode(),
    "NaN": b'{"variables": {"x": NaN}}',
    "Infinity": b'{"variables": {"x": -Infinity}}',
    "too large a number": b'{"variables": {"x": 1e999}}',
    "twice": b'{"client_id": "shop", "client_id": "club"}',
    "twice inside": b'{"variables": {"a": 1, "a": 2}}',
    "half a pair": b'{"client_id": "\\ud800"}',
    "deep": b'{"variables": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    "raw line feed": b'{"client_id": "a\nb"}',
    "NUL": b"\x00",
}
NO_JOB: dict[str, tuple[list[str], Any]] = {
    "null": ([""], None),
    "list": ([""], [job()]),
    "string": ([""], "job"),
    "empty": (["client_id", "template_id", "contact_ids"], {}),
    "no client": (["client_id"], without("client_id")),
    "no template": (["template_id"], without("template_id")),
    "no contacts": (["contact_ids"], without("contact_ids")),
    "null contacts": (["contact_ids"], job(contact_ids=None)),
    "empty contacts": (["contact_ids"], job(contact_ids=[])),
    "contacts a string": (["contact_ids"], job(contact_ids="a,b")),
    "contact a number": (["contact_ids[1]"], job(contact_ids=["a", 7])),
    "contact empty": (["contact_ids[0]"], job(contact_ids=["", "a"])),
    "contact too long": (["contact_ids[0]"], job(contact_ids=["x" * 257])),
    "contact with line feed": (["contact_ids[0]"], job(contact_ids=["a\nb"])),
    "client a number": (["client_id"], job(client_id=7)),
    "client with a space": (["client_id"], job(client_id="my shop")),
    "client with line feed": (["client_id"], job(client_id="shop\n")),
    "client too long": (["client_id"], job(client_id=LONG)),
    "template a path": (["template_id"], job(template_id="../secret")),
    "batch with slash": (["batch_id"], job("a/b")),
    "batch a number": (["batch_id"], job(batch_id=7)),
    "batch empty": (["batch_id"], job("")),
    "variables a list": (["variables"], job(variables=[1])),
    "variables too long": (["variables"], job(variables={"x": "y" * 65_536})),
    "expiry no time": (["expires_at"], job(expires_at="tomorrow")),
    "expiry without zone": (["expires_at"], job(expires_at="2030-01-01T00:00:00")),
    "expiry no such day": (["expires_at"], job(expires_at="2030-02-30T00:00:00Z")),
    "all wrong": (
        ["client_id", "template_id", "batch_id", "contact_ids"],
        job("/", "/", template_id="", contact_ids={}),
    ),
}
OTHERS = {
    "no content type": Bad(415, body=job(), content_type=None),
    "a form's type": Bad(415, body=job(), content_type="application/x-www-form-urlencoded"),
    "plain text": Bad(415, body=job(), content_type="text/plain"),
    "lines to the one-job call": Bad(415, body=job(), content_type=NDJSON),
    "one job to the bulk call": bulk(415, None, job(), content_type=JSON),
    "compressed": Bad(415, body=job(), header=("Content-Encoding", "gzip")),
    "body too long": Bad(413, body=b" " * (8 * 2**20 + 1)),
    "key empty": Bad(422, ["Idempotency-Key"], body=job(), header=("Idempotency-Key", "")),
    "key too long": Bad(422, ["Idempotency-Key"], body=job(), header=("Idempotency-Key", "k" * 256)),
    "key not ASCII": Bad(422, ["Idempotency-Key"], body=job(), header=("Idempotency-Key", "\xe9")),
    "bulk of nothing": bulk(422, [""]),
    "bulk of blank lines": bulk(422, [""], b"", b"  ", b"\r"),
    "bulk with bad lines": bulk(
        422,
        ["line 2", "line 3: contact_ids[0]", "line 5: client_id", "line 5: template_id"],
        job(),
        b"{",
        job(contact_ids=[7]),
        b"",
        job("b-2", "a b", template_id="/"),
    ),
    "bulk with a list": bulk(422, ["line 1"], [job(), job("b-2")]),
    "bulk that disagrees": bulk(
        422,
        ["line 2: template_id", "line 3: variables", "line 4: expires_at"],
        job(),
        job(template_id="other"),
        job(variables={"x": 1}),
        job(expires_at="2030-01-01T00:00:00Z"),
    ),
    "bulk too long a list": bulk(413, None, *[b"{}"] * 10_001),
    "GET of the queue": got(405, None, "/queue"),
    "DELETE of a batch": Bad(405, method="DELETE", path="/batches/b-1"),
    "GET of an action": got(405, None, "/batches/b-1/cancel"),
    "a method of nobody's": Bad(405, method="BREW", path="/queue"),
    "no such path": got(404, None, "/queues"),
    "a slash too many": Bad(404, path="/queue/", body=job()),
    "no such action": Bad(404, path="/batches/b-1/explode"),
    "no such batch": got(404, None, "/batches/b-9"),
    "no batch's id": got(404, None, "/batches/%00%0a"),
    "recipients of no batch": got(404, None, "/batches/b-9/recipients"),
    "cancel no batch": Bad(404, path="/batches/b-9/cancel"),
    "state of no batch": got(422, ["state"], "/batches?state=sent"),
    "state of no recipient": got(422, ["state"], "/batches/b-9/recipients?state=paused"),
    "limit 0": got(422, ["limit"], "/batches?limit=0"),
    "limit too high": got(422, ["limit"], "/batches?limit=1001"),
    "limit no number": got(422, ["limit"], "/batches?limit=1e2"),
    "limit in other digits": got(422, ["limit"], "/batches?limit=%D9%A3"),
    "no cursor of ours": got(422, ["cursor"], "/batches?cursor=zzz"),
    "cursor in other digits": got(422, ["cursor"], "/batches?cursor=2aMgc2hvcC9iLTE"),
    "parameter twice": got(422, ["limit"], "/batches?limit=1&limit=2"),
    "parameter misspelt": got(422, ["stat"], "/batches?stat=done"),
    "all parameters wrong": got(
        422, ["x", "client_id", "state", "limit"], "/batches?x=1&client_id=/&state=x&limit=x"
    ),
    "parameter of no use": got(422, ["limit"], "/batches/b-9?limit=5"),
}
REQUESTS = {
    **{f"not JSON: {name}": Bad(400, body=body) for name, body in NOT_JSON.items()},
    **{f"no job: {name}": Bad(422, fields, body=body) for name, (fields, body) in NO_JOB.items()},
    **OTHERS,
}
# What is not HTTP, or more of it than is taken; each is sent as it stands.
RAW = {
    "no HTTP": (400, b"EHLO\r\n\r\n"),
    "length and chunks": (400, b"POST /queue HTTP/1.1\r\nContent-Length: -1\r\n\r\n"),
    "header without name": (400, b"GET / HTTP/1.1\r\n: x\r\n\r\n"),
    "header too long": (431, b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000 + b"\r\n\r\n"),
    "length said, too long": (
        413,
        b"POST /queue HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n",
    ),
    "no such encoding": (501, b"POST /queue HTTP/1.1\r\nTransfer-Encoding: br\r\n\r\n"),
}


@pytest.fixture(scope="module")
def door(valkey_of_the_session: RedisServer) -> Iterator[Door]:
    """One door for all of them: each must leave it as it was."""
    with valkey_of_the_session.client() as client:
        client.flushall()
    with Door(valkey_of_the_session.url) as door:
        yield door


@pytest.fixture
def unharmed(door: Door, valkey_of_the_session: RedisServer) -> Iterator[None]:
    """Afterwards nothing is queued, and the daemon takes a job as before."""
    yield
    with valkey_of_the_session.client() as client:
        assert client.keys("*") == []
        assert door.get("/healthz").status == 200
        assert door.post(job()).status == 202
        client.flushall()


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("bad", REQUESTS.values(), ids=REQUESTS.keys())
def test_a_bad_request_is_refused_with_its_reason(door: Door, bad: Bad) -> None:
    """The status and the fields of the list above, in the one form of every error."""
    body, headers = bad.lines()
    answer = door.ask(bad.method, bad.path, body, **headers)
    problem = answer.problem(bad.status)
    assert [error["field"] for error in problem.get("errors", [])] == (bad.fields or [])
    assert all(error["message"] for error in problem.get("errors", []))
    if bad.status == 405:
        assert answer.headers["allow"]


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize(("status", "sent"), RAW.values(), ids=RAW.keys())
def test_what_is_hardly_http_is_refused_in_the_same_form(door: Door, status: int, sent: bytes) -> None:
    """Also what never reaches the application is a problem+json, and ends its connection."""
    with socket.create_connection(door.address, timeout=10) as connection:
        connection.sendall(sent)
        answer = HTTPResponse(connection)
        answer.begin()
        problem = json.loads(answer.read())
        assert (answer.status, problem["status"], answer.getheader("Content-Type")) == (
            status,
            status,
            PROBLEM,
        )
        with contextlib.suppress(ConnectionResetError):  # what nobody read is thrown away with the connection
            assert connection.recv(1) == b""


def test_the_list_is_long_enough() -> None:
    """Sixty were asked for."""
    assert len(REQUESTS) + len(RAW) >= 60
