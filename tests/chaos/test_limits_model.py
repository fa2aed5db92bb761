"""Limits in every order of events, by the real scripts; and each planted fault is found."""

from __future__ import annotations

import pytest

from chaos.limits.cases import CASES, PLANTED, Planted
from chaos.limits.explore import explore, told
from chaos.limits.moves import Case
from rigs.redis_server import RedisServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_nothing_is_wrong(case: Case, valkey: RedisServer) -> None:
    """No window sees more, no permit is lost for ever, nobody passes a line, all in it are served."""
    with valkey.client() as client:
        found = explore(case, client)
    assert not found.breach, told(case.name, found, 0)


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.fault)
def test_a_planted_fault_is_found(planted: Planted, valkey: RedisServer) -> None:
    """Each guard is needed: without it the search ends with the breach that follows."""
    with valkey.client() as client:
        found = explore(planted.case, client, planted.edits)
    assert planted.finds in found.breach, told(planted.fault, found, 0)
    assert found.breach
