"""
The senders that one would pick instead: how each is installed, started and seen to have sent.

Called by ``mail_path``, ``mail_far`` and ``memory``; all of them send the bench's own mail (``mail_cpu.py``).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from bench.environments import python_with
from bench.mail_cpu import HTML, ITEMS, SUBJECT, TEXT
from bench.report import Asked
from rigs.redis_server import RedisServer
from rigs.waiting import wait_until

PROGRAMS = Path(__file__).parent / "peers"
CELERY = ("celery==5.7.0", "packaging==24.2", "redis==8.1.0", "hiredis==3.5.0", "jinja2==3.1.6")
POST_OFFICE = ("django-post_office==3.12.0", "django==5.2.19")
OPTIONS = "-O fair --without-gossip --without-mingle --without-heartbeat -l WARNING"


def template_file(folder: Path) -> Path:
    """The mail, for programs that cannot import the bench."""
    file = folder / "template.json"
    file.write_text(json.dumps({"subject": SUBJECT, "html": HTML, "text": TEXT, "items": ITEMS}))
    return file


class Celery:
    """Celery with a task a recipient and smtplib, on database 5 of Redis."""

    name = "celery"

    def __init__(
        self,
        asked: Asked,
        redis: RedisServer,
        folder: Path,
        port: int,
        *,
        processes: int,
        pool: str = "prefork",
        redis_port: int = 0,
        authority: Path | None = None,
    ) -> None:
        """``redis_port``: of what stands before Redis; ``authority``: whoever vouches for the mail server."""
        self._python = python_with(CELERY, self.name, asked.peers_dir)
        self._client = redis.client(db=5)
        self._log = folder / "celery.log"
        self._pool = ["-P", pool, "-c", str(processes)]
        self._processes = processes
        self._workers: subprocess.Popen[bytes] | None = None
        self._environ = os.environ | {
            "BENCH_REDIS": f"redis://127.0.0.1:{redis_port or redis.port}/5",
            "BENCH_SMTP": str(port),
            "BENCH_AUTHORITY": str(authority or ""),
            "BENCH_TEMPLATE": str(template_file(folder)),
            "PYTHONPATH": str(PROGRAMS),
        }

    def push(self, count: int) -> None:
        """Enqueue so many mails."""
        words = f"import mail_by_celery as peer; peer.push({count})"
        subprocess.run([self._python, "-c", words], env=self._environ, check=True)

    def start(self) -> int:
        """Start the workers; the process id of their parent once they wait for work."""
        pid = self.launch()
        self.send(self._processes)
        return pid

    def launch(self) -> int:
        """Start the workers; the process id of their parent."""
        with self._log.open("ab") as log:
            celery = self._python.parent / "celery"
            command = [celery, "-A", "mail_by_celery", "worker", *self._pool, *OPTIONS.split()]
            self._workers = subprocess.Popen(
                command, env=self._environ, stdout=log, stderr=log, start_new_session=True
            )
        return self._workers.pid

    def left(self) -> int:
        """How many mails are queued or in hand."""
        queued, in_hand = self._client.llen("celery"), self._client.hlen("unacked")
        return int(queued) + int(in_hand)  # type: ignore[arg-type] # redis-py: "sync or async"

    def send(self, count: int) -> None:
        """Have so many mails sent."""
        self.push(count)
        wait_until(lambda: not self.left(), 300, lambda: self._log.read_text()[-2000:])

    def kill(self) -> None:
        """SIGKILL for all of them."""
        if self._workers is not None:
            os.killpg(self._workers.pid, signal.SIGKILL)
            self._workers.wait()

    def stop(self) -> None:
        """Kill them, and forget what is queued."""
        self.kill()
        self._client.flushdb()


class PostOffice:
    """django-post_office over SQLite, a process that sends what is queued and ends, as cron starts it."""

    name = "post_office"

    def __init__(
        self,
        asked: Asked,
        folder: Path,
        port: int,
        *,
        processes: int,
        threads: int,
        authority: Path | None = None,
    ) -> None:
        """``authority``: whoever vouches for the mail server; none: no STARTTLS."""
        home = folder / "post_office"
        home.mkdir()
        python = python_with(POST_OFFICE, self.name, asked.peers_dir)
        self._command = [str(python), str(PROGRAMS / "mail_by_post_office.py")]
        self.sending = [*self._command, "send", str(processes), str(threads)]
        self._log = home / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._pushed = 0
        self.environ = os.environ | {
            "BENCH_FOLDER": str(home),
            "BENCH_SMTP": str(port),
            "BENCH_AUTHORITY": str(authority or ""),
            "BENCH_TEMPLATE": str(template_file(folder)),
        }

    def push(self, count: int) -> None:
        """Enqueue so many mails, to recipients that had none so far."""
        words = ["push", str(count), str(self._pushed)]
        subprocess.run([*self._command, *words], env=self.environ, check=True)
        self._pushed += count

    def left(self) -> int:
        """How many mails are queued."""
        told = subprocess.run([*self._command, "left"], env=self.environ, check=True, stdout=subprocess.PIPE)
        return int(told.stdout)

    def launch(self) -> int:
        """Begin to send; its process id."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self.sending,
                env=self.environ,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL for all of it."""
        if self._process is not None:
            with suppress(ProcessLookupError):  # it had sent everything
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process is not None and self._process.poll() is None
