"""Fixtures of the tests that run the real daemon."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from rigs.daemon import Daemon, Sections
from rigs.made_up import MadeUp
from rigs.project import Project

Daemons = Callable[..., Daemon]


@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[Daemons]:
    """Makes daemons, each in its own folder; whatever is left of them is killed after the test."""
    made: list[Daemon] = []

    def make(sections: Sections, environ: Mapping[str, str] | None = None) -> Daemon:
        made.append(Daemon(tmp_path / f"daemon{len(made)}", sections, environ))
        return made[-1]

    yield make
    for daemon in made:
        daemon.close()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A folder with templates and an empty database of contacts."""
    made = Project(tmp_path / "project")
    made.contacts(0)
    return made


@pytest.fixture
def made_up(tmp_path: Path) -> Iterator[Callable[..., MadeUp]]:
    """Makes daemons with made-up roles: ``made_up(workers={"processes": 3}).start()``."""
    made: list[MadeUp] = []

    def make(**sections: Mapping[str, Any]) -> MadeUp:
        made.append(MadeUp(tmp_path, **sections))
        return made[-1]

    yield make
    for daemon in made:
        daemon.close()
