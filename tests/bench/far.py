"""The far mail server of ``mail_far.py``: started with a certificate of its own, and asked who got what."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

ROUND_TRIP = 0.05
LINE = 40  # bytes of its record a mail
PROGRAM = Path(__file__).parent / "peers" / "far_server.py"


@dataclass(frozen=True)
class Far:
    """The far server as its clients and its judge see it."""

    pid: int
    port: int
    authority: Path
    taken: Path

    def mails(self) -> Counter[str]:
        """How many mails each address got."""
        return Counter(self.taken.read_text().split())

    def total(self) -> int:
        """How many mails it got."""
        return self.taken.stat().st_size // LINE


class Silence:
    """Whether the far server has not got a mail for so long."""

    def __init__(self, far: Far, seconds: float) -> None:
        self._far, self._seconds = far, seconds
        self._seen, self._since = -1, 0.0

    def __call__(self) -> bool:
        """As it is now."""
        if (now := self._far.total()) != self._seen:
            self._seen, self._since = now, time.monotonic()
        return time.monotonic() - self._since > self._seconds


@contextmanager
def far_server(folder: Path) -> Iterator[Far]:
    """A running one with a record of its own."""
    authority, taken = trustme.CA(), folder / "taken"
    taken.touch()
    files = [folder / f"far.{kind}" for kind in ("authority", "certificate", "key")]
    issued = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(files[0])
    issued.cert_chain_pems[0].write_to_path(files[1])
    issued.private_key_pem.write_to_path(files[2])
    command = [sys.executable, PROGRAM, files[1], files[2], str(ROUND_TRIP), taken]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield Far(process.pid, int(process.stdout.readline()), files[0], taken)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
