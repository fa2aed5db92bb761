"""The stop, which ends every wait, and the clock."""

from __future__ import annotations

import os
import resource
import select
import signal
import threading
import time

import pytest

from mailerd.clock import Stop, SystemClock


def test_a_stop_is_not_raised_until_somebody_raises_it() -> None:
    """A new stop is false and a wait on it lasts."""
    stop = Stop()
    begun = time.monotonic()

    assert not stop
    assert stop.wait(0.05) is False
    assert time.monotonic() - begun >= 0.05


def test_a_raised_stop_ends_every_wait_at_once() -> None:
    """After raise_ no wait lasts, however long it was meant to and however often it is asked."""
    stop = Stop()
    stop.raise_()
    begun = time.monotonic()

    assert stop
    assert all(stop.wait(60) for _ in range(3))
    assert time.monotonic() - begun < 1


def test_raising_wakes_all_who_wait() -> None:
    """Every thread that waits on the stop is woken, not only the first."""
    stop = Stop()
    woken: list[bool] = []
    waiting = threading.Barrier(4)

    def wait() -> None:
        waiting.wait()
        woken.append(stop.wait(30))

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    waiting.wait()
    stop.raise_()
    for thread in threads:
        thread.join(5)

    assert woken == [True, True, True]


def test_a_signal_handler_may_raise_it() -> None:
    """The handler interrupts the very wait that it ends."""
    stop = Stop()
    before = signal.signal(signal.SIGALRM, lambda *_: stop.raise_())
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    begun = time.monotonic()
    try:
        assert stop.wait(30) is True
    finally:
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - begun < 5


def test_any_number_of_raises_is_one_stop() -> None:
    """More raises than a pipe could hold neither block nor fail."""
    stop = Stop()
    for _ in range(200_000):
        stop.raise_()

    assert stop


def test_its_descriptor_stays_readable() -> None:
    """Whoever selects on it sees the stop, again and again."""
    stop = Stop()
    assert select.select([stop], [], [], 0)[0] == []
    stop.raise_()

    assert [select.select([stop], [], [], 0)[0] for _ in range(2)] == [[stop], [stop]]


@pytest.mark.parametrize("seconds", [0, -1, 0.0])
def test_a_wait_of_nothing_only_looks(seconds: float) -> None:
    """Zero and less do not wait and do not raise."""
    assert Stop().wait(seconds) is False


def test_a_stop_works_with_high_descriptors() -> None:
    """A process with more than 1024 open files can stop as well (select(2) could not)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 1200:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(1200, hard), hard))
    held = [os.dup(0) for _ in range(1050)]
    try:
        stop = Stop()
        assert stop.fileno() > 1024
        assert stop.wait(0.01) is False
        stop.raise_()
        assert stop.wait(30) is True
    finally:
        for descriptor in held:
            os.close(descriptor)


def test_the_system_clock_goes_forward() -> None:
    """Monotonic seconds never go back, and now is the time of day."""
    clock = SystemClock()

    assert clock.monotonic() <= clock.monotonic()
    assert abs(clock.now() - time.time()) < 5
