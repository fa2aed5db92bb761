"""What is looked at before anything is taken from a Redis."""

from __future__ import annotations

import pytest

from mailerd.errors import RedisRefused
from mailerd.queue.probe import examine
from rigs.ledger_bench import LedgerBench


def test_a_full_redis_that_is_known_can_be_used(real_bench: LedgerBench) -> None:
    """A daemon starts over a full Redis: only its workers can make room."""
    examine(real_bench.client, real_bench.config)
    real_bench.client.config_set("maxmemory", 1)
    try:
        assert examine(real_bench.client, real_bench.config) is not None
    finally:
        real_bench.client.config_set("maxmemory", 0)


def test_the_layout_of_a_newer_mailerd_is_refused(real_bench: LedgerBench) -> None:
    """What a newer mailerd has laid out is not touched, and both versions are named."""
    real_bench.client.set(real_bench.keys.schema, 2)

    with pytest.raises(RedisRefused, match="says layout 2, this mailerd knows 1: install the newer one"):
        examine(real_bench.client, real_bench.config)


@pytest.mark.parametrize("accepted", [False, True])
@pytest.mark.covers("queues-11")
def test_a_redis_that_evicts_is_refused_unless_accepted(real_bench: LedgerBench, accepted: bool) -> None:
    """Any policy but noeviction loses mail: refused, or with accept_eviction warned of."""
    redis = real_bench.config.redis.model_copy(update={"accept_eviction": accepted})
    config = real_bench.config.model_copy(update={"redis": redis})
    real_bench.client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        if accepted:
            assert any("allkeys-lru" in warning for warning in examine(real_bench.client, config))
        else:
            with pytest.raises(RedisRefused, match="allkeys-lru"):
                examine(real_bench.client, config)
    finally:
        real_bench.client.config_set("maxmemory-policy", "noeviction")
