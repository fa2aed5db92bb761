"""
Root file systems of whole Debian systems, made once by debootstrap and kept outside of the checkout.

In ``$CI_DIR/roots`` where that is set, else in ``~/.cache/mailerd-tests``. They are never written to: a
``rigs.container.Container`` lies over one. Beside each lies a wheelhouse with all that mailerd needs there.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rigs import needs

CHECKOUT = Path(__file__).parents[2]
_PACKAGES = (
    "systemd,systemd-sysv,dbus,procps,curl,ca-certificates,openssl,"
    "python3,python3-venv,redis-server,postfix,postgresql,sqlite3"
)
# What a test needs, it starts itself; the rest would only cost time at each boot.
_NOT_AT_BOOT = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "postfix.service",
    "postgresql.service",
)

# pip judges "python_full_version < ..." by the Python that it runs on, not by the one that it fetches for.
_FOR_OLDER_PYTHONS = ("async-timeout>=4.0.3",)

# As in systemd/build-deb, which puts them into its package.
_EXTRAS = "postgres,ses,dkim,demo"


@dataclass(frozen=True)
class Debian:
    """One release, and the Python that it brings."""

    name: str
    suite: str
    python: str

    @property
    def root(self) -> Path:
        """Its root file system."""
        key = hashlib.sha256(" ".join((_PACKAGES, *_NOT_AT_BOOT)).encode()).hexdigest()[:8]
        return _cache() / f"{self.suite}-{key}"

    @property
    def wheels(self) -> Path:
        """The folder of wheels for its Python."""
        return _cache() / f"wheels-{self.suite}-{_wheels_key()}"


RELEASES = (Debian("debian12", "bookworm", "3.11"), Debian("debian13", "trixie", "3.13"))


@cache
def _wheels_key() -> str:
    """One for each set of requirements, and for the whole run, whoever edits the project meanwhile."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    of_use = project["project"]["dependencies"], project["project"]["optional-dependencies"]
    wanted = repr((project["build-system"], of_use, _EXTRAS, _FOR_OLDER_PYTHONS))
    return hashlib.sha256(wanted.encode()).hexdigest()[:8]


def prepare() -> None:
    """Make whatever is missing, all at the same time; takes about two minutes the first time."""
    needs.root()
    debootstrap = needs.program("debootstrap", "the package debootstrap")
    needs.program("systemd-nspawn", "the package systemd-container")
    with _locked(), ThreadPoolExecutor() as pool:
        made = [pool.submit(_make_root, debootstrap, release) for release in RELEASES]
        made += [pool.submit(_make_wheels, release) for release in RELEASES]
        for each in made:
            each.result()


def _make_root(debootstrap: str, release: Debian) -> None:
    if release.root.exists():
        return
    new = _emptied(release.root.with_suffix(".new"))
    command = [debootstrap, "--variant=minbase", f"--include={_PACKAGES}", release.suite, str(new)]
    _run(command)
    _run(["chroot", str(new), "apt-get", "clean"])
    _run(["chroot", str(new), "systemctl", "mask", *_NOT_AT_BOOT])
    (new / "etc/machine-id").write_text("")
    new.rename(release.root)


def _make_wheels(release: Debian) -> None:
    if release.wheels.exists():
        return
    new = _emptied(release.wheels.with_suffix(".new"))
    command = [sys.executable, "-m", "pip", "download", "-q", "-d", str(new), "--only-binary=:all:"]
    command += ["--python-version", release.python]
    _run([*command, f"{CHECKOUT}[{_EXTRAS}]", *_build_requirements(), *_FOR_OLDER_PYTHONS])
    new.rename(release.wheels)


def _build_requirements() -> list[str]:
    return list(tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["build-system"]["requires"])


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, f"{command}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"


def _cache() -> Path:
    where = os.environ.get("CI_DIR")
    return Path(where) / "roots" if where else Path.home() / ".cache/mailerd-tests"


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


@contextmanager
def _locked() -> Iterator[None]:
    """Two test runs that both miss a root make it once."""
    _cache().mkdir(parents=True, exist_ok=True)
    with (_cache() / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
