"""What schemathesis has to be taught: a list of jobs goes out as one line each."""

from __future__ import annotations

import json
from typing import Any

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def ndjson(_: schemathesis.SerializationContext, value: Any) -> bytes:
    """Each item a line; what is no list is one line."""
    return "\n".join(map(json.dumps, value if isinstance(value, list) else [value])).encode()
