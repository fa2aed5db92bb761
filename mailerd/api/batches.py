"""
The calls about batches: lists, one batch, its recipients, and what an operator wants done with it.

They ask the ports and put the answers into words. Whoever has a client's key sees that client's batches only,
and any other as unknown. Routed by ``app.py``.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import TypeVar

import falcon

from mailerd.api.access import Caller, caller_of
from mailerd.api.bodies import as_json
from mailerd.api.parameters import Parameters
from mailerd.api.ports import Actions, Batches
from mailerd.api.problems import Refusal
from mailerd.errors import Problem
from mailerd.job import is_name
from mailerd.outcome import State
from mailerd.queue.model import Action, BatchState, BatchView, Effect

Page = TypeVar("Page")

_NOT_OURS = Problem("cursor", "must be what next was in the page before")


class BatchList:
    """``GET /batches``: the batches, the newest first."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Show a page of them."""
        query = Parameters(req, "state", "client_id", "cursor", "limit")
        client_id, state = query.client_id(), query.choice("state", BatchState)
        cursor, limit = query.cursor(), query.limit()
        query.done()
        caller = caller_of(req)
        if client_id is not None:
            caller.refuse_other(client_id)
        whose = caller.client_id or client_id
        page = _page(lambda place: self._batches.page(whose, state, place, limit), cursor)
        found = [view.to_json() for view in page.batches]
        resp.data = as_json({"batches": found, "next": _outward(page.next)})

    on_head = on_get


class Lookup:
    """Finds the one batch that a request means."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def batch(self, caller: Caller, batch_id: str, client_id: str | None) -> BatchView:
        """The batch; raises the 404, and the 409 where several clients have one of that id."""
        found = self._find(caller, batch_id, client_id)
        if not found:
            whose = f" of client {client_id}" if client_id else ""
            raise Refusal(404, f"no batch {batch_id} is known{whose}")
        if len(found) > 1:
            needed = Problem("client_id", "is needed to tell them apart")
            raise Refusal(
                409, f"{len(found)} clients have a batch {batch_id}; name one by ?client_id=", [needed]
            )
        return found[0]

    def _find(self, caller: Caller, batch_id: str, client_id: str | None) -> list[BatchView]:
        if not is_name(batch_id) or (client_id is not None and not caller.may_act_for(client_id)):
            return []
        return self._batches.find(batch_id, caller.client_id or client_id)


class Batch:
    """``GET /batches/{batch_id}``: how far a batch is."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup

    def on_get(self, req: falcon.Request, resp: falcon.Response, batch_id: str) -> None:
        """Show the batch."""
        resp.data = as_json(self._lookup.batch(caller_of(req), batch_id, _client_id(req)).to_json())

    on_head = on_get


class Recipients:
    """``GET /batches/{batch_id}/recipients``: what became of each."""

    def __init__(self, lookup: Lookup, batches: Batches) -> None:
        self._lookup = lookup
        self._batches = batches

    def on_get(self, req: falcon.Request, resp: falcon.Response, batch_id: str) -> None:
        """Show a page of them."""
        query = Parameters(req, "state", "client_id", "cursor", "limit")
        client_id, state = query.client_id(), query.choice("state", State)
        cursor, limit = query.cursor(), query.limit()
        query.done()
        client_id = self._lookup.batch(caller_of(req), batch_id, client_id).client_id
        page = _page(
            lambda place: self._batches.page_of_recipients(client_id, batch_id, state, place, limit), cursor
        )
        found = [view.to_json() for view in page.recipients]
        resp.data = as_json({"recipients": found, "next": _outward(page.next)})

    on_head = on_get


class Act:
    """``POST /batches/{batch_id}/<action>``: what is to be done with a whole batch."""

    def __init__(self, action: Action, lookup: Lookup, actions: Actions) -> None:
        self._action = action
        self._lookup = lookup
        self._actions = actions

    def on_post(self, req: falcon.Request, resp: falcon.Response, batch_id: str) -> None:
        """Do it, and show the batch as it is then; 409 where there is nothing to do."""
        client_id, caller = _client_id(req), caller_of(req)
        batch = self._lookup.batch(caller, batch_id, client_id)
        effect = self._actions.act(self._action, batch.client_id, batch_id)
        batch = self._lookup.batch(caller, batch_id, batch.client_id)
        if effect is not Effect.DONE:
            raise Refusal(409, f"there is nothing to {self._action}: batch {batch_id} is {batch.state}")
        resp.status = falcon.HTTP_202
        resp.data = as_json(batch.to_json())


def _client_id(req: falcon.Request) -> str | None:
    query = Parameters(req, "client_id")
    client_id = query.client_id()
    query.done()
    return client_id


def _page(read: Callable[[str], Page], cursor: str) -> Page:
    try:
        place = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        return read(place)
    except (binascii.Error, ValueError):
        raise Refusal(422, str(_NOT_OURS), [_NOT_OURS]) from None


def _outward(place: str | None) -> str | None:
    # The queue's own words for a place would need quoting in a URL.
    return None if place is None else base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")
