"""The HTTP door as the daemon opens it, over a real Redis and on a real port, inside the test's process."""

from __future__ import annotations

import hashlib
import json
import socket
from dataclasses import dataclass
from http.client import HTTPConnection
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

from mailerd.api.ports import Preflight
from mailerd.board import Slot
from mailerd.clock import SystemClock
from mailerd.config import Config
from mailerd.daemon.gate import Gate
from mailerd.preflight.apart import Apart
from mailerd.wiring import open_door
from mailerd.work.janitor import Overview

JSON = "application/json"
NDJSON = "application/x-ndjson"
PROBLEM = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; names of headers in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """What the body says."""
        return json.loads(self.body)

    def problem(self, status: int) -> Any:
        """The problem, which must have this status and the one form of every error."""
        assert self.status == status, (self.status, self.body)
        assert self.headers["content-type"] == PROBLEM
        assert (self.json["status"], self.json["type"]) == (status, "about:blank")
        assert self.json["title"]
        return self.json

    def fields(self, status: int) -> list[str]:
        """The fields that the problem names."""
        return [error["field"] for error in self.problem(status)["errors"]]


class Door:
    """
    An open door; ``tokens`` maps bearer tokens to the clients (or ``*``) that they stand for.

    ``key`` is the token that ``ask`` sends along; ``look`` makes the reports of dry runs, else they come from
    a process each as in the daemon.
    """

    def __init__(
        self,
        redis_url: str,
        tokens: dict[str, str] | None = None,
        look: Preflight | None = None,
        limits: dict[str, Any] | None = None,
        **queue: Any,
    ) -> None:
        keys = [
            {"client_id": client, "sha256": hashlib.sha256(token.encode()).hexdigest()}
            for token, client in (tokens or {}).items()
        ]
        sections = {
            "redis": {"url": redis_url},
            "api": {"keys": keys},
            "queue": queue,
            "limits": limits or {},
        }
        config = Config.model_validate(sections)
        self.gate = Gate(ready=True, reason="", config=config)
        self.slots: list[Slot] = []
        self.overview = Overview()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = self._socket.getsockname()
        self.server = open_door(
            config,
            self._socket,
            self.gate,
            SystemClock(),
            self.slots,
            self.overview,
            look or Apart(lambda: self.gate.config).look,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.drain(SystemClock().monotonic() + 5)
        assert self.server.waitress.task_dispatcher.threads == set()
        self.server.waitress.close()

    def ask(
        self, method: str, path: str, body: bytes | None = None, *, key: str | None = None, **headers: str
    ) -> Answer:
        """One request on a connection of its own; ``Content_Type`` in ``headers`` is Content-Type."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            sent["Authorization"] = f"Bearer {key}"
        connection = HTTPConnection(*self.address, timeout=15)
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read())
        finally:
            connection.close()

    def get(self, path: str, *, key: str | None = None, **query: object) -> Answer:
        """A GET with its query."""
        return self.ask("GET", f"{path}?{urlencode(query)}" if query else path, key=key)

    def post(self, job: Any, path: str = "/queue", *, key: str | None = None, **headers: str) -> Answer:
        """A job, or whatever else, as JSON."""
        raw = job if isinstance(job, bytes) else json.dumps(job).encode()
        return self.ask("POST", path, raw, key=key, **{"Content_Type": JSON, **headers})

    def bulk(self, *jobs: Any, key: str | None = None, **headers: str) -> Answer:
        """Jobs, or whatever else, one a line."""
        lines = [job if isinstance(job, bytes) else json.dumps(job).encode() for job in jobs]
        sent = {"Content_Type": NDJSON, **headers}
        return self.ask("POST", "/queue/bulk", b"\n".join(lines), key=key, **sent)

    def act(self, action: str, batch_id: str, *, key: str | None = None, query: str = "") -> Answer:
        """What is to be done with a batch."""
        return self.ask("POST", f"/batches/{batch_id}/{action}{query}", key=key)


def job(batch_id: str | None = "b-1", client_id: str = "shop", *contacts: str, **more: Any) -> dict[str, Any]:
    """A job as clients send it."""
    made = {
        "client_id": client_id,
        "contact_ids": list(contacts or ("a", "b")),
        "template_id": "hello",
        **more,
    }
    return made if batch_id is None else {**made, "batch_id": batch_id}
