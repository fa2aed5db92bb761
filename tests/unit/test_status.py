"""What ``mailerd status`` and ``mailerd check --online`` conclude."""

from __future__ import annotations

import pytest

from mailerd.cli.online import Finding, Grade, exit_code
from mailerd.cli.status import attention
from mailerd.queue.alerts import Alert
from mailerd.queue.model import QueueStatus, WorkerView

ALIVE = WorkerView("7", "mx1", 4711, alive=True, in_hand=1)
DEAD = WorkerView("6", "mx1", 4710, alive=False, in_hand=1)


def commands(
    length: int = 0,
    dead: int = 0,
    unknown: int = 0,
    workers: tuple[WorkerView, ...] = (ALIVE,),
    alert: Alert | None = None,
) -> list[str]:
    now = QueueStatus(length, 0, dead, workers)
    return [command for _, command in attention(now, unknown, alert, {})]


def test_all_is_well() -> None:
    """A queue with jobs and a living worker needs nobody, also while a dead one is about to be reaped."""
    assert commands(length=5) == []
    assert commands(length=5, workers=(DEAD, ALIVE)) == []


def test_what_needs_somebody() -> None:
    """Each thing with the command that helps, the most urgent first."""
    assert commands(dead=1, unknown=2, workers=(DEAD,), alert=Alert("535 refused", 50.0)) == [
        "systemctl start mailerd",
        "mailerd check --online",
        "mailerd unknown list",
        "mailerd dead list",
    ]


def test_a_route_that_nobody_has_found_blocked_of_late_needs_nobody() -> None:
    """Where all workers ended while it was blocked, nobody says when it was open again."""
    assert commands(alert=Alert("535 refused", 200.0)) == []


def test_a_relay_that_is_left_alone_is_named() -> None:
    """With what it said, although mail goes out through another one."""
    ((what, _),) = attention(
        QueueStatus(0, 0, 0, (ALIVE,)), 0, None, {"mx1:587": "mx1:587 refused the login"}
    )

    assert what == "the relay mx1:587 is left alone: mx1:587 refused the login"


def test_jobs_that_wait_for_nobody_are_counted() -> None:
    """Jobs on the queue, put aside, and in the hands of the dead all wait for a worker."""
    ((what, _),) = attention(QueueStatus(1, 1, 0, (DEAD,)), 0, None, {})

    assert what == "no living worker, the daemon does not run, 3 jobs wait"


@pytest.mark.parametrize(
    ("found", "code"),
    [
        ([Finding("redis", Grade.OK, "x"), Finding("redis", Grade.WARNING, "x")], 0),
        ([Finding("redis", Grade.PROBLEM, "x", 69), Finding("mail", Grade.OK, "x")], 69),
        ([Finding("redis", Grade.PROBLEM, "x", 69), Finding("mail", Grade.PROBLEM, "x")], 78),
    ],
)
def test_the_exit_code_of_a_check(found: list[Finding], code: int) -> None:
    """A warning is none; 69 only where nothing but Redis is out of reach."""
    assert exit_code(found) == code
