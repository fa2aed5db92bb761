"""
What comes in and goes out as a body: read within its limit and in the one type that is taken; JSON written.

Used by the resources; knows no queue.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import falcon

from mailerd.api.problems import Refusal

NDJSON = "application/x-ndjson"

# Made once: ``json.dumps`` makes one at each call that is not its plainest.
_as_json = json.JSONEncoder(ensure_ascii=False).encode


class Reader:
    """Reads bodies of one media type and at most so many bytes."""

    def __init__(self, media_type: str, max_bytes: int) -> None:
        self._media_type = media_type
        self._max_bytes = max_bytes

    def read(self, req: falcon.Request) -> bytes:
        """The whole body; raises the 415 or 413. The type is required: a browser's form could send others."""
        media_type, _ = falcon.parse_header(req.content_type or "")
        if media_type.lower() != self._media_type:
            raise Refusal(415, f"the body needs the header Content-Type: {self._media_type}")
        encoding = req.get_header("Content-Encoding") or "identity"
        if encoding.lower() != "identity":
            raise Refusal(415, "the body must come as it is, without a Content-Encoding")
        body: bytes = req.bounded_stream.read(self._max_bytes + 1)
        if len(body) > self._max_bytes:
            raise Refusal(413, f"the body is longer than {self._max_bytes} bytes")
        return body


def as_json(answer: Mapping[str, Any]) -> bytes:
    """An answer's bytes."""
    return f"{_as_json(answer)}\n".encode()
