"""The protocol in every order of events: nothing is wrong, and something is without any of its guards."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

import mailerd.queue
from chaos.model.cases import QUICK, cases
from chaos.model.conformance import Calls, walk
from chaos.model.coverage import MODELLED, NOT_MODELLED
from chaos.model.explore import explore
from chaos.model.planted import PLANTED, Planted
from chaos.model.run import told
from chaos.model.state import Case
from rigs.ledger_bench import LedgerBench
from rigs.redis_server import RedisServer


def tell(line: str) -> None:
    """Progress, where pytest shows it."""
    sys.stderr.write(f"{line}\n")


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.name)
def test_nothing_is_wrong_in_a_small_world(case: Case) -> None:
    """In every order of two workers and a trouble: nobody lost, nobody twice, one ticket, an end."""
    found = explore(case)
    assert not found.breach, told(case, found, 0)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("case", cases(resend=False) + cases(resend=True), ids=lambda case: case.name)
def test_nothing_is_wrong(case: Case) -> None:
    """The same with every fault at every moment, some in pairs, some with an operator's words."""
    found = explore(case, tell)
    print(told(case, found, 0))
    assert not found.breach, told(case, found, 0)


@pytest.mark.slow
@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.guard)
def test_without_any_guard_something_is(planted: Planted) -> None:
    """Each guard is needed: without it the search ends with the breach that follows."""
    case = planted.as_case()
    found = explore(case, tell)
    assert planted.finds in found.breach, told(case, found, 0)


WALKED = (*cases(resend=False), *cases(resend=True))


def _walked(case: Case, seeds: Iterable[int], valkey: RedisServer, patch: pytest.MonkeyPatch) -> int:
    calls, compared = Calls(patch), 0
    with valkey.client() as client:
        for seed in seeds:
            client.flushall()
            bench = LedgerBench(client, valkey.url, slice=case.slice, max_deaths=case.max_deaths or 1000)
            compared += walk(replace(case, most_faults=4), bench, seed, 80, calls)
    return compared


def test_the_model_does_what_the_scripts_do(valkey: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each script of a walk at random answers as the model does, and leaves in Redis what the model says."""
    assert _walked(WALKED[0], [1], valkey, monkeypatch) > 20


@pytest.mark.slow
@pytest.mark.parametrize("case", WALKED, ids=lambda case: f"{case.name}, {case.resend}")
def test_the_model_does_what_the_scripts_do_at_length(
    case: Case, valkey: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same for several walks through each case."""
    assert _walked(case, range(2, 5), valkey, monkeypatch) > 60


def test_each_script_is_in_the_model_or_has_a_reason_not_to_be() -> None:
    """A script that is added or renamed has to be thought of here."""
    scripts = Path(mailerd.queue.__file__).parent / "scripts"
    names = {path.stem for path in scripts.glob("*.lua")} - {"prelude", "prelude_limits"}
    modelled: dict[str, Callable[..., object]] = MODELLED
    assert set(modelled) | set(NOT_MODELLED) == names
    assert not set(modelled) & set(NOT_MODELLED)
    for name, step in modelled.items():
        assert step.__name__.rstrip("_") == name
