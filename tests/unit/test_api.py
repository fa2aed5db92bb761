"""The HTTP API over ports made by hand: what each call answers, and every error in one form."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from falcon import testing

from mailerd.api.access import Keyring
from mailerd.api.app import create_app
from mailerd.api.ports import Ports
from mailerd.errors import RedisRefused, RedisUnavailable
from mailerd.job import EmailJob
from mailerd.outcome import State
from mailerd.queue.model import Admission, BatchState, BatchView, Enqueued
from rigs.figures import no_sources

MAX_BODY = 2000
JOB = {"client_id": "shop", "contact_ids": ["a", "b", "a"], "template_id": "hello", "batch_id": "b-1"}


class Intake:
    """A queue in memory that answers as it is told."""

    def __init__(self) -> None:
        self.jobs: list[EmailJob] = []
        self.requests: list[str] = []
        self.admission = Admission.QUEUED
        self.fault: Exception | None = None

    def foretell(self, job: EmailJob) -> Enqueued:
        if self.fault:
            raise self.fault
        return Enqueued(self.admission, len(job.distinct()))

    def enqueue(self, job: EmailJob, request: str) -> Enqueued:
        if self.fault:
            raise self.fault
        self.jobs.append(job)
        self.requests.append(request)
        return Enqueued(self.admission, len(job.distinct()))


class Batches:
    """Batches in memory."""

    def __init__(self) -> None:
        self.views: list[BatchView] = []
        self.fault: Exception | None = None

    def find(self, batch_id: str, client_id: str | None) -> list[BatchView]:
        if self.fault:
            raise self.fault
        return [v for v in self.views if v.batch_id == batch_id and client_id in (None, v.client_id)]


class Gate:
    ready = True
    draining = False
    reason = "Redis does not answer since 3 s"


class House:
    def __init__(self) -> None:
        self.intake, self.batches, self.gate = Intake(), Batches(), Gate()
        self.reachable = True
        self.report: dict[str, Any] | None = {"recipients": 2, "findings": []}
        ports = Ports(
            self.intake,
            self.batches,
            self.batches,
            self.gate,
            lambda: self.reachable,
            no_sources(),
            lambda _: self.report,
        )
        self.client = testing.TestClient(create_app(ports, Keyring(), MAX_BODY))

    def post(
        self,
        body: Any = JOB,
        content_type: str | None = "application/json",
        path: str = "/queue",
        **more: Any,
    ) -> testing.Result:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": content_type} if content_type else {}
        return self.client.simulate_post(path, body=raw, headers=headers, **more)

    def get(self, path: str, **more: Any) -> testing.Result:
        return self.client.simulate_get(path, **more)


@pytest.fixture
def house() -> House:
    return House()


def view(client_id: str = "shop", **more: Any) -> BatchView:
    facts = {
        "batch_id": "b-1",
        "client_id": client_id,
        "template_id": "hello",
        "state": BatchState.SENDING,
        "recipients": 3,
        "counts": {State.SENT: 2, State.QUEUED: 1},
        "created_at": 1_800_000_000.25,
        "finished_at": None,
        "waiting_for": None,
    }
    return BatchView(**{**facts, **more})


def problem(answer: testing.Result, status: int) -> dict[str, Any]:
    """The problem in the answer, which must have this status and the one form of every error."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["status"] == status
    assert answer.json["title"]
    return answer.json


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"client_id": 1}'])
@pytest.mark.parametrize("content_type", [None, "text/plain", "application/json"])
def test_the_test_call_ignores_what_is_sent_along(
    house: House, body: bytes, content_type: str | None
) -> None:
    """POST /queue/test queues its own job whatever body and content type it is given."""
    answer = house.post(body, content_type, "/queue/test")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json == {"queued": True, "batch_id": house.intake.jobs[0].batch_id}
    assert UUID(answer.json["batch_id"]).version == 4
    job = house.intake.jobs[0]
    assert (job.client_id, job.contact_ids, job.template_id) == (
        "test-client",
        ("test1", "test2"),
        "test-template",
    )


def test_the_test_call_is_a_500_when_it_could_not_be_queued(house: House) -> None:
    """POST /queue/test answers 500 while Redis is away, while starting, and when the queue is full."""
    house.intake.fault = RedisUnavailable("Redis does not answer")
    assert "Redis does not answer" in problem(house.post(path="/queue/test"), 500)["detail"]
    house.intake.fault = None
    house.intake.admission = Admission.FULL
    problem(house.post(path="/queue/test"), 500)
    house.gate.ready = False
    assert house.gate.reason in problem(house.post(path="/queue/test"), 500)["detail"]


def test_a_job_is_queued(house: House) -> None:
    """POST /queue answers 202 with the batch, where to look at it, and its distinct contacts."""
    answer = house.post()
    assert answer.status_code == 202
    assert answer.headers["location"] == "/batches/b-1"
    assert answer.json == {"queued": True, "batch_id": "b-1", "recipients": 2}
    assert house.intake.jobs[0].contact_ids == ("a", "b", "a")


def test_optional_fields_reach_the_queue(house: House) -> None:
    """Variables and expires_at are part of the job."""
    house.post({**JOB, "variables": {"code": "Ü"}, "expires_at": "2030-01-02T03:04:05Z", "extra": 1})
    job = house.intake.jobs[0]
    assert job.variables == {"code": "Ü"}
    assert job.expires_at == datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize("missing", [{}, {"batch_id": None}])
def test_a_job_without_a_batch_gets_a_new_one(house: House, missing: dict[str, None]) -> None:
    """Without batch_id each request is a batch of its own."""
    body = {k: v for k, v in JOB.items() if k != "batch_id"} | missing
    ids = {house.post(body).json["batch_id"] for _ in range(2)}
    assert len(ids) == 2
    assert all(UUID(batch_id).version == 4 for batch_id in ids)


def test_every_request_has_its_own_token(house: House) -> None:
    """Two requests of the same content bring different request tokens."""
    house.post()
    house.post()
    assert len(set(house.intake.requests)) == 2


def test_a_replay_is_a_200(house: House) -> None:
    """The same batch again is answered 200 with "replayed"."""
    house.intake.admission = Admission.REPLAYED
    answer = house.post()
    assert answer.status_code == 200
    assert answer.json == {"queued": True, "batch_id": "b-1", "recipients": 2, "replayed": True}


@pytest.mark.parametrize("value", ["1", "true"])
def test_a_dry_run_queues_nothing(house: House, value: str) -> None:
    """200 with what is wrong with the mails, and whether it would be a replay."""
    answer = house.post(query_string=f"dry_run={value}")

    said = {"queued": False, "dry_run": True, "batch_id": "b-1", "replayed": False}
    assert (answer.status_code, answer.json) == (200, {**said, "recipients": 2, "findings": []})
    house.intake.admission = Admission.REPLAYED
    assert house.post(query_string="dry_run=1").json["replayed"] is True
    assert house.intake.jobs == []


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/queue", "dry_run"),
        ("/queue", "dry_run="),
        ("/queue", "dry_run=yes"),
        ("/queue", "dry_run=1&dry_run=0"),
        ("/queue", "dryrun=1"),
        ("/queue/bulk", "dry_run=1"),
    ],
)
def test_a_dry_run_that_is_misspelt_is_no_real_one(house: House, path: str, query: str) -> None:
    """Whoever meant one would have sent mail."""
    kind = "application/x-ndjson" if path.endswith("bulk") else "application/json"
    answer = house.post(path=path, content_type=kind, query_string=query)

    assert problem(answer, 422)["errors"][0]["field"] in query
    assert house.intake.jobs == []


def test_a_dry_run_is_refused_as_the_real_one_would_be(house: House) -> None:
    """With the same errors, before anything is looked at; and while another one is under way."""
    problem(house.post({**JOB, "client_id": 7}, query_string="dry_run=1"), 422)
    house.intake.admission = Admission.CONFLICT
    problem(house.post(query_string="dry_run=1"), 409)
    house.intake.admission = Admission.FULL
    problem(house.post(query_string="dry_run=1"), 429)
    house.intake.admission, house.report = Admission.QUEUED, None
    answer = house.post(query_string="dry_run=1")
    problem(answer, 503)
    assert answer.headers["Retry-After"] == "2"
    house.intake.fault = RedisUnavailable("away")
    problem(house.post(query_string="dry_run=1"), 503)


@pytest.mark.parametrize("admission", [Admission.CONFLICT, Admission.FOREIGN])
def test_another_content_is_a_409(house: House, admission: Admission) -> None:
    """A batch known with other content, or only from another program, is a conflict."""
    house.intake.admission = admission
    assert "b-1" in problem(house.post(), 409)["detail"]


def test_a_full_queue_is_a_429_that_says_when_to_come_back(house: House) -> None:
    """A full queue answers 429 with Retry-After."""
    house.intake.admission = Admission.FULL
    answer = house.post()
    problem(answer, 429)
    assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize("fault", [RedisUnavailable, RedisRefused])
def test_redis_away_is_a_503_that_says_when_to_come_back(house: House, fault: type[Exception]) -> None:
    """Enqueue and look-up answer 503, the reason and Retry-After while Redis is away or lets nobody in."""
    house.intake.fault = fault("Redis does not answer")
    house.batches.fault = fault("Error 111 connecting to cache.example:6379")
    told = "Redis does not answer", "Redis: Error 111 connecting to cache.example:6379"
    for answer, detail in zip((house.post(), house.get("/batches/b-1")), told, strict=True):
        assert problem(answer, 503)["detail"] == detail
        assert int(answer.headers["retry-after"]) > 0


def test_before_the_start_is_over_nothing_is_queued(house: House) -> None:
    """Until the daemon is ready a job is refused with 503 and its reason, without asking the queue."""
    house.gate.ready = False
    answer = house.post()
    assert problem(answer, 503)["detail"] == house.gate.reason
    assert answer.headers["retry-after"]
    assert house.intake.jobs == []


def test_while_draining_jobs_are_still_taken(house: House) -> None:
    """A drain ends with HTTP: until then a job is safe in Redis and is accepted."""
    house.gate.ready = False
    house.gate.draining = True
    assert house.post().status_code == 202


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        "Application/JSON",
        "application/json",
    ],
)
def test_parameters_of_the_content_type_do_not_matter(house: House, content_type: str | None) -> None:
    """JSON is JSON with or without a charset."""
    assert house.post(content_type=content_type).status_code == 202


@pytest.mark.parametrize(
    "content_type",
    [None, "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "json"],
)
def test_another_content_type_is_a_415(house: House, content_type: str | None) -> None:
    """What a browser's form could send is refused."""
    problem(house.post(content_type=content_type), 415)
    assert house.intake.jobs == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{} x",
        b"\xff\xfe",
        b'{"client_id": "\xe9"}',
        b'{"client_id": NaN}',
        b'{"a": 1, "a": 2}',
        b"[" * 1900,
    ],
    ids=["empty", "cut", "more", "utf16", "latin1", "nan", "twice", "deep"],
)
def test_what_is_no_strict_json_is_a_400(house: House, body: bytes) -> None:
    """The strict parser's refusal is a 400 with its sentence."""
    assert problem(house.post(body), 400)["detail"]


@pytest.mark.parametrize("body", [b"null", b"[]", b'"x"', b"1"])
def test_json_that_is_no_object_is_a_422(house: House, body: bytes) -> None:
    """JSON other than an object is no job."""
    assert problem(house.post(body), 422)["errors"][0]["message"] == "must be a JSON object"


def test_every_field_at_fault_is_named(house: House) -> None:
    """A 422 lists every field with its message."""
    answer = house.post({"client_id": 7, "contact_ids": [], "template_id": "a/b", "batch_id": "x\n"})
    errors = {error["field"]: error["message"] for error in problem(answer, 422)["errors"]}
    assert set(errors) == {"client_id", "contact_ids", "template_id", "batch_id"}
    assert all(errors.values())


def test_the_longest_body_is_taken_and_one_byte_more_is_not(house: House) -> None:
    """A body of exactly the limit is read, one byte more is a 413."""
    job = json.dumps(JOB).encode()
    assert house.post(job.ljust(MAX_BODY)).status_code == 202
    problem(house.post(job.ljust(MAX_BODY + 1)), 413)
    assert len(house.intake.jobs) == 1


def test_a_batch_is_shown(house: House) -> None:
    """GET /batches/{id} shows every fact of the contract, times in RFC 3339."""
    house.batches.views = [view()]
    assert house.get("/batches/b-1").json == {
        "batch_id": "b-1",
        "client_id": "shop",
        "template_id": "hello",
        "state": "sending",
        "recipients": 3,
        "counts": {"sent": 2, "queued": 1},
        "created_at": "2027-01-15T08:00:00.250Z",
        "finished_at": None,
        "waiting_for": None,
    }


def test_two_clients_with_one_batch_id_are_told_apart(house: House) -> None:
    """The same id of two clients is a 409 unless the client is named."""
    house.batches.views = [view("shop"), view("club", state=BatchState.DONE, finished_at=1_800_000_000.0)]
    assert problem(house.get("/batches/b-1"), 409)["errors"][0]["field"] == "client_id"
    answer = house.get("/batches/b-1", params={"client_id": "club"})
    assert (answer.json["client_id"], answer.json["finished_at"]) == ("club", "2027-01-15T08:00:00.000Z")


@pytest.mark.parametrize(
    "path", ["/batches/b-2", "/batches/b-1?client_id=x", "/batches/%F0%9F%98%80", "/batches/a%00b"]
)
def test_an_unknown_batch_is_a_404(house: House, path: str) -> None:
    """A batch that is unknown, another client's, or cannot exist is not found."""
    house.batches.views = [view()]
    assert problem(house.get(path), 404)["detail"]


@pytest.mark.parametrize("path", ["/", "/nothing", "/queue/", "/batches/", "/batches/a/b"])
def test_an_unknown_path_is_a_404(house: House, path: str) -> None:
    """An unknown path is a problem like any other, whatever the client would like better."""
    problem(house.get(path, headers={"Accept": "text/html"}), 404)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/queue", "POST"),
        ("PUT", "/queue/test", "POST"),
        ("DELETE", "/batches/b-1", "GET"),
        ("POST", "/readyz", "GET"),
    ],
)
def test_another_method_is_a_405_that_names_the_allowed(
    house: House, method: str, path: str, allowed: str
) -> None:
    """A method that a path does not have is a 405 with Allow."""
    answer = house.client.simulate_request(method, path)
    problem(answer, 405)
    assert allowed in answer.headers["allow"].split(", ")


def test_healthz_answers_whatever_else_is_wrong(house: House) -> None:
    """The process is alive while it starts, drains and has no Redis."""
    house.gate.ready = False
    house.gate.draining = True
    house.intake.fault = house.batches.fault = RedisUnavailable()
    assert house.get("/healthz").status_code == 200


def test_readyz_says_why_it_is_not(house: House) -> None:
    """Ready, not ready with the reason, and not ready because it drains."""
    assert house.get("/readyz").status_code == 200
    house.gate.ready = False
    assert problem(house.get("/readyz"), 503)["detail"] == house.gate.reason
    house.gate.ready = True
    house.reachable = False
    assert "Redis" in problem(house.get("/readyz"), 503)["detail"]
    assert house.post().status_code == 202  # the attempt itself tells
    house.gate.draining = True
    answer = house.get("/readyz")
    assert "stopping" in problem(answer, 503)["detail"]
    assert answer.headers["retry-after"]


def test_a_fault_is_a_500_that_shows_nothing_of_it(house: House, caplog: pytest.LogCaptureFixture) -> None:
    """An unforeseen error is logged with its traceback, and the client sees none of it."""
    house.intake.fault = ZeroDivisionError("a secret")
    with caplog.at_level(logging.ERROR):
        answer = house.post()
    problem(answer, 500)
    assert "secret" not in answer.text
    assert "ZeroDivision" not in answer.text
    record = next(r for r in caplog.records if r.event == "http.fault")
    assert record.exc_info[0] is ZeroDivisionError
