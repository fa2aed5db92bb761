"""
``mailerd status``: the queue at one moment, who works on it, and whether anything needs somebody.

Reads only, and works whether the daemon runs or not.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

import click

from mailerd.cli.configuration import config_option, configuration
from mailerd.cli.output import counted, json_option, show_facts, show_json, show_table
from mailerd.cli.queue import opened, reached
from mailerd.config import Config, scrub
from mailerd.queue.alerts import Alert
from mailerd.queue.model import QueueStatus, WorkerView

# A route out of order is tried again, and seen to be so, once a minute at least.
_STANDING = 120.0


class Attention(NamedTuple):
    """What needs somebody, and the command that helps."""

    what: str
    command: str


@click.command()
@config_option
@json_option
def status(*, as_json: bool) -> None:
    """
    Show the queue, its workers, and whether anything needs attention.

    Answers whether the daemon runs or not. A worker whose lease has lapsed counts as dead; its job goes back
    to the queue as soon as a daemon runs. Exit code 0 also where something needs
    attention: programs read that in the JSON.
    """
    config = configuration()
    with opened(config) as queue:
        now, unknown, server = queue.status(), queue.unknowns.count(), queue.server()
        limits = queue.limits()
        needed = list(attention(now, unknown, queue.alert(), queue.relays()))
    if as_json:
        facts = {"limits": [asdict(limit) for limit in limits], "server": server}
        show_json({**_as_json(config, now, unknown, needed), **facts})
        return
    show_facts(
        [*_facts(config, now, unknown), *(("limit", str(each)) for each in limits), ("server", server)]
    )
    if now.workers:
        click.echo()
        show_table(["incarnation", "host", "pid", "state", "job in hand"], map(_row, now.workers))
    click.echo()
    for what, command in needed:
        click.echo(f"Needs attention: {what}. Next: {command}")
    if not needed:
        click.echo("All is well: nothing needs attention.")


def attention(
    now: QueueStatus, unknown: int, alert: Alert | None, relays: Mapping[str, str]
) -> Iterator[Attention]:
    """Everything that needs somebody, the most urgent first; pure."""
    if not any(worker.alive for worker in now.workers):
        jobs = now.length + now.put_aside + sum(worker.in_hand for worker in now.workers)
        waiting = f", {counted(jobs, 'job')} wait{'s' if jobs == 1 else ''}" if jobs else ""
        yield Attention(f"no living worker, the daemon does not run{waiting}", "systemctl start mailerd")
    if alert and alert.ago < _STANDING:
        yield Attention(f"the route is blocked: {alert.reason}", "mailerd check --online")
    for where, why in relays.items():
        yield Attention(f"the relay {where} is left alone: {why}", "mailerd check --online")
    if unknown:
        whose = "recipient" if unknown == 1 else "recipients"
        yield Attention(f"{unknown:,} {whose} of unknown outcome", "mailerd unknown list")
    if now.dead:
        yield Attention(counted(now.dead, "dead letter"), "mailerd dead list")


def _facts(config: Config, now: QueueStatus, unknown: int) -> list[tuple[str, str]]:
    alive = sum(worker.alive for worker in now.workers)
    gone = len(now.workers) - alive
    return [
        ("queue", f"{config.queue.name} at {_where(config)}"),
        ("waiting", counted(now.length, "job")),
        ("put aside", f"{counted(now.put_aside, 'job')} until due"),
        ("dead", counted(now.dead, "letter")),
        ("unknown", counted(unknown, "recipient")),
        ("workers", f"{alive} alive" + (f", {gone} dead" if gone else "")),
    ]


def _row(worker: WorkerView) -> tuple[str, ...]:
    here = " (here)" if worker.host == socket.gethostname() else ""
    state = "alive" if worker.alive else "dead"
    return worker.incarnation, worker.host + here, str(worker.pid), state, "yes" if worker.in_hand else "no"


def _where(config: Config) -> str:
    return scrub(reached(config).redis.url.get_secret_value())


def _as_json(config: Config, now: QueueStatus, unknown: int, needed: list[Attention]) -> Mapping[str, Any]:
    return {
        "queue": config.queue.name,
        "redis": _where(config),
        "length": now.length,
        "put_aside": now.put_aside,
        "dead": now.dead,
        "unknown": unknown,
        "workers": [
            {
                "incarnation": worker.incarnation,
                "host": worker.host,
                "pid": worker.pid,
                "alive": worker.alive,
                "in_hand": worker.in_hand,
            }
            for worker in now.workers
        ],
        "attention": [{"what": what, "next": command} for what, command in needed],
    }
