"""
mailerd's Debian package, of this version and of the next, built and handled in the container that it is for.

Everything happens with the network off.
"""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rigs.container import Container
from rigs.debian import CHECKOUT, Debian
from rigs.service import Service

_BUILT = "/root/built"
_WHEELS = "/root/wheels"
# Not compressed, which would take most of the time.
_ENVIRONMENT = (
    f"PIP_NO_INDEX=1 PIP_FIND_LINKS={_WHEELS} DPKG_DEB_COMPRESSOR_TYPE=none"
    " DEBFULLNAME='Ann Packager' DEBEMAIL=ann@packages.debian.org"
)

# Without syncing thousands of files to a disk that is thrown away.
DPKG = ("dpkg", "--force-unsafe-io")


class Package(Service):
    """A machine with both packages on its disk; the package, once installed, runs the unit."""

    def __init__(self, container: Container, release: Debian) -> None:
        super().__init__(container)
        version = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["version"]
        before, _, last = version.rpartition(".")
        self.version = f"{version}+py{release.python}"
        self.next_version = f"{before}.{int(last) + 1}+py{release.python}"
        shutil.copytree(release.wheels, container.path(_WHEELS))
        with ThreadPoolExecutor() as pool:
            list(pool.map(self._build, (self.version, self.next_version)))

    def _build(self, version: str) -> None:
        """By the one command, from a checkout of that version, whose unit says so too."""
        copy = self.container.path(f"/root/{version}")
        copy.mkdir()
        for name in ("README.md", "pyproject.toml", "config.example.toml", "mailerd", "systemd"):
            subprocess.run(["cp", "-r", str(CHECKOUT / name), str(copy)], check=True)
        numbers = [f'version = "{each.partition("+")[0]}"' for each in (self.version, version)]
        _edit(copy / "pyproject.toml", *numbers)
        _edit(copy / "systemd/mailerd.service", "Description=mailerd,", f"Description=mailerd {version},")
        self.shell(f"cd /root/{version} && {_ENVIRONMENT} systemd/build-deb --output {_BUILT}")

    def file(self, version: str) -> str:
        """Where the package lies, in the container."""
        return f"{_BUILT}/{self.outside(version).name}"

    def outside(self, version: str) -> Path:
        """The same, seen from outside."""
        (found,) = self.container.path(_BUILT).glob(f"mailerd_{version}_*.deb")
        return found

    def copy_to(self, folder: Path) -> None:
        """Copy both packages somewhere else."""
        shutil.copytree(self.container.path(_BUILT), folder)

    def shell(self, command: str, *, check: bool = True) -> str:
        """What a line of an administrator's prints."""
        return self.container.run("sh", "-c", command, check=check, timeout=300)

    def dpkg(self, *arguments: str, check: bool = True) -> str:
        """What dpkg says."""
        return self.container.run(*DPKG, *arguments, check=check, timeout=180)

    @property
    def current(self) -> str:
        """The version that the unit starts."""
        link = self.container.path("/opt/mailerd/current")
        return str(link.readlink()) if link.is_symlink() else ""

    @property
    def running(self) -> str:
        """The version that the main process is of."""
        for line in Path(f"/proc/{self.main}/maps").read_text().splitlines():
            if "/opt/mailerd/" in line:
                return line.partition("/opt/mailerd/")[2].partition("/")[0]
        return ""

    def begin(self) -> None:
        """This version runs, with the configuration that it brings and nothing of a test before."""
        self.shell(
            "rm -rf /etc/systemd/system/mailerd.service.d /etc/mailerd/templates/*; redis-cli FLUSHALL"
        )
        self.systemctl("daemon-reload")
        if not self.current:
            self.dpkg("--install", self.file(self.version))
        self.shell("cp /usr/share/doc/mailerd/config.example.toml /etc/mailerd/config.toml")
        self.shell(f"mailerd-switch {self.version}")


def _edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1, f"{file}: {old}"
    file.write_text(text.replace(old, new))
