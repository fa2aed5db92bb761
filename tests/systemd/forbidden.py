"""
Acts that a mail daemon has no business with; run by path inside the unit's sandbox, and once outside of it.

Takes the pid of another user's process. Prints a JSON object: for each act ``done``, or why not. Undoes
what it did.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
OTHER = int(sys.argv[1])
_ATTACH, _DETACH = 16, 17
_NEWNS, _NEWUSER = 0x20000, 0x10000000


def call(name: str, *arguments: object) -> None:
    """A function of the C library that answers with -1 when it is refused."""
    if getattr(LIBC, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def in_a_child(act: Callable[[], object]) -> Callable[[], None]:
    """The act in a process of its own, which it changes for good."""

    def done() -> None:
        pid = os.fork()
        if pid == 0:
            try:
                act()
            except OSError as error:
                os._exit(error.errno or 1)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code:
            raise OSError(code, os.strerror(code) if code > 0 else f"signal {-code}")

    return done


def write(path: str) -> None:
    """Write a file."""
    Path(path).write_text("x")
    Path(path).unlink()


def trace() -> None:
    """Look into a child of one's own."""
    pid = os.fork()
    if pid == 0:
        signal.pause()
    try:
        call("ptrace", _ATTACH, pid, None, None)
        os.waitpid(pid, 0)
        call("ptrace", _DETACH, pid, None, None)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def mount() -> None:
    """Put a file system over another."""
    call("mount", b"none", b"/mnt", b"tmpfs", 0, None)
    call("umount", b"/mnt")


def set_uid_bit() -> None:
    """Make a program that runs as its owner."""
    path = Path("/tmp/set-uid-bit")
    path.touch()
    try:
        path.chmod(0o4755)
    finally:
        path.unlink()


ACTS: dict[str, Callable[[], object]] = {
    "write its own configuration": lambda: write("/etc/mailerd/forbidden"),
    "write its own program": lambda: write("/opt/mailerd/forbidden"),
    "write to /usr": lambda: write("/usr/forbidden"),
    "write to another's state": lambda: write("/var/lib/forbidden"),
    "read /root": lambda: list(Path("/root/mailerd").iterdir()),
    "read /home": lambda: Path("/home/somebody/diary").read_text(),
    "read the passwords": lambda: Path("/etc/shadow").read_text(),
    "see another's process": lambda: Path(f"/proc/{OTHER}/status").read_text(),
    "signal another's process": lambda: os.kill(OTHER, 0),
    "become root": in_a_child(lambda: os.setresuid(0, 0, 0)),
    "become nobody": in_a_child(lambda: os.setresuid(65534, 65534, 65534)),
    "trace": trace,
    "make a user namespace": in_a_child(lambda: call("unshare", _NEWUSER)),
    "make a mount namespace": in_a_child(lambda: call("unshare", _NEWNS)),
    "mount": mount,
    "open a raw socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close(),
    "open a packet socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close(),
    "open a netlink socket": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close(),
    "load a module": lambda: call("syscall", 175, b"", 0, b""),
    "set the clock": lambda: time.clock_settime(time.CLOCK_REALTIME, time.time()),
    "rename the host": lambda: socket.sethostname(socket.gethostname()),
    "turn a kernel knob": lambda: Path("/proc/sys/kernel/domainname").write_text("(none)"),
    "write to a control group": lambda: write("/sys/fs/cgroup/cgroup.subtree_control"),
    "read the kernel's log": lambda: call("klogctl", 3, ctypes.create_string_buffer(64), 64),
    "open a disk": lambda: os.close(os.open("/dev/vda", os.O_RDONLY)),
    "run what it has written": lambda: mmap.mmap(-1, 4096, prot=7).close(),
    "make a set-uid program": set_uid_bit,
    "run in real time": in_a_child(lambda: os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))),
}


def outcome(act: Callable[[], object]) -> str:
    """``done``, or what kept it from being done."""
    try:
        act()
    except OSError as error:
        return error.strerror or repr(error)
    return "done"


if __name__ == "__main__":
    print(json.dumps({name: outcome(act) for name, act in ACTS.items()}))
