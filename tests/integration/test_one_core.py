"""Threads that share one core, on the real kernel."""

from __future__ import annotations

import os
import threading

import pytest

from mailerd.daemon.linux import on_one_core


def _cores_of_a_thread() -> set[int]:
    found: set[int] = set()
    thread = threading.Thread(target=lambda: found.update(os.sched_getaffinity(0)))
    thread.start()
    thread.join()
    return found


def test_threads_started_within_share_one_core_and_later_ones_do_not() -> None:
    """What main does besides, and whom it starts, keeps every core."""
    everywhere = os.sched_getaffinity(0)
    with on_one_core():
        within = _cores_of_a_thread()
    assert len(within) == 1
    assert within < everywhere or len(everywhere) == 1
    assert _cores_of_a_thread() == os.sched_getaffinity(0) == everywhere


def test_where_the_kernel_forbids_it_the_threads_run_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shipped unit's filter of system calls answers so."""

    def forbidden(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setaffinity", forbidden)
    with on_one_core():
        assert _cores_of_a_thread() == os.sched_getaffinity(0)
