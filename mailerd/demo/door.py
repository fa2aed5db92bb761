"""
The demo's way to its daemon: the HTTP API, as any program would use it.

Called by ``cli/demo.py``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection, HTTPException
from typing import Any

from mailerd.errors import MailerdError

TIMEOUT = 10.0  # seconds


class Door:
    """The daemon on this port of the loopback."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def is_ready(self) -> bool:
        """Whether it takes jobs now."""
        try:
            return self._ask("GET", "/readyz")[0] == 200  # noqa: PLR2004  # reads better than its name
        except (OSError, HTTPException):
            return False

    def enqueue(self, job: Mapping[str, Any], contact_ids: Sequence[str]) -> str:
        """Queue the job for these contacts; returns its batch id."""
        body = json.dumps({**job, "contact_ids": contact_ids}).encode()
        return str(self._expect("POST", "/queue", body)["batch_id"])

    def batch(self, batch_id: str) -> dict[str, Any]:
        """How far the batch is."""
        return self._expect("GET", f"/batches/{batch_id}")

    def _expect(self, method: str, path: str, body: bytes | None = None) -> dict[str, Any]:
        try:
            status, answer = self._ask(method, path, body)
        except (OSError, HTTPException) as error:
            raise MailerdError(f"the daemon does not answer at {self.url}: {error}") from error
        if status >= 400:  # noqa: PLR2004  # reads better than its name
            raise MailerdError(f"{method} {path} answered {status}: {answer.get('detail', answer)}")
        return answer

    def _ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, dict[str, Any]]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()
