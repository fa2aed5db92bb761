"""
A Debian with a real systemd as PID 1, in a container with a loopback of its own.

``systemd-nspawn`` boots an overlay over a root of ``rigs.debian``, which stays as it was. Nothing of it is
left after ``close``: no process, no mount, no control group. Needs root.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rigs.waiting import wait_until

_CLONE_NEWNET = 0x40000000
_REBOOT = 133  # nspawn leaves the second half of a reboot to whoever started it with --keep-unit
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root"}


class Container:
    """One machine, switched on by ``boot``; what it writes outlives a reboot and a power cut."""

    def __init__(self, name: str, base: Path, folder: Path) -> None:
        self.name = f"{name}-{os.getpid()}"
        self.root = folder / "root"
        self._base = base
        self._folder = folder
        self._group = _unified_hierarchy() / f"mailerd-tests-{self.name}"
        self._console = folder / "console.log"
        self._nspawn: subprocess.Popen[bytes] | None = None
        self.init = 0

    def boot(self) -> None:
        """Switch it on, and return when all that starts at boot has started."""
        if not self.root.is_mount():
            self._mount()
        self._group.mkdir(exist_ok=True)
        command = ["systemd-nspawn", f"--directory={self.root}", f"--machine={self.name}", "--boot"]
        command += ["--register=no", "--keep-unit", "--private-network", "--link-journal=no"]
        command += ["--resolv-conf=off", "--timezone=off", "--console=pipe"]
        joining = ["sh", "-c", f'echo $$ >"{self._group}/cgroup.procs" && exec "$@"', "sh"]
        joining += ["setpriv", "--pdeathsig=TERM"]  # it ends also when this process is killed
        with self._console.open("ab") as console:
            self._nspawn = subprocess.Popen(
                [*joining, *command],
                env=_ENVIRONMENT | {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )
        wait_until(self._is_up, 60.0, lambda: self._console.read_text(errors="replace")[-3000:])

    def _is_up(self) -> bool:
        assert self._nspawn is not None
        assert self._nspawn.poll() is None, self._console.read_text(errors="replace")[-3000:]
        children = _children(self._nspawn.pid)
        self.init = next((pid for pid in children if _name(pid) == "systemd"), 0)
        if not self.init:
            return False
        with suppress(subprocess.TimeoutExpired):
            return self.run("systemctl", "is-system-running", check=False).strip() in {"running", "degraded"}
        return False

    # --- within it ----------------------------------------------------------------------------------

    def run(self, *command: str, stdin: str | bytes = "", check: bool = True, timeout: float = 90.0) -> str:
        """What a command of root's prints there, errors included."""
        done = self.execute(*command, stdin=stdin, timeout=timeout)
        output = done.stdout.decode(errors="replace")
        assert not check or done.returncode == 0, f"{command} gave {done.returncode}:\n{output}"
        return output

    def execute(
        self, *command: str, stdin: str | bytes = "", timeout: float = 90.0
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command of root's there, whatever its exit code."""
        entering = ["nsenter", f"--target={self.init}", "-m", "-u", "-i", "-n", "-p", "-C", "--"]
        return subprocess.run(
            [*entering, *command],
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_ENVIRONMENT,
            timeout=timeout,
            check=False,
        )

    def write(self, path: str, text: str, mode: str = "644", group: str = "root") -> None:
        """Write a file there, its folder included."""
        self.run("install", "-D", "-m", mode, "-g", group, "/dev/stdin", path, stdin=text)

    def path(self, path: str) -> Path:
        """A path of its disk as it is seen from outside (what lies on a tmpfs there is not)."""
        return self.root / path.lstrip("/")

    def group(self, unit: str) -> Path:
        """The control group of one of its services."""
        return self._group / "payload/system.slice" / unit

    @contextmanager
    def network(self) -> Iterator[None]:
        """Be on its network: this thread, and all threads and processes that it starts meanwhile."""
        with Path("/proc/thread-self/ns/net").open() as ours:
            with Path(f"/proc/{self.init}/ns/net").open() as theirs:
                _enter(theirs.fileno())
            try:
                yield
            finally:
                _enter(ours.fileno())

    # --- its ends -----------------------------------------------------------------------------------

    def reboot(self) -> None:
        """Reboot in good order; returns when it is up again."""
        assert self._nspawn is not None
        self.execute("systemctl", "reboot")
        assert self._nspawn.wait(90) == _REBOOT
        self.boot()

    def cut_the_power(self) -> None:
        """Kill all of it in one moment; ``boot`` switches it on again."""
        os.kill(self.init, signal.SIGKILL)
        self._kill_what_is_left()

    def close(self) -> None:
        """End it at once, and leave nothing behind."""
        self._kill_what_is_left()
        if self.root.is_mount():
            _run("umount", str(self.root))
        shutil.rmtree(self._folder, ignore_errors=True)
        # It tries to remove this itself, and does not dare to where /run is no tmpfs.
        shutil.rmtree(f"/run/systemd/nspawn/propagate/{self.name}", ignore_errors=True)

    def _kill_what_is_left(self) -> None:
        if self._group.exists():
            (self._group / "cgroup.kill").write_text("1")
            populated = self._group / "cgroup.events"
            wait_until(lambda: "populated 0" in populated.read_text(), 20.0, "processes are left")
            for group in (self._group, *_doubles(self._group.name)):
                for folder, _, _ in os.walk(group, topdown=False):
                    Path(folder).rmdir()
        if self._nspawn is not None:
            self._nspawn.wait(20)
        self.init = 0

    def _mount(self) -> None:
        for name in ("root", "upper", "work"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        layers = f"lowerdir={self._base},upperdir={self._folder}/upper,workdir={self._folder}/work"
        _run("mount", "-t", "overlay", "overlay", "-o", layers, str(self.root))


def _unified_hierarchy() -> Path:
    (place,) = _hierarchies("cgroup2")
    return place


def _doubles(name: str) -> list[Path]:
    """On a hybrid host nspawn makes the group a second time, in the hierarchy of an older systemd."""
    return [double for place in _hierarchies("cgroup") if (double := place / name).exists()]


def _hierarchies(kind: str) -> list[Path]:
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    return [Path(mount[1]) for mount in mounts if mount[2] == kind]


def _enter(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def _children(pid: int) -> list[int]:
    with suppress(FileNotFoundError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _name(pid: int) -> str:
    with suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
