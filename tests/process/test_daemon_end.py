"""Every way in which the daemon ends, under real signals: nothing stays, and the exit code says why."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable
from signal import Signals

import pytest

from mailerd.board.file import _read
from rigs.made_up import MadeUp
from rigs.waiting import holds_for, wait_until

HELD = {"ann": "OUTCOME", "ben": "HANDED_OVER", "cem": "CLAIMED"}


def holding(daemon: MadeUp) -> MadeUp:
    daemon.tell("hold")
    daemon.start().wait_until_ready().holding()
    return daemon


def forks(daemon: MadeUp) -> int:
    return sum(entry["event"] == "fork" for entry in daemon.notes("audit"))


def test_term_lets_the_workers_finish_and_the_door_open_until_then(made_up: Callable[..., MadeUp]) -> None:
    """A drain waits for what is in hand, answers meanwhile, kills nobody and exits 0."""
    daemon = holding(made_up())

    daemon.send(signal.SIGTERM)

    wait_until(lambda: daemon.ask() == [True, True])
    assert len(daemon.workers()) == 2
    daemon.tell("release")
    assert daemon.wait() == 0
    assert daemon.notes("left") == [{"hurried": False, "flag": False}] * 2
    assert [death["phases"] for death in daemon.notes("deaths")] == [None, None]
    assert [entry for entry in daemon.notes("audit") if entry.get("signal") == signal.SIGKILL] == []
    assert daemon.survivors() == []


def test_an_idle_daemon_stops_at_once(made_up: Callable[..., MadeUp]) -> None:
    """Without anything in hand a stop takes less than a second."""
    daemon = made_up().start().wait_until_ready()

    daemon.send(signal.SIGTERM)

    assert daemon.wait(1.0) == 0
    assert daemon.survivors() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_only_an_end_in_order_seals_the_board(
    made_up: Callable[..., MadeUp], monkeypatch: pytest.MonkeyPatch, number: Signals
) -> None:
    """After a reboot the board of a daemon that was stopped is believed, that of a killed one is not."""
    daemon = made_up().start().wait_until_ready()
    daemon.send(number)
    daemon.wait()
    wait_until(lambda: daemon.survivors() == [], 5.0)
    monkeypatch.setattr("mailerd.board.file._boot", lambda: "another boot")

    state = daemon.folder / "state"
    _, believed, _ = _read(state / "board")
    assert believed is (number == signal.SIGTERM)


def test_who_does_not_finish_in_time_is_hurried(made_up: Callable[..., MadeUp]) -> None:
    """After drain_timeout the workers abandon; what they had in hand reaches the janitor before the exit."""
    daemon = holding(made_up(workers={"drain_timeout": 1}))

    daemon.send(signal.SIGTERM)

    assert daemon.wait(5.0) == 0
    assert daemon.notes("left") == [{"hurried": True, "flag": True}] * 2
    assert [death["phases"] for death in daemon.notes("deaths")] == [HELD, HELD]


@pytest.mark.slow
def test_who_cannot_be_hurried_is_killed(made_up: Callable[..., MadeUp]) -> None:
    """A worker that answers nothing is killed once, its remains are settled, and the stop is still clean."""
    daemon = holding(made_up(workers={"drain_timeout": 0.5}))
    stuck = daemon.workers()[1]
    daemon.send(signal.SIGSTOP, stuck)

    daemon.send(signal.SIGTERM)

    assert daemon.wait(10.0) == 0
    kills = [entry["to"] for entry in daemon.notes("audit") if entry.get("signal") == signal.SIGKILL]
    assert kills == [stuck]
    assert [death["how"] for death in daemon.notes("deaths")] == ["exit code 0", "killed by SIGKILL"]


def test_a_second_term_is_faster(made_up: Callable[..., MadeUp]) -> None:
    """The second TERM hurries the workers long before drain_timeout."""
    daemon = holding(made_up(workers={"drain_timeout": 60}))

    daemon.send(signal.SIGTERM)
    wait_until(lambda: "Stopping: " in daemon.log)
    daemon.send(signal.SIGTERM)

    assert daemon.wait(5.0) == 0
    assert daemon.notes("left") == [{"hurried": True, "flag": True}] * 2


@pytest.mark.covers("supervisor-6")
def test_many_terms_during_the_drain_are_no_crash(made_up: Callable[..., MadeUp]) -> None:
    """Ten more TERMs, one at a time, change neither the exit code nor the number of forks."""
    daemon = made_up().start().wait_until_ready()
    before = forks(daemon)

    for _ in range(10):
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.send(signal.SIGTERM)

    assert daemon.wait() == 0
    assert forks(daemon) == before
    assert "Traceback" not in daemon.log


def test_ctrl_c_in_a_terminal_drains(made_up: Callable[..., MadeUp]) -> None:
    """INT to the whole process group is obeyed by main alone."""
    daemon = holding(made_up())

    os.killpg(daemon.pid, signal.SIGINT)

    wait_until(lambda: daemon.ask() == [True, True])
    holds_for(lambda: len(daemon.workers()) == 2, 0.3)
    daemon.tell("release")
    assert daemon.wait() == 0
    assert daemon.notes("left") == [{"hurried": False, "flag": False}] * 2


def test_term_to_every_process_is_one_stop(made_up: Callable[..., MadeUp]) -> None:
    """A TERM to the whole group, as from a service manager's control group, hurries nobody."""
    daemon = holding(made_up())

    os.killpg(daemon.pid, signal.SIGTERM)

    wait_until(lambda: "Stopping: " in daemon.log)
    holds_for(lambda: len(daemon.workers()) == 2, 0.3)
    daemon.tell("release")
    assert daemon.wait() == 0
    assert daemon.notes("left") == [{"hurried": False, "flag": False}] * 2


@pytest.mark.covers("supervisor-7")
def test_nobody_is_started_while_stopping(made_up: Callable[..., MadeUp]) -> None:
    """A worker killed during the drain has no successor."""
    daemon = holding(made_up())
    before = forks(daemon)
    daemon.send(signal.SIGTERM)
    wait_until(lambda: "Stopping: " in daemon.log)

    daemon.send(signal.SIGKILL, daemon.workers()[1])

    wait_until(lambda: len(daemon.notes("deaths")) == 1)
    holds_for(lambda: daemon.workers().keys() == {2}, 1.0)
    daemon.tell("release")
    assert daemon.wait() == 0
    assert forks(daemon) == before


@pytest.mark.parametrize("milliseconds", [0, 100, 200, 300, 400, 500, 600, 800])
@pytest.mark.covers("supervisor-5")
def test_term_while_starting_ends_the_start(made_up: Callable[..., MadeUp], milliseconds: int) -> None:
    """A TERM at any moment after exec, Redis away, is obeyed: 0, or the plain death of a young Python."""
    daemon = made_up()
    daemon.untell("redis")
    daemon.start()

    threading.Event().wait(milliseconds / 1000)  # the moment of the signal, not a wait for something
    daemon.send(signal.SIGTERM)

    assert daemon.wait(3.0) in {0, -signal.SIGTERM}
    wait_until(lambda: daemon.survivors() == [])


@pytest.mark.covers("supervisor-5")
def test_term_while_redis_is_waited_for_ends_the_start(made_up: Callable[..., MadeUp]) -> None:
    """The door is open and Redis away: a TERM ends the wait at once."""
    daemon = made_up()
    daemon.untell("redis")
    daemon.start()
    wait_until(lambda: "Server starting" in daemon.log, 10.0, lambda: daemon.log)

    daemon.send(signal.SIGTERM)

    assert daemon.wait(5.0) == 0


def test_quit_ends_at_once_and_the_next_start_settles(made_up: Callable[..., MadeUp]) -> None:
    """QUIT kills everybody and exits 1; what was in hand is read by the next life."""
    daemon = holding(made_up())

    daemon.send(signal.SIGQUIT)

    assert daemon.wait(2.0) == 1
    assert daemon.survivors() == []
    assert daemon.notes("deaths") == []
    daemon.untell("hold")
    daemon.restart().wait_until_ready()
    wait_until(lambda: [death["phases"] for death in daemon.notes("deaths")] == [HELD, HELD])
    wait_until(lambda: list((daemon.folder / "state" / "remains").iterdir()) == [])


@pytest.mark.covers("supervisor-23")
def test_a_lost_supervisor_ends_everything_in_order(made_up: Callable[..., MadeUp]) -> None:
    """After kill -9 of the supervisor the workers finish, main settles what they left, and the exit is 70."""
    daemon = holding(made_up())
    daemon.tell("release")

    daemon.send(signal.SIGKILL, daemon.supervisor())

    assert daemon.wait(5.0) == 70
    assert daemon.notes("left") == [{"hurried": False, "flag": False}] * 2
    assert len(daemon.notes("deaths")) == 2
    assert len(daemon.notes("drained")) == 1
    assert daemon.survivors() == []
    assert "The supervisor is gone: killed by SIGKILL" in daemon.log


@pytest.mark.slow
def test_workers_of_a_lost_supervisor_have_their_time_and_no_more(made_up: Callable[..., MadeUp]) -> None:
    """Orphans that do not finish are hurried, those that cannot be are killed, all are settled."""
    daemon = holding(made_up(workers={"drain_timeout": 0.5}))
    daemon.send(signal.SIGSTOP, daemon.workers()[1])

    daemon.send(signal.SIGKILL, daemon.supervisor())

    assert daemon.wait(10.0) == 70
    assert daemon.notes("left") == [{"hurried": True, "flag": True}]
    assert {death["how"]: death["phases"] for death in daemon.notes("deaths")} == {
        "exit code 0": HELD,
        "killed by SIGKILL": HELD,
    }
    assert daemon.survivors() == []


@pytest.mark.covers("supervisor-23")
def test_a_lost_main_ends_everything(made_up: Callable[..., MadeUp]) -> None:
    """After kill -9 of main the workers finish what is in hand, the supervisor follows, nothing is left."""
    daemon = holding(made_up())
    daemon.send(signal.SIGKILL)
    daemon.wait()

    assert len(daemon.survivors()) == 3
    daemon.tell("release")

    wait_until(lambda: daemon.survivors() == [], 5.0, lambda: str(daemon.survivors()))
    assert daemon.notes("left") == [{"hurried": False, "flag": False}] * 2


def test_the_life_after_a_lost_main_waits_for_its_workers(made_up: Callable[..., MadeUp]) -> None:
    """A start right after kill -9 of main waits for the workers, then settles what they left."""
    daemon = holding(made_up(workers={"drain_timeout": 1}))
    daemon.send(signal.SIGKILL)
    daemon.wait()

    daemon.untell("hold")
    daemon.start()

    wait_until(lambda: "Waiting for the workers of the previous life" in daemon.log, 5.0, lambda: daemon.log)
    wait_until(lambda: [death["phases"] for death in daemon.notes("deaths")] == [HELD, HELD], 10.0)


@pytest.mark.covers("supervisor-23")
def test_main_and_supervisor_lost_together_leave_nothing(made_up: Callable[..., MadeUp]) -> None:
    """Workers whose whole ancestry was killed at once finish and leave by themselves."""
    daemon = holding(made_up())
    supervisor = daemon.supervisor()
    daemon.send(signal.SIGSTOP, supervisor)
    daemon.send(signal.SIGKILL)
    daemon.send(signal.SIGKILL, supervisor)
    daemon.wait()

    daemon.tell("release")

    wait_until(lambda: daemon.survivors() == [], 5.0, lambda: str(daemon.survivors()))


def test_a_port_in_use_is_an_answer(made_up: Callable[..., MadeUp]) -> None:
    """The exit code is 71, the message names who has the port, and no process stays."""
    daemon = made_up()
    with socket.socket() as other:
        other.bind(("127.0.0.1", daemon.port))
        other.listen()

        assert daemon.start().wait() == 71

    assert f"127.0.0.1:{daemon.port}" in daemon.log
    assert f"(pid {os.getpid()})" in daemon.log
    assert daemon.survivors() == []


def test_a_state_directory_in_use_is_an_answer(made_up: Callable[..., MadeUp]) -> None:
    """A second daemon with the same state directory is refused at once and told by whom."""
    first = made_up().start().wait_until_ready()

    second = made_up().start()

    assert second.wait(3.0) == 70
    assert f"is in use by another mailerd (pid {first.pid})" in second.log


def test_redis_that_does_not_come_is_an_answer(made_up: Callable[..., MadeUp]) -> None:
    """Without Redis the door answers that it is not ready; after startup_timeout the exit code is 69."""
    daemon = made_up(redis={"startup_timeout": 1})
    daemon.untell("redis")
    daemon.start()

    wait_until(lambda: "Server starting on port" in daemon.log)
    assert daemon.ask() == [False, False]
    assert daemon.wait() == 69
    assert daemon.survivors() == []


@pytest.mark.parametrize("part", ["break-http", "break-janitor"])
@pytest.mark.covers("supervisor-33")
def test_a_broken_part_of_main_ends_the_daemon(made_up: Callable[..., MadeUp], part: str) -> None:
    """When the HTTP loop or the janitor dies, the workers finish and the exit code is 70."""
    daemon = holding(made_up())
    daemon.tell("release")

    daemon.tell(part)

    assert daemon.wait(5.0) == 70
    assert daemon.notes("left") == [{"hurried": False, "flag": False}] * 2
    assert daemon.survivors() == []


@pytest.mark.parametrize(
    ("sections", "workers"), [({"workers": {"processes": 0}}, 0), ({"api": {"enabled": False}}, 2)]
)
def test_the_daemon_without_workers_or_without_http(
    made_up: Callable[..., MadeUp], sections: dict[str, dict[str, object]], workers: int
) -> None:
    """Either half can be left out, and the daemon gets ready and stops all the same."""
    daemon = made_up(**sections).start().wait_until_ready()

    assert len(daemon.workers()) == workers
    assert ("Server starting" in daemon.log) == ("api" not in sections)
    daemon.send(Signals.SIGTERM)
    assert daemon.wait(3.0) == 0
