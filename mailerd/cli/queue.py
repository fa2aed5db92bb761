"""
The queue as the commands reach it: opened with short time-outs, its faults in one line that helps.

Names what of the queue's room a command uses; decides nothing. Called by the commands that look at or change
what lies in Redis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from mailerd import embedded
from mailerd.cli.output import AnswerIsNo, AskedAmiss
from mailerd.clock import SystemClock
from mailerd.config import Config
from mailerd.errors import RedisNotReachable
from mailerd.queue.actions import Actions
from mailerd.queue.alerts import Alert, RelayNotes, SharedAlert
from mailerd.queue.batches import Batches, queue_status
from mailerd.queue.connection import connect
from mailerd.queue.dead_letters import DeadLetters, Unknowns
from mailerd.queue.diagnosis import Complaint, diagnose
from mailerd.queue.keys import Keys
from mailerd.queue.limit_views import LimitView, limit_views
from mailerd.queue.model import BatchView, QueueStatus
from mailerd.queue.probe import describe, named

# Seconds: somebody sits and waits.
TIMEOUT = 3.0
CONNECT_TIMEOUT = 2.0


class NoSuchBatch(AnswerIsNo):
    """No such batch is known."""


@dataclass(frozen=True, slots=True)
class Queue:
    """
    What there is to ask and to do.

    ``status`` tells how the queue is at that moment, ``diagnose`` what is wrong with it, ``server`` what
    kind of Redis it is, with which replicas, ``alert`` what keeps mail from leaving, ``relays`` which servers
    for mail are left alone, ``limits`` how those of the fleet stand.
    """

    batches: Batches
    dead_letters: DeadLetters
    unknowns: Unknowns
    actions: Actions
    status: Callable[[], QueueStatus]
    diagnose: Callable[[], Iterator[Complaint]]
    server: Callable[[], str]
    alert: Callable[[], Alert | None]
    relays: Callable[[], dict[str, str]]
    limits: Callable[[], list[LimitView]]

    def batch(self, batch_id: str, client_id: str | None) -> BatchView:
        """The batch that is meant. Raises ``NoSuchBatch``, or ``AskedAmiss`` where there are several."""
        found = self.batches.find(batch_id, client_id)
        if not found:
            whose = f" of client {client_id}" if client_id else ""
            raise NoSuchBatch(f"no batch {batch_id}{whose} is known")
        if len(found) > 1:
            clients = ", ".join(sorted(view.client_id for view in found))
            raise AskedAmiss(f"{len(found)} clients have a batch {batch_id}; name one by --client: {clients}")
        return found[0]


@contextmanager
def opened(config: Config) -> Iterator[Queue]:
    """
    The configured queue.

    Whatever Redis does inside becomes ``RedisNotReachable`` or ``RedisRefused``, saying where it was.
    """
    config = reached(config)
    client = connect(config.redis, timeout=TIMEOUT, connect_timeout=CONNECT_TIMEOUT)
    keys = Keys(config.queue.name)
    queue = Queue(
        Batches(client, keys),
        DeadLetters(client, keys),
        Unknowns(client, keys),
        Actions(client, keys, config.redis.replicas),
        partial(queue_status, client, keys),
        partial(diagnose, client, keys, config.redis.replicas),
        partial(describe, client),
        SharedAlert(client, keys.alert).read,
        RelayNotes(client, keys, SystemClock()).read,
        partial(limit_views, client, keys, config.limits),
    )
    try:
        with named(config):
            yield queue
    except RedisNotReachable as fault:
        if config.redis.embedded or not embedded.runs(config.daemon.state_dir):
            raise
        hint = "a daemon with its own Valkey runs here: set MAILERD_REDIS__EMBEDDED=true to reach that"
        raise RedisNotReachable(f"{fault}; {hint}") from fault


def reached(config: Config) -> Config:
    """The configuration with the Redis that the daemon uses: its own where it is told to bring one."""
    if not config.redis.embedded:
        return config
    return config.with_redis_url(embedded.address(config.daemon.state_dir))
