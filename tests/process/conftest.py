"""Fixtures of the tests that run the real daemon."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from rigs.daemon import Daemon, Sections

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
