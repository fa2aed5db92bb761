"""Keys: who comes in, as whom, and what each call says to the others."""

from __future__ import annotations

import hashlib

import pytest

from mailerd.api.access import ANYBODY, Caller, Keyring
from mailerd.api.problems import Refusal


def digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


KEYRING = Keyring(
    [
        (Caller("shop"), digest("one")),
        (Caller("shop"), digest("two")),
        (Caller("club"), digest("drei-ü")),
        (ANYBODY, digest("all")),
    ]
)


@pytest.mark.parametrize(
    ("token", "client"), [("one", "shop"), ("two", "shop"), ("drei-ü", "club"), ("all", None)]
)
def test_a_token_stands_for_its_client(token: str, client: str | None) -> None:
    """A client may have several keys, so that they can be changed one after the other."""
    assert KEYRING.caller(token) == Caller(client)


@pytest.mark.parametrize("token", ["", "One", "one ", "onetwo", digest("one"), "\udce9"])
def test_nobody_has_another_token(token: str) -> None:
    """Neither what is nearly a token nor the digest that the configuration shows."""
    assert KEYRING.caller(token) is None


def test_an_empty_ring_needs_no_key() -> None:
    """Whether a key is needed is the ring's to say."""
    assert not Keyring()
    assert KEYRING


def test_whom_a_caller_may_act_for() -> None:
    """A client for itself, the operator and anybody at an open door for everyone."""
    assert Caller("shop").may_act_for("shop")
    assert not Caller("shop").may_act_for("shop2")
    assert ANYBODY.may_act_for("shop")
    with pytest.raises(Refusal) as caught:
        Caller("shop").refuse_other("club")
    assert caught.value.status_code == 403
