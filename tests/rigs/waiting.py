"""The one way in which a test waits: for a condition, with a deadline. No test sleeps."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_INTERVAL = 0.01


def wait_until(
    condition: Callable[[], T], deadline: float = 10.0, message: str | Callable[[], str] = ""
) -> T:
    """
    The first truthy value of ``condition``, asked again and again for at most ``deadline`` seconds.

    Raises AssertionError with ``message`` (or what it returns) when the deadline passes.
    """
    end = time.monotonic() + deadline
    pause = threading.Event()
    while not (value := condition()):
        if time.monotonic() > end:
            said = message() if callable(message) else message
            raise AssertionError(f"not within {deadline} s: {said or condition}")
        pause.wait(_INTERVAL)
    return value


def holds_for(condition: Callable[[], bool], seconds: float, message: str = "") -> None:
    """Assert that ``condition`` stays true for ``seconds``: for what must not happen."""
    end = time.monotonic() + seconds
    pause = threading.Event()
    while time.monotonic() < end:
        assert condition(), message or condition
        pause.wait(_INTERVAL)
