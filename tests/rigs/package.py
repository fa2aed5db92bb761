"""
mailerd's Debian package, of this version and of the next, built and handled in the container that it is for.

Everything happens with the network off.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

from rigs.container import Container
from rigs.debian import CHECKOUT, Debian
from rigs.service import Service

_BUILT = "/root/built"
_WHEELS = "/root/wheels"
# Not compressed, which would take most of the time.
_ENVIRONMENT = f"PIP_NO_INDEX=1 PIP_FIND_LINKS={_WHEELS} DPKG_DEB_COMPRESSOR_TYPE=none"

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
        self._build()
        self._relabel()

    def _build(self) -> None:
        """By the one command."""
        copy = self.container.path("/root/mailerd")
        copy.mkdir()
        for name in ("README.md", "pyproject.toml", "config.example.toml", "mailerd", "systemd"):
            subprocess.run(["cp", "-r", str(CHECKOUT / name), str(copy)], check=True)
        self.shell(f"cd /root/mailerd && {_ENVIRONMENT} systemd/build-deb --output {_BUILT}")

    def _relabel(self) -> None:
        """The next version is this one under the next number, since a second build would take long."""
        ours, theirs = (version.partition("+")[0] for version in (self.version, self.next_version))
        site = "usr/lib/mailerd/venv/lib/python3.*/site-packages"
        self.shell(f"""
            set -e
            dpkg-deb -R {self.file(self.version)} /root/next && cd /root/next
            mv {site}/mailerd-{ours}.dist-info $(echo {site})/mailerd-{theirs}.dist-info
            sed -i 's/{re.escape(ours)}/{theirs}/g' DEBIAN/* usr/lib/mailerd/venv/bin/mailerd \
                {site}/mailerd-{theirs}.dist-info/METADATA
            dpkg-deb --root-owner-group -Znone -b /root/next {_BUILT} && rm -r /root/next""")

    def file(self, version: str) -> str:
        """Where the package lies, in the container."""
        return f"{_BUILT}/{self._outside(version).name}"

    def _outside(self, version: str) -> Path:
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
