"""
``GET /openapi.json``: the API's description, which ``openapi.json`` beside this file holds.

The file is the one source: ``/docs`` is made from it, and the tests hold it against the running application.
Routed by ``app.py``.
"""

from __future__ import annotations

import json
from importlib import resources
from importlib.metadata import version
from typing import Any

import falcon

from mailerd.api.bodies import as_json


def describe(*, guarded: bool) -> dict[str, Any]:
    """The description of this version of mailerd; ``guarded``: a key is needed."""
    text = (resources.files("mailerd.api") / "openapi.json").read_bytes()
    description: dict[str, Any] = json.loads(text)
    description["info"]["version"] = version("mailerd")
    if not guarded:
        description["security"] = []
    return description


class Description:
    """The resource."""

    def __init__(self, description: dict[str, Any]) -> None:
        self._text = as_json(description)

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """The whole description."""
        resp.data = self._text

    on_head = on_get
