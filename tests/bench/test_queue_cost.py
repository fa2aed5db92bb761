"""What a job costs the queue may not creep up: its CPU beside that of the plainest loop, in the same run."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest

from bench.queue_loops import Loops
from rigs.redis_server import RedisServer

RECORDED = json.loads((Path(__file__).parent / "recorded.json").read_text())
JOBS, ROUNDS = 4000, 3
# A third less for the same CPU.
WORSE = 1.5


@pytest.mark.slow
@pytest.mark.parametrize("most", [1, 32])
def test_a_job_costs_no_more_than_it_did(valkey: RedisServer, most: int) -> None:
    """Alone and with others in hand: at most half as much again as recorded, as a share of the plain loop."""
    loops = Loops(valkey, JOBS)
    loops.ours(most)
    shares = [loops.ours(most)["cpu_us"] / loops.plain()["cpu_us"] for _ in range(ROUNDS)]

    assert statistics.median(shares) < WORSE * RECORDED[f"job_of_{most}"], shares
