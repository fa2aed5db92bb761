"""Faults of processes: killed, stopped beyond the lease, told to go, to reload, to be more or fewer."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from signal import Signals

import psutil

from chaos import boards
from chaos.fleet import Host
from chaos.schedule import Fault
from chaos.stage import End, Kill, Stage, nothing
from rigs.waiting import wait_until

AIM_WITHIN = 3.0
LOOK_AGAIN = 0.5
YOUNG = 0.4  # of the mail server's delay; an older hand-over may be answered before the kill hits


def _host(stage: Stage, fault: Fault) -> Host:
    return stage.fleet.hosts[fault.host]


def _aim(stage: Stage) -> tuple[Host, psutil.Process, frozenset[int]] | None:
    """A worker that has handed a mail over just now and has no answer yet, and all its ports."""
    known: dict[int, tuple[Host, psutil.Process, frozenset[int]]] = {}
    known_at = 0.0

    def found() -> tuple[Host, psutil.Process, frozenset[int]] | None:
        nonlocal known_at
        if time.monotonic() > known_at + LOOK_AGAIN:
            known.clear()
            known.update(_workers_by_port(stage))
            known_at = time.monotonic()
        newest = stage.fleet.sink.open()[-1:]
        fresh = [one for one in newest if time.monotonic() - one.begun < stage.fleet.setup.delay * YOUNG]
        return known.get(fresh[0].port) if fresh else None

    with contextlib.suppress(AssertionError, OSError):
        return wait_until(found, AIM_WITHIN)
    return None


def _workers_by_port(stage: Stage) -> dict[int, tuple[Host, psutil.Process, frozenset[int]]]:
    found = {}
    for host in stage.fleet.hosts:
        for worker in host.daemon.workers():
            ports = frozenset(host.daemon.ports(worker))
            found.update(dict.fromkeys(ports, (host, worker, ports)))
    return found


def kill_worker(stage: Stage, fault: Fault) -> End:
    """Kill -9 a worker that waits for the answer to a hand-over."""
    aimed = _aim(stage)
    if aimed is None:
        stage.skip(fault.name)
        return nothing
    host, worker, ports = aimed
    boards.stand_still([worker])
    now = time.monotonic()
    stage.worker_kills.append((now, ports))
    stage.kills.append(Kill(host.name, now, boards.unanswered(host, [worker.pid])))
    with contextlib.suppress(psutil.Error):
        worker.kill()
    return nothing


def _stopped(stage: Stage, host: Host, process: psutil.Process) -> End:
    with contextlib.suppress(psutil.Error):
        process.suspend()

    def end() -> None:
        with contextlib.suppress(psutil.Error):
            process.resume()

    return end


def stop_worker(stage: Stage, fault: Fault) -> End:
    """Stop a worker beyond its lease, in the middle of a hand-over."""
    aimed = _aim(stage)
    if aimed is None:
        stage.skip(fault.name)
        return nothing
    host, worker, _ = aimed
    return _stopped(stage, host, worker)


def stop_supervisor(stage: Stage, fault: Fault) -> End:
    """Stop a supervisor."""
    return _with_supervisor(stage, fault, lambda host, one: _stopped(stage, host, one))


def stop_main(stage: Stage, fault: Fault) -> End:
    """Stop a main process."""
    host = _host(stage, fault)
    with contextlib.suppress(psutil.Error):
        return _stopped(stage, host, host.main())
    return nothing


def kill_supervisor(stage: Stage, fault: Fault) -> End:
    """Kill -9 a supervisor; its daemon finishes and is started again."""

    def kill(host: Host, supervisor: psutil.Process) -> End:
        with contextlib.suppress(psutil.Error):
            supervisor.kill()
        return nothing

    return _with_supervisor(stage, fault, kill)


def _with_supervisor(stage: Stage, fault: Fault, do: Callable[[Host, psutil.Process], End]) -> End:
    host = _host(stage, fault)
    with contextlib.suppress(AssertionError, psutil.Error):
        return do(host, host.daemon.supervisor())
    stage.skip(fault.name)
    return nothing


def kill_main(stage: Stage, fault: Fault) -> End:
    """Kill -9 a main process; what is below it ends by itself."""
    _host(stage, fault).send(Signals.SIGKILL)
    return nothing


def kill_host(stage: Stage, fault: Fault) -> End:
    """A host gone: everything of it killed at once, and started again later."""
    host = _host(stage, fault)
    host.down = True
    processes = host.processes()
    boards.stand_still(processes)
    pids = [process.pid for process in processes]
    stage.kills.append(Kill(host.name, time.monotonic(), boards.unanswered(host, pids)))
    for process in host.processes():
        with contextlib.suppress(psutil.Error):
            process.kill()
    with contextlib.suppress(ProcessLookupError):
        host.daemon.kill_everything()

    def end() -> None:
        host.daemon.wait(10)
        host.down = False

    return end


def term(stage: Stage, fault: Fault) -> End:
    """SIGTERM to a daemon; it is started again once it has left."""
    _host(stage, fault).send(Signals.SIGTERM)
    return nothing


def _signal(number: Signals) -> Callable[[Stage, Fault], End]:
    def send(stage: Stage, fault: Fault) -> End:
        _host(stage, fault).send(number)
        return nothing

    return send


def _resized(by: Signals, back: Signals) -> Callable[[Stage, Fault], End]:
    def begin(stage: Stage, fault: Fault) -> End:
        host = _host(stage, fault)
        host.send(by)
        return lambda: host.send(back)

    return begin


FAULTS = {
    "kill-worker": kill_worker,
    "stop-worker": stop_worker,
    "kill-supervisor": kill_supervisor,
    "stop-supervisor": stop_supervisor,
    "kill-main": kill_main,
    "stop-main": stop_main,
    "kill-host": kill_host,
    "term": term,
    "reload": _signal(Signals.SIGHUP),
    "more-workers": _resized(Signals.SIGTTIN, Signals.SIGTTOU),
    "fewer-workers": _resized(Signals.SIGTTOU, Signals.SIGTTIN),
}
