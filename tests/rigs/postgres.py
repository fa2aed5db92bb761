"""A throw-away PostgreSQL: a cluster of its own in a temporary folder, reached by its socket."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Self

from rigs import needs

_PACKAGE = "the package postgresql"


class PostgreSQL:
    """The cluster; ``database`` makes a fresh, empty database in it. Use as a context manager."""

    def __init__(self) -> None:
        self._initdb = needs.program("initdb", _PACKAGE)
        self._pg_ctl = needs.program("pg_ctl", _PACKAGE)
        self._psql = needs.program("psql", _PACKAGE)
        # Sockets have short paths, and the server's own user must reach the folder: not below pytest's.
        self.folder = Path(tempfile.mkdtemp(prefix="mailerd-pg-", dir="/tmp"))
        self._numbers = itertools.count(1)

    def __enter__(self) -> Self:
        if os.geteuid() == 0:
            shutil.chown(self.folder, _user(), None)
        self._run(self._initdb, "-D", self._data, "-U", "mailerd", "-A", "trust", "-E", "UTF8", "--no-sync")
        settings = f"-k {self.folder} -c listen_addresses='' -c fsync=off"
        self._run(self._pg_ctl, "-D", self._data, "-w", "-l", f"{self.folder}/log", "-o", settings, "start")
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._pg_ctl, "-D", self._data, "-m", "immediate", "stop")
        shutil.rmtree(self.folder)

    def database(self, sql: str = "") -> str:
        """The URL of a new database in which ``sql`` was run."""
        name = f"test{next(self._numbers)}"
        self.run(f"CREATE DATABASE {name}", "postgres")
        if sql:
            self.run(sql, name)
        return f"postgresql+psycopg://mailerd@/{name}?host={self.folder}"

    def run(self, sql: str, database: str) -> None:
        """Run statements in a database; raises when one fails."""
        command = [
            self._psql,
            "-h",
            str(self.folder),
            "-U",
            "mailerd",
            "-v",
            "ON_ERROR_STOP=1",
            "-q",
            database,
        ]
        subprocess.run(command, input=sql, text=True, check=True, capture_output=True)

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def _run(self, *command: str) -> None:
        as_user = ["runuser", "-u", _user(), "--"] if os.geteuid() == 0 else []
        log = self.folder / "commands.log"
        # Not captured by a pipe: the server would inherit it and never let us read to its end.
        with log.open("ab") as output:
            done = subprocess.run([*as_user, *command], stdout=output, stderr=output, cwd="/", check=False)
        assert done.returncode == 0, log.read_text()


def _user() -> str:
    """PostgreSQL refuses to run as root."""
    return "postgres"
