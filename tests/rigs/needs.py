"""What a bare machine may lack: there a test that needs it is skipped by name, in CI it fails."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

_PLACES = ("/usr/lib/postgresql/*/bin", "/usr/sbin", "/usr/local/sbin", "/sbin")


def lacking(what: str) -> NoReturn:
    """Skip this test because the machine lacks ``what``; where CI is set, fail instead."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} is missing, and CI must have it")
    pytest.skip(f"{what} is not installed")


def program(name: str, package: str) -> str:
    """The path of a program, also outside of PATH; without it the test is skipped (CI: fails)."""
    return find(name) or lacking(f"{name} ({package})")


def find(name: str) -> str | None:
    """The path of a program, also outside of PATH; the newest where there are several."""
    found = shutil.which(name)
    if found:
        return found
    for place in _PLACES:
        paths = sorted(Path("/").glob(f"{place[1:]}/{name}"))
        if paths:
            return str(paths[-1])
    return None


def root() -> None:
    """Skip this test where we are not root (CI: fail)."""
    if not is_root():
        lacking("root")


def is_root() -> bool:
    """Whether we are root."""
    return os.geteuid() == 0
