"""Children that are young, stuck, busy, strange or all dead at once: what a supervisor can get wrong."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from signal import Signals

import psutil
import pytest

from rigs import needs
from rigs.made_up import MadeUp
from rigs.waiting import holds_for, wait_until

pytestmark = pytest.mark.slow  # each of them waits for real time-outs and real deaths


def signals_sent(daemon: MadeUp, pid: int) -> list[Signals]:
    return [
        Signals(entry["signal"])
        for entry in daemon.notes("audit")
        if entry["event"] == "kill" and entry["to"] == pid
    ]


@pytest.mark.covers("supervisor-4")
def test_a_worker_told_to_stop_while_it_is_born_stops(made_up: Callable[..., MadeUp]) -> None:
    """A TERM between fork and the child's own handlers is kept for it, not lost in its parent's handlers."""
    daemon = made_up(workers={"drain_timeout": 30})
    daemon.tell("slow-birth")
    daemon.start()
    wait_until(lambda: len(daemon.notes("audit")) == 3, 10, lambda: daemon.log)

    daemon.send(signal.SIGTERM)

    assert daemon.wait(6.0) == 0
    assert daemon.survivors() == []


@pytest.mark.covers("supervisor-6")
def test_terms_until_the_last_moment_are_no_crash(made_up: Callable[..., MadeUp]) -> None:
    """Hammered with TERM as fast as another process can, until it is gone, main still exits with 0."""
    daemon = made_up().start().wait_until_ready()
    assert daemon.process is not None

    while daemon.process.poll() is None:
        for _ in range(1000):
            os.kill(daemon.pid, signal.SIGTERM)

    assert daemon.process.returncode == 0
    assert "Traceback" not in daemon.log


@pytest.mark.covers("supervisor-6")
def test_a_term_in_the_last_moment_is_no_crash(made_up: Callable[..., MadeUp]) -> None:
    """A TERM that comes while the interpreter ends, and has no handlers any more, changes no exit code."""
    daemon = made_up()
    daemon.tell("linger")
    daemon.start().wait_until_ready()

    daemon.send(signal.SIGTERM)
    wait_until((daemon.folder / "last-words").exists)
    daemon.send(signal.SIGTERM)

    assert daemon.wait() == 0


@pytest.mark.covers("supervisor-8")
def test_a_strange_child_is_nobodys_business(made_up: Callable[..., MadeUp]) -> None:
    """Children of the supervisor that are no workers may end with any code: reaped, and that is all."""
    daemon = made_up()
    daemon.tell("helpers")
    daemon.start().wait_until_ready()
    before, supervisor = daemon.workers(), psutil.Process(daemon.supervisor())
    assert len(supervisor.children()) == 5

    daemon.tell("dismiss")

    wait_until(lambda: len(supervisor.children()) == 2, 5, lambda: daemon.log)
    holds_for(lambda: daemon.workers() == before, 0.5)
    daemon.send(signal.SIGTERM)
    assert daemon.wait() == 0


def has_ended(daemon: MadeUp) -> bool:
    return daemon.process is not None and daemon.process.poll() is not None


@pytest.mark.covers("supervisor-10")
@pytest.mark.parametrize("cause", ["crash", "refuse"])
def test_who_cannot_start_any_more_harms_nobody_who_works(made_up: Callable[..., MadeUp], cause: str) -> None:
    """Once the daemon is ready, workers that fail at boot leave the others and main alone."""
    daemon = made_up(workers={"processes": 3}).start().wait_until_ready()
    before = daemon.workers()
    daemon.tell(cause)

    daemon.send(signal.SIGKILL, before.pop(2))

    said = f"ended: exit code {3 if cause == 'crash' else 78}"
    wait_until(lambda: daemon.log.count(said) == 2 or has_ended(daemon), 10, lambda: daemon.log)
    assert before.items() <= daemon.workers().items()
    daemon.untell(cause)
    wait_until(lambda: daemon.workers().keys() == {1, 2, 3}, 10, lambda: daemon.log)
    assert before.items() <= daemon.workers().items()


@pytest.mark.covers("supervisor-15", "supervisor-16")
def test_a_worker_stuck_in_c_is_found_and_shows_where(made_up: Callable[..., MadeUp]) -> None:
    """Its side threads go on, its deadline does not: it shows its stacks and dies of the ABRT, unkilled."""
    daemon = made_up(workers={"processes": 1}).start().wait_until_ready()
    stuck = daemon.workers()[1]
    daemon.tell("wedge")

    wait_until(lambda: daemon.log.count("in get_stuck") == 1, 6, lambda: daemon.log)
    daemon.untell("wedge")
    wait_until(lambda: daemon.workers().get(1, stuck) != stuck, 5, lambda: daemon.log)

    assert signals_sent(daemon, stuck) == [Signals.SIGABRT]
    assert "killed by SIGABRT, as it hung" in daemon.log


@pytest.mark.covers("supervisor-18")
def test_a_worker_stuck_before_it_is_ready_is_replaced(made_up: Callable[..., MadeUp]) -> None:
    """Who has not booted in time is ended as any other who hangs."""
    daemon = made_up(workers={"processes": 1})
    daemon.tell("impatient")
    daemon.tell("stuck")
    daemon.start()

    wait_until(lambda: "hangs in state booting" in daemon.log, 6, lambda: daemon.log)
    daemon.untell("stuck")

    wait_until(lambda: "Ready: 1/1 workers" in daemon.log, 10, lambda: daemon.log)


@pytest.mark.slow
@pytest.mark.covers("supervisor-14")
def test_a_busy_worker_is_left_alone(made_up: Callable[..., MadeUp]) -> None:
    """A step may take as long as its worker said that it may, whatever the supervisor's own round is."""
    daemon = made_up()
    daemon.tell("busy")
    daemon.start().wait_until_ready()
    before = daemon.workers()

    holds_for(lambda: daemon.workers() == before, 5.0, daemon.log)

    assert [signals_sent(daemon, pid) for pid in before.values()] == [[], []]


@pytest.mark.slow
@pytest.mark.covers("supervisor-14")
def test_nobody_is_late_who_was_suspended_with_the_supervisor(made_up: Callable[..., MadeUp]) -> None:
    """After the whole daemon stood still, as with its machine, no worker is judged by the lost time."""
    daemon = made_up().start().wait_until_ready()
    before = daemon.workers()

    os.killpg(daemon.pid, signal.SIGSTOP)
    holds_for(lambda: True, 4.0)
    os.killpg(daemon.pid, signal.SIGCONT)

    holds_for(lambda: daemon.workers() == before, 2.0, daemon.log)
    assert "hangs in state" not in daemon.log


@pytest.mark.covers("supervisor-19")
def test_stopped_workers_do_not_stop_the_supervisor(made_up: Callable[..., MadeUp]) -> None:
    """With every worker stopped it goes round as ever."""
    daemon = made_up().start().wait_until_ready()
    for pid in daemon.workers().values():
        daemon.send(signal.SIGSTOP, pid)

    for _ in range(20):
        daemon.send(signal.SIGUSR1)
        holds_for(lambda: True, 0.1)

    rounds = re.findall(r"supervisor: last went round ([\d.]+) s ago", daemon.log)
    assert len(rounds) > 5
    assert max(map(float, rounds)) < 2.0


@pytest.mark.covers("supervisor-20")
def test_a_stop_after_the_death_of_all_workers_is_a_stop(made_up: Callable[..., MadeUp]) -> None:
    """Nothing waits for anything that the dead had still to say."""
    daemon = made_up().start().wait_until_ready()
    for pid in daemon.workers().values():
        daemon.send(signal.SIGKILL, pid)

    daemon.send(signal.SIGTERM)

    assert daemon.wait(5.0) == 0
    assert daemon.survivors() == []


@pytest.mark.root
@pytest.mark.covers("supervisor-40")
def test_a_hidden_proc_breaks_nothing(made_up: Callable[..., MadeUp]) -> None:
    """Where /proc shows nothing but processes (ProcSubset=pid), the pool is measured and stops as ever."""
    needs.root()
    hiding = 'mount -t proc -o subset=pid proc /proc && exec "$@"'
    daemon = made_up(workers={"processes": 1, "max_memory_mb": 1})
    daemon.start(prefix=["unshare", "--mount", "sh", "-c", hiding, "sh"])
    wait_until(lambda: "Ready: " in daemon.log, 10, lambda: daemon.log)
    assert not Path(f"/proc/{daemon.pid}/root/proc/meminfo").exists()

    wait_until(lambda: " MB of memory" in daemon.log, 15, lambda: daemon.log)

    daemon.send(signal.SIGTERM)
    assert daemon.wait() == 0
    assert "Traceback" not in daemon.log
