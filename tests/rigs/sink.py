"""A real SMTP server, in a process of its own, that keeps the truth about what it was handed."""

from __future__ import annotations

import email
import email.message
import email.policy
import json
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from rigs.waiting import wait_until


@dataclass(frozen=True)
class Mail:
    """One accepted mail: its envelope, its bytes (CRLF, dots unstuffed) and when its final dot was read."""

    hand_over: int
    sender: str
    recipients: tuple[str, ...]
    content: bytes
    time: float

    @property
    def recipient(self) -> str:
        """Its only recipient."""
        (recipient,) = self.recipients
        return recipient

    @cached_property
    def message(self) -> email.message.EmailMessage:
        """The mail as the standard library's parser sees it."""
        parsed = email.message_from_bytes(self.content, policy=email.policy.default)
        assert isinstance(parsed, email.message.EmailMessage)
        return parsed

    @property
    def message_id(self) -> str:
        """Its Message-ID."""
        return str(self.message["Message-ID"])


@dataclass
class HandOver:
    """
    One DATA: whom for, from which port, when it began and was answered (monotonic seconds).

    ``helo`` is the name that its client gave; ``behind``: its envelope came with the final dot before it.
    """

    recipient: str
    port: int
    begun: float
    helo: str = ""
    answered: float | None = None
    reply: str = ""
    behind: bool = False


class Sink:
    """
    The server as a test sees it. Use as a context manager.

    With ``tls`` (``starttls`` or ``implicit``) it takes nothing unsecured.

    ``behave(delay=0.05, rules=[{"at": "rcpt", "match": "user7@", "do": "450 later", "times": 3}])`` changes
    what it does from the next command on. ``delay`` passes after each final dot, at most ``envelope``
    before each answer to RCPT. ``at``: mail, rcpt, data (instead of 354), before_dot (hangs up),
    dot. ``do``: a reply, ``hang_up`` or ``hang``. At the dot only a 4xx or 5xx reply means not accepted.
    """

    def __init__(self, folder: Path, tls: str = "none") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._tls = tls
        if tls != "none":
            _certify(folder)
        self._folder = folder
        self._truth = folder / "truth.jsonl"
        self._truth.touch()
        self._read = 0
        self._mails: list[Mail] = []
        self._hand_overs: dict[int, HandOver] = {}
        self._open: dict[int, HandOver] = {}
        self._process: subprocess.Popen[str] | None = None
        self.port = 0
        self.behave()

    def behave(
        self, delay: float = 0.0, rules: list[dict[str, Any]] | None = None, *, envelope: float = 0.0
    ) -> None:
        """Change what the server does; see the class."""
        new = self._folder / "behaviour.new"
        new.write_text(json.dumps({"delay": delay, "envelope": envelope, "rules": rules or []}))
        new.replace(self._folder / "behaviour.json")

    def start(self) -> None:
        """Start it (again, on the same port, after ``stop``)."""
        command = [
            sys.executable,
            str(Path(__file__).with_name("sink_server.py")),
            str(self._folder),
            str(self.port),
            self._tls,
        ]
        with (self._folder / "sink.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, (self._folder / "sink.log").read_text()
        self.port = int(line)

    @property
    def smtp(self) -> dict[str, Any]:
        """What ``[smtp]`` of its clients says."""
        authority = {} if self._tls == "none" else {"ca_file": str(self._folder / "ca.pem")}
        return {"host": "127.0.0.1", "port": self.port, "tls": self._tls, **authority}

    def stop(self) -> None:
        """End it at once; its connections are cut."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def mails(self) -> list[Mail]:
        """Every mail accepted so far, in order."""
        self._catch_up()
        return list(self._mails)

    def recipients(self) -> Counter[str]:
        """How often each recipient got a mail."""
        return Counter(mail.recipient for mail in self.mails())

    def hand_overs(self) -> list[HandOver]:
        """Every DATA so far, in order."""
        self._catch_up()
        return list(self._hand_overs.values())

    def open(self) -> list[HandOver]:
        """The hand-overs that are not answered yet."""
        self._catch_up()
        return list(self._open.values())

    def wait_for(self, mails: int, deadline: float = 30.0) -> list[Mail]:
        """Wait until that many mails have been accepted."""
        said = lambda: f"{mails} mails wanted, {len(self.mails())} came"  # noqa: E731 # built only when it is needed
        wait_until(lambda: len(self.mails()) >= mails, deadline, said)
        return self.mails()

    def _catch_up(self) -> None:
        with self._truth.open("rb") as file:
            file.seek(self._read)
            lines = file.read()
        whole = lines[: lines.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            self._take(json.loads(line))

    def _take(self, line: dict[str, Any]) -> None:
        number = line["hand_over"]
        match line["event"]:
            case "begun":
                begun = HandOver(line["recipient"], line["port"], line["time"], line["helo"])
                begun.behind = line["behind"]
                self._hand_overs[number] = self._open[number] = begun
            case "answered":
                self._hand_overs[number].answered = line["time"]
                self._hand_overs[number].reply = line["reply"]
                self._open.pop(number, None)
            case "accepted":
                content = line["content"].encode("latin-1")
                mail = Mail(number, line["sender"], tuple(line["recipients"]), content, line["time"])
                self._mails.append(mail)


def _certify(folder: Path) -> None:
    import trustme  # noqa: PLC0415 - only those who want TLS need it

    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
