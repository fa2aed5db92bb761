"""Rows as people read them; the form is the one in the scripts' prelude."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from mailerd.outcome import State
from mailerd.queue.ledger import LETTERS
from mailerd.queue.rows import STATES, Row, parse_row

REASONS = {"1": "550 no such user"}


@pytest.mark.parametrize(
    ("value", "row"),
    [
        ("q", Row(State.QUEUED, 0, "waiting to be sent")),
        ("q7,,2,3", Row(State.QUEUED, 7, "waiting to be sent")),
        ("c8,41,,", Row(State.SENDING, 8, "being handed over")),
        ("d9,1,1,9", Row(State.DEFERRED, 9, "550 no such user")),
        ("u10,41,0,", Row(State.UNKNOWN, 10, "handed over, and the answer was lost")),
        ("s11", Row(State.SENT, 11, "accepted by the server")),
        ("f12,1", Row(State.FAILED, 12, "550 no such user")),
        ("i13,2", Row(State.INVALID, 13, "no reason was kept")),
    ],
)
def test_a_row_is_read(value: str, row: Row) -> None:
    """Its state, when, and why, whatever else the scripts keep in it."""
    assert parse_row(value, REASONS) == row


def test_python_and_lua_mean_the_same_letters() -> None:
    """The table of letters in the prelude is the one here, and the ledger books only letters in it."""
    prelude = (resources.files("mailerd.queue") / "scripts" / "prelude.lua").read_text()
    table = prelude.partition("local STATE = {")[2].partition("}")[0]
    assert dict(re.findall(r"(\w) = '(\w+)'", table)) == {key: str(state) for key, state in STATES.items()}
    assert set(LETTERS.values()) <= set(STATES)
