"""
Who is asking: bearer tokens, and which client each of them may act for.

``Access`` asks for the key before a resource is reached and leaves a ``Caller`` with the request; the
resources ask that for every client id they meet. Tokens are known by their SHA-256 only. A batch of another
client is as unknown as one that does not exist, and costs the same look-up.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import falcon

from mailerd.api.problems import Refusal

_CHALLENGE = 'Bearer realm="mailerd"'


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose jobs and batches a request may touch: one client's, or with None those of every client."""

    client_id: str | None

    def may_act_for(self, client_id: str) -> bool:
        """Whether that client's jobs are this caller's business."""
        return self.client_id in (None, client_id)

    def refuse_other(self, client_id: str) -> None:
        """Raise the 403 where that client is another one."""
        if not self.may_act_for(client_id):
            raise Refusal(403, f"this key is for client {self.client_id}, not for {client_id}")


ANYBODY = Caller(None)


class Keyring:
    """The keys that open the door; an empty one leaves it open."""

    def __init__(self, keys: Iterable[tuple[Caller, str]] = ()) -> None:
        """``keys``: who comes in, and the SHA-256 of the token in hexadecimal digits."""
        self._keys = [(caller, bytes.fromhex(digest)) for caller, digest in keys]

    def caller(self, token: str) -> Caller | None:
        """Whom the token lets in; takes as long for a wrong one as for a right one."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        found = None
        for caller, known in self._keys:
            if hmac.compare_digest(digest, known):
                found = caller
        return found

    def __bool__(self) -> bool:
        """Whether a key is needed at all."""
        return bool(self._keys)


class Access:
    """Falcon middleware: the 401, and the ``Caller`` of each request; ``open_to_all`` need no key."""

    def __init__(self, keyring: Keyring, open_to_all: tuple[type, ...]) -> None:
        self._keyring = keyring
        self._open_to_all = open_to_all

    def process_resource(
        self, req: falcon.Request, _resp: falcon.Response, resource: object, _params: dict[str, Any]
    ) -> None:
        """Let in who may come in."""
        if not self._keyring:
            req.context.caller = ANYBODY
        elif not isinstance(resource, self._open_to_all):
            req.context.caller = self._known(req)

    def _known(self, req: falcon.Request) -> Caller:
        scheme, _, token = (req.auth or "").strip().partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise _unauthorized("a key is needed: Authorization: Bearer TOKEN", "")
        caller = self._keyring.caller(token.strip())
        if caller is None:
            raise _unauthorized("nobody has this key", ', error="invalid_token"')
        return caller


def caller_of(req: falcon.Request) -> Caller:
    """Who is asking."""
    caller: Caller = req.context.caller
    return caller


def _unauthorized(detail: str, why: str) -> Refusal:
    return Refusal(401, detail, headers={"WWW-Authenticate": _CHALLENGE + why})
