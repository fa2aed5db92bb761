"""The least that a Python server can do: waitress, one short answer. ``python waitress_hello.py PORT``."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable
from typing import Any

from waitress import serve

ANSWER = b'{"queued": true}\n'


def hello(_environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer always the same."""
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(ANSWER)))])
    return [ANSWER]


if __name__ == "__main__":
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it would log each request beyond four
    serve(hello, host="127.0.0.1", port=int(sys.argv[1]), threads=4, _quiet=True)
