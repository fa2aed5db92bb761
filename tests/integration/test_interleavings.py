"""Nothing lost, nobody twice: whatever happens between any two commands of three workers and the janitor."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailerd.queue.model import Action, Effect
from mailerd.queue.payloads import Ticket
from rigs.interleaving import Stage
from rigs.ledger_bench import LedgerBench, contacts, job
from rigs.redis_server import RedisServer

SMALL, LARGE = "b1", "b2"


def play(
    valkey: RedisServer,
    folder: Path,
    seed: int,
    turns: int,
    monkeypatch: pytest.MonkeyPatch,
    *,
    deadly: bool = False,
) -> None:
    # So that a job of ninety is cut in several scripts.
    monkeypatch.setattr("mailerd.work.handler.ROWS_IN_A_SCRIPT", 25)
    with valkey.client() as client:
        bench = LedgerBench(client, valkey.url, max_deaths=1000)

        def check() -> None:
            for batch in (SMALL, LARGE):
                bench.assert_conserved(batch)
                assert bench.tickets(batch) <= 1
                if client.llen(bench.keys.side(f"shop/{batch}")):
                    assert bench.tickets(batch) == 1, "slices without a ticket"
            twice = [contact for contact, times in stage.post.may_have.items() if times > 1]
            assert not twice, "handed over twice"

        stage = Stage(bench, folder, seed, check, deadly=deadly)
        small = [f"s{number}" for number in range(8)]
        bench.enqueuer().enqueue(job(small, SMALL), "request")
        bench.enqueuer().enqueue(job(contacts(90), LARGE), "request")
        stage.play(turns, pushes(turns, small))
        stage.work_off()
        stage.play(turns // 4, {0: job(contacts(35, start=90), LARGE).to_json()})
        stage.work_off()
        stage.close()

        assert bench.leftovers() == {}
        assert_everybody_is_settled_once(stage, SMALL, [f"s{number}" for number in range(30)])
        assert_everybody_is_settled_once(stage, LARGE, contacts(125))


def pushes(turns: int, small: list[str]) -> dict[int, bytes]:
    """What other programs push, and in which turn."""
    foreign = job(contacts(60, start=50), LARGE).to_json()
    overlapping = job([*small[3:], "s8", "s9"], SMALL).to_json()
    singles = {100 + turns // 30 * each: job([f"s{10 + each}"], SMALL).to_json() for each in range(20)}
    late = {201: job(contacts(8), LARGE).to_json(), 301: Ticket("shop", "nobody").to_bytes()}
    return {0: foreign, 20: overlapping, 60: foreign, **singles, **late}


def assert_everybody_is_settled_once(stage: Stage, batch: str, everybody: list[str]) -> None:
    states = stage.bench.states(batch)
    assert sorted(states) == sorted(everybody)
    assert int(stage.bench.record(batch)["recipients"]) == len(everybody)
    for contact, state in states.items():
        times = stage.post.may_have[contact]
        assert state in ("sent", "unknown", "failed", "invalid"), (contact, state)
        assert times == (1 if state in ("sent", "unknown") else 0), (contact, state, times)


def play_until_cancelled(valkey: RedisServer, folder: Path, seed: int, patch: pytest.MonkeyPatch) -> None:
    patch.setattr("mailerd.work.handler.ROWS_IN_A_SCRIPT", 25)
    with valkey.client() as client:
        bench = LedgerBench(client, valkey.url, max_deaths=1000)

        def check() -> None:
            bench.assert_conserved(LARGE)
            assert max(stage.post.may_have.values(), default=0) <= 1, "handed over twice"

        stage = Stage(bench, folder, seed, check)
        bench.enqueuer().enqueue(job(contacts(90), LARGE), "request")
        stage.play(100 + 10 * seed % 400, {30: job(contacts(60, start=50), LARGE).to_json()})
        assert stage.say(Action.CANCEL, "shop", LARGE) is Effect.DONE, "it was over before"
        before, in_hand = stage.post.may_have.total(), bench.counts(LARGE).get("sending", 0)
        stage.play(200, {0: job(contacts(20, start=100), LARGE).to_json()})
        stage.work_off()
        stage.close()

        assert bench.leftovers() == {}
        states = bench.states(LARGE)
        assert int(bench.record(LARGE)["recipients"]) == len(states)
        assert stage.post.may_have.total() <= before + in_hand
        assert set(states.values()) <= {"sent", "unknown", "failed", "invalid", "cancelled"}
        for contact, state in states.items():
            assert stage.post.may_have[contact] == (1 if state in ("sent", "unknown") else 0), (
                contact,
                state,
            )


def play_discarding(valkey: RedisServer, folder: Path, seed: int, turns: int) -> None:
    """Nothing is handed over: jobs of several batches in one hand, some of whose recipients are known."""
    with valkey.client() as client:
        bench = LedgerBench(client, valkey.url, max_deaths=1000)
        batches = ("b1", "b2", "b3")

        def check() -> None:
            for batch in batches:
                bench.assert_conserved(batch)

        stage = Stage(bench, folder, seed, check, transport="none")
        bench.enqueuer().enqueue(job(contacts(5), "b1"), "request")
        bench.enqueuer().enqueue(job(contacts(80), "b3"), "request")
        every = turns // 40
        jobs = [job(contacts(2, 2 * each), f"b{1 + each // 2 % 2}").to_json() for each in range(114)]
        # Three of two batches side by side, and some once more.
        pushed = {each // 3 * every + each % 3: raw for each, raw in enumerate(jobs)}
        pushed |= {turn + 3: raw for turn, raw in pushed.items() if turn % (5 * every) == 0}
        stage.play(turns, pushed | {turns // 2: job(contacts(20, 70), "b3").to_json()})
        stage.work_off()
        stage.close()

        assert bench.leftovers() == {}
        assert bench.states("b3") == dict.fromkeys(contacts(90), "discarded")
        states = bench.states("b1") | bench.states("b2")
        assert states == dict.fromkeys(contacts(228), "discarded")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_whoever_is_discarded_is_counted_once(valkey: RedisServer, tmp_path: Path, seed: int) -> None:
    """After every command the sums hold, and in the end everybody is discarded and no job is left."""
    play_discarding(valkey, tmp_path, seed, 300)


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 7))])
def test_a_cancelled_batch_ends_and_sends_nothing_more(
    valkey: RedisServer, tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled at any moment of any order, everybody ends, and only those in hand may still get the mail."""
    play_until_cancelled(valkey, tmp_path, seed, monkeypatch)


@pytest.mark.parametrize("seed", [0])
@pytest.mark.covers("mail-19", "queues-1")
def test_nobody_is_lost_and_nobody_gets_two(
    valkey: RedisServer, tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After every command the sums hold and one ticket goes round; in the end everybody is settled once."""
    play(valkey, tmp_path, seed, 400, monkeypatch)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(100, 104))
def test_nobody_is_lost_and_nobody_gets_two_at_length(
    valkey: RedisServer, tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same over many more orders."""
    play(valkey, tmp_path, seed, 1200, monkeypatch)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_burial_after_each_death_loses_nobody(
    valkey: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The janitor buries, and is killed in the middle of it as anybody is: the same sums, the same ends."""
    monkeypatch.setattr("mailerd.queue.burial.ROWS_IN_A_SCRIPT", 25)
    play(valkey, tmp_path, 201, 400, monkeypatch, deadly=True)
