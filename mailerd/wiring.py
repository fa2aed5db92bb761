"""
The wiring: the only place that names concrete classes and hands them to the rooms.

Each process of the daemon gets its role here; nothing is connected before the process that uses it runs.
Called by the command line.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from functools import partial
from importlib.metadata import version
from queue import SimpleQueue
from signal import Signals

from setproctitle import setproctitle

from mailerd import embedded
from mailerd import log as logs
from mailerd.api.access import Caller, Keyring
from mailerd.api.app import create_app
from mailerd.api.ports import Ports, Preflight, Sources
from mailerd.api.server import Server, serve
from mailerd.board import Death, Slot
from mailerd.clock import Clock, Stop, SystemClock
from mailerd.config import Config
from mailerd.config.entries import EVERY_CLIENT, ApiKey
from mailerd.daemon import linux, main, processes
from mailerd.daemon.gate import Gate
from mailerd.daemon.roles import Roles
from mailerd.preflight.apart import Apart
from mailerd.queue import scripts
from mailerd.queue.actions import Actions
from mailerd.queue.batches import Batches
from mailerd.queue.connection import connect
from mailerd.queue.enqueue import TIMEOUT, Enqueuer
from mailerd.queue.keys import Keys
from mailerd.queue.limit_views import limit_views
from mailerd.queue.metrics import Metrics
from mailerd.queue.probe import Reachability, wait_for_redis
from mailerd.work.janitor import Janitor, Overview
from mailerd.work.kit import Kit
from mailerd.work.worker import Worker

log = logging.getLogger(__name__)


def run(config: Config, reload: Callable[[], Config]) -> int:
    """
    Be the daemon until it ends; its exit code.

    ``reload`` reads the configuration again. Raises the ``MailerdError`` that a start failed with.
    """
    logs.setup(config.log)
    _introduce(config)
    if not config.redis.embedded:
        return main.run(config, roles(reload, SystemClock()))
    server = embedded.start(
        config.daemon.state_dir, before_exec=lambda: linux.signal_when_parent_dies(Signals.SIGTERM)
    )
    try:
        own = config.with_redis_url(server.url)
        return main.run(own, roles(lambda: reload().with_redis_url(server.url), SystemClock()))
    finally:
        server.stop()


def roles(reload: Callable[[], Config], clock: Clock) -> Roles:
    """What each process of the daemon does."""
    overview = Overview()

    def housekeep(config: Config, stop: Stop, deaths: SimpleQueue[Death | None]) -> None:
        Janitor(config, stop, clock, overview).run(deaths)

    return Roles(
        prepare=lambda config: prepare(config, clock),
        serve=lambda config, sock, gate, board: open_door(
            config, sock, gate, clock, board.slots, overview, Apart(lambda: gate.config).look
        ),
        probe=lambda config, stop, waiting: wait_for_redis(config, stop, clock, waiting),
        housekeep=housekeep,
        describe=lambda: overview.text,
        reload=reload,
    )


def open_door(
    config: Config,
    sock: socket.socket,
    gate: Gate,
    clock: Clock,
    slots: Iterable[Slot],
    overview: Overview,
    preflight: Preflight,
) -> Server:
    """Start the HTTP threads."""
    if not config.api.keys:
        log.info(
            "HTTP is open to whoever reaches it, on this host only: there are no [[api.keys]]",
            extra={"event": "http.open_to_all"},
        )
    max_body = config.api.max_body_mb * 2**20
    client = connect(config.redis, timeout=TIMEOUT, connect_timeout=TIMEOUT)
    keys = Keys(config.queue.name)
    reachable = Reachability(config, clock).__bool__
    figures = Metrics(client, keys).read
    limits = partial(limit_views, client, keys, config.limits)
    sources = Sources(figures, slots, processes.private_memory, lambda: overview.events, limits)
    batches, actions = Batches(client, keys), Actions(client, keys, config.redis.replicas)
    ports = Ports(Enqueuer.of(config, clock), batches, actions, gate, reachable, sources, preflight)
    app = create_app(ports, keyring(config.api.keys), max_body)
    with linux.on_one_core() if config.api.one_core else nullcontext():
        return serve(app, sock, config.api.threads, gate, max_body, clock)


def keyring(keys: Iterable[ApiKey]) -> Keyring:
    """The keys of the configuration as the door takes them."""
    return Keyring(
        (Caller(None if key.client_id == EVERY_CLIENT else key.client_id), key.sha256.get_secret_value())
        for key in keys
    )


def prepare(config: Config, clock: Clock) -> Callable[[Slot, Stop, Stop], int]:
    """
    A worker's life; all that can be made, imported and read before the fork is, for all of them at once.

    Nothing is connected here. Its memory stays shared with every worker.
    """
    "localhost".encode("idna")  # the first look-up of a host name imports half a megabyte
    scripts.preload()
    connect(config.redis)
    kit = Kit.of(config)

    def work(slot: Slot, stop: Stop, hurry: Stop) -> int:
        def show(doing: str) -> None:
            setproctitle(f"mailerd: worker {slot.number} {doing}")

        return Worker(config, kit, slot, (stop, hurry), clock, show).run()

    return work


def _introduce(config: Config) -> None:
    log.info(
        "mailerd %s: queue %s, fetch %s, transport %s, unknown outcomes %s",
        version("mailerd"),
        config.queue.name,
        config.queue.fetch,
        config.mail.transport,
        {"hold": "are held", "resend": "are sent again"}[config.mail.unknown],
        extra={"event": "main.starting", "fetch": config.queue.fetch, "unknown": config.mail.unknown},
    )
    if config.queue.fetch == "brpop":
        log.warning(
            "queue.fetch is brpop: a worker that dies in the instant between pop and record loses that job",
            extra={"event": "main.warning"},
        )
    for warning in config.warnings():
        log.warning("%s", warning, extra={"event": "main.warning"})
