"""The pool of workers under real signals: refilled, watched, resized, recycled, reloaded."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from signal import Signals

import psutil
import pytest

from rigs.made_up import MadeUp
from rigs.waiting import holds_for, wait_until


def forks(daemon: MadeUp) -> int:
    return sum(entry["event"] == "fork" for entry in daemon.notes("audit"))


def signals_sent(daemon: MadeUp, pid: int) -> list[Signals]:
    return [
        Signals(entry["signal"])
        for entry in daemon.notes("audit")
        if entry["event"] == "kill" and entry["to"] == pid
    ]


@pytest.mark.covers("supervisor-12", "supervisor-13")
def test_a_killed_worker_is_replaced_at_once_and_its_remains_are_settled(
    made_up: Callable[..., MadeUp],
) -> None:
    """The slot is filled within a second, the other worker stays, and the janitor gets what was in hand."""
    daemon = made_up(workers={"processes": 3})
    daemon.tell("hold")
    daemon.start().wait_until_ready().holding()
    before = daemon.workers()

    daemon.send(signal.SIGKILL, before[2])

    wait_until(lambda: daemon.workers().get(2, before[2]) != before[2], 1.0)
    after = daemon.workers()
    assert (after[1], after[3]) == (before[1], before[3])
    death = wait_until(lambda: daemon.notes("deaths"))[0]
    assert (death["slot"], death["how"]) == (2, "killed by SIGKILL")
    assert death["phases"] == {"ann": "OUTCOME", "ben": "HANDED_OVER", "cem": "CLAIMED"}
    wait_until(lambda: list((daemon.folder / "state" / "remains").iterdir()) == [])


def test_a_worker_that_did_a_job_is_followed_at_once(made_up: Callable[..., MadeUp]) -> None:
    """Also where jobs are only logged: however often it dies, it is no crash loop."""
    daemon = made_up()
    daemon.tell("jobs")
    daemon.start().wait_until_ready()
    for _ in range(3):
        victim = daemon.workers()[1]
        daemon.send(signal.SIGKILL, victim)
        wait_until(lambda gone=victim: daemon.workers().get(1, gone) != gone, 1.5, lambda: daemon.log)


@pytest.mark.slow
@pytest.mark.covers("supervisor-17")
def test_a_stopped_worker_is_aborted_once_killed_once_and_replaced(made_up: Callable[..., MadeUp]) -> None:
    """A worker that no longer renews its deadline gets exactly one ABRT and, two seconds later, one KILL."""
    daemon = made_up().start().wait_until_ready()
    before = daemon.workers()

    daemon.send(signal.SIGSTOP, before[1])

    wait_until(lambda: daemon.workers().get(1, before[1]) != before[1], 8.0, lambda: daemon.log)
    assert signals_sent(daemon, before[1]) == [Signals.SIGABRT, Signals.SIGKILL]
    assert daemon.workers()[2] == before[2], daemon.log
    assert "killed by SIGKILL, as it hung" in daemon.log


@pytest.mark.covers("supervisor-16")
def test_a_hanging_worker_shows_its_stacks(made_up: Callable[..., MadeUp]) -> None:
    """ABRT makes a worker dump its stacks into the log before it dies."""
    daemon = made_up().start().wait_until_ready()

    daemon.send(signal.SIGABRT, daemon.workers()[1])

    wait_until(lambda: "in work" in daemon.log, 5.0, lambda: daemon.log)
    assert "Fatal Python error: Aborted" in daemon.log


@pytest.mark.slow
@pytest.mark.covers("supervisor-9")
def test_workers_that_die_at_boot_do_not_spin(made_up: Callable[..., MadeUp]) -> None:
    """A crash loop is slow, keeps the daemon alive, says so, and ends when the cause does."""
    daemon = made_up()
    daemon.tell("crash")
    daemon.start()
    wait_until(lambda: "Ready: 0/2 workers (worker 1: exit code 3" in daemon.log, 12.0, lambda: daemon.log)

    assert 6 <= forks(daemon) <= 11  # the supervisor, and at most five starts of each worker in five seconds

    daemon.untell("crash")
    wait_until(lambda: len(daemon.workers()) == 2, 15.0)
    daemon.send(signal.SIGTERM)
    assert daemon.wait() == 0


def test_a_refused_configuration_at_boot_ends_the_start(made_up: Callable[..., MadeUp]) -> None:
    """A worker that cannot use the configuration, before any could, ends the daemon with 78."""
    daemon = made_up()
    daemon.tell("refuse")

    assert daemon.start().wait() == 78
    assert "contacts.url: has no driver" in daemon.log


def test_ttin_and_ttou_change_the_pool_by_one(made_up: Callable[..., MadeUp]) -> None:
    """TTIN adds a worker, TTOU takes the last one away, never the only one; the others stay."""
    daemon = made_up().start().wait_until_ready()
    before = daemon.workers()

    daemon.send(signal.SIGTTIN)
    wait_until(lambda: daemon.workers().keys() == {1, 2, 3})
    daemon.send(signal.SIGTTOU)
    wait_until(lambda: daemon.workers() == before)
    daemon.send(signal.SIGTTOU)
    wait_until(lambda: daemon.workers().keys() == {1})
    daemon.send(signal.SIGTTOU)

    holds_for(lambda: daemon.workers() == {1: before[1]}, 0.5)


@pytest.mark.covers("supervisor-21", "supervisor-1")
def test_workers_are_recycled_one_at_a_time(made_up: Callable[..., MadeUp]) -> None:
    """Workers under equal load that have done their jobs are replaced, never two of them at once."""
    daemon = made_up(workers={"processes": 4, "max_jobs": 30})
    daemon.tell("jobs")
    daemon.tell("settle")
    daemon.start().wait_until_ready()
    before = daemon.workers()

    def all_replaced() -> bool:
        now = daemon.workers()
        return len(now) == 4 and not set(now.values()) & set(before.values())

    wait_until(all_replaced, 15.0, lambda: daemon.log)
    assert "worker 1: Worker is replaced: " in daemon.log
    done = [entry["event"] for entry in daemon.notes("audit") if entry.get("signal", Signals.SIGTERM)]
    assert done[:5] == ["fork"] * 5  # the supervisor and four workers
    assert done[5:13] == ["kill", "fork"] * 4


@pytest.mark.slow
def test_workers_that_grow_too_large_are_recycled(made_up: Callable[..., MadeUp]) -> None:
    """A worker with more memory of its own than max_memory_mb is replaced in time."""
    daemon = made_up(workers={"processes": 1, "max_memory_mb": 1}).start().wait_until_ready()

    wait_until(lambda: " MB of memory" in daemon.log, 15.0, lambda: daemon.log)
    wait_until(lambda: "worker 1: Worker has left" in daemon.log)


def test_a_good_reload_replaces_every_worker(made_up: Callable[..., MadeUp]) -> None:
    """HUP with a good file replaces the workers one by one, and the size of the pool follows."""
    daemon = made_up().start().wait_until_ready()
    before = set(daemon.workers().values())
    daemon.tell(
        "reload", json.dumps(daemon.sections | {"workers": daemon.sections["workers"] | {"processes": 3}})
    )

    daemon.send(signal.SIGHUP)

    wait_until(
        lambda: len(now := daemon.workers()) == 3 and not before & set(now.values()), 10.0, lambda: daemon.log
    )
    daemon.send(signal.SIGTERM)
    assert daemon.wait() == 0


@pytest.mark.covers("supervisor-2")
def test_reloads_leak_nothing(made_up: Callable[..., MadeUp]) -> None:
    """After ten reloads main and the supervisor have the descriptors and threads that they had before."""
    daemon = made_up().start().wait_until_ready()
    daemon.tell("reload", json.dumps(daemon.sections))
    processes = [psutil.Process(daemon.pid), psutil.Process(daemon.supervisor())]

    def used() -> list[tuple[int, int]]:
        return [(process.num_fds(), process.num_threads()) for process in processes]

    before = used()
    for count in range(1, 11):
        workers = set(daemon.workers().values())
        daemon.send(signal.SIGHUP)
        wait_until(lambda count=count: daemon.log.count("Reloaded: ") == count)
        wait_until(lambda workers=workers: not workers & set(daemon.workers().values()), 10.0)

    wait_until(lambda: used() == before, 5.0, lambda: f"{before} became {used()}")


@pytest.mark.parametrize("file", ["bad", "needs a restart"])
@pytest.mark.covers("supervisor-38")
def test_a_bad_reload_changes_nothing(made_up: Callable[..., MadeUp], file: str) -> None:
    """HUP with a file that is wrong, or that only a restart could follow, is logged and that is all."""
    daemon = made_up().start().wait_until_ready()
    before = daemon.workers()
    daemon.tell(
        "reload", "bad" if file == "bad" else json.dumps(daemon.sections | {"queue": {"name": "other"}})
    )

    daemon.send(signal.SIGHUP)

    wait_until(lambda: "Nothing is changed: " in daemon.log, 5.0, lambda: daemon.log)
    mistakes = "smtp.port: must be a number; smtp.hots: is no setting"
    assert (mistakes if file == "bad" else "queue: a change") in daemon.log
    holds_for(lambda: daemon.workers() == before, 1.0)


def test_usr1_tells_the_state_and_usr2_the_stacks_of_everybody(made_up: Callable[..., MadeUp]) -> None:
    """USR1 writes a line for main, supervisor and each worker; USR2 the stacks of all; everybody lives on."""
    daemon = made_up().start().wait_until_ready()
    before = daemon.workers()

    def told() -> bool:
        """Asked again, since the daemon is ready as soon as one of its workers is."""
        daemon.send(signal.SIGUSR1)
        return f"State: worker 2: pid {before[2]}, idle" in daemon.log

    wait_until(told, 5.0, lambda: daemon.log)
    for line in ("State: main: ready True", "State: supervisor: ", f"State: worker 1: pid {before[1]}, idle"):
        wait_until(lambda line=line: line in daemon.log, 5.0, lambda: daemon.log)
    daemon.send(signal.SIGUSR2)
    for function in ("in housekeep", "in _turn", "in _wait", "in work"):
        wait_until(lambda function=function: function in daemon.log, 5.0, lambda: daemon.log)
    wait_until(lambda: daemon.log.count("in work") == 2, 5.0, lambda: daemon.log)

    assert daemon.workers() == before
    daemon.send(signal.SIGTERM)
    assert daemon.wait() == 0


@pytest.mark.covers("supervisor-3")
def test_a_storm_of_signals_is_survived(made_up: Callable[..., MadeUp]) -> None:
    """Hundreds of signals while logging leave no traceback and no worker behind."""
    daemon = made_up().start().wait_until_ready()
    before = daemon.workers()

    for _ in range(200):
        daemon.send(signal.SIGUSR1)
        daemon.send(signal.SIGCHLD)
        daemon.send(signal.SIGCHLD, daemon.supervisor())

    daemon.send(signal.SIGTTIN)
    wait_until(lambda: len(daemon.workers()) == 3)
    assert daemon.workers().items() > before.items()
    assert "Traceback" not in daemon.log
