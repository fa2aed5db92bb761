"""
``mailerd batch watch``: a batch while it goes, until it is done or needs somebody.

A bar on a terminal, lines elsewhere. Reads only; ending it ends nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import click
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from mailerd.cli.configuration import config_option, configuration
from mailerd.cli.output import json_option, printable, show_json, span
from mailerd.cli.pace import Pace
from mailerd.cli.queue import Queue, opened
from mailerd.clock import Clock, Stop, SystemClock
from mailerd.errors import EXIT_CLEAN, EXIT_NO
from mailerd.outcome import OPEN
from mailerd.queue.model import BatchState, BatchView

_LOOK = 0.5  # seconds
_LINE = 5.0  # seconds between two lines where there is no bar
_OVER = frozenset({BatchState.DONE, BatchState.NEEDS_ATTENTION, BatchState.CANCELLED})
_NOBODY = "a living worker: start the daemon"


@dataclass(frozen=True, slots=True)
class Look:
    """The batch at one moment (monotonic seconds), and how it goes; ``left`` in seconds, None: unknown."""

    time: float
    batch: BatchView
    rate: float
    left: float | None
    waiting_for: str | None

    @property
    def settled(self) -> int:
        """Recipients that nothing more happens to by itself."""
        return settled(self.batch)


Show = Callable[[Look], None]


@click.command()
@config_option
@click.argument("batch_id", metavar="BATCH")
@click.option("--client", "client_id", metavar="ID", help="The client whose batch it is.")
@json_option
def watch(batch_id: str, client_id: str | None, *, as_json: bool) -> int:
    """
    Watch a batch until it is done or needs attention.

    Ends with 0 when it is done or cancelled, with 1 when it needs attention. Ctrl-C ends the watching, not
    the batch. With --json, or where there is no terminal, a line every few seconds.
    """
    console = Console(highlight=False)
    try:
        with opened(configuration()) as queue:
            view = queue.batch(batch_id, client_id)
            with _bar(console) if console.is_terminal and not as_json else _lines(as_json=as_json) as show:
                for look in looks(queue, view, SystemClock()):
                    show(look)
    except KeyboardInterrupt:
        click.echo("No longer watched; the batch goes on.", err=True)
        return EXIT_NO
    return _end(look.batch, as_json=as_json)


def looks(queue: Queue, view: BatchView, clock: Clock) -> Iterator[Look]:
    """A look at the batch every half second, until one that shows it over."""
    pace, pause = Pace(), Stop()
    moved, best = clock.monotonic(), -1
    while True:
        now, done = clock.monotonic(), settled(view)
        pace.note(now, done)
        if done != best:
            moved, best = now, done
        waiting_for = view.waiting_for
        if now - moved >= _LINE and not any(worker.alive for worker in queue.status().workers):
            waiting_for = _NOBODY
        yield Look(now, view, pace.rate, pace.left(view.recipients), waiting_for)
        if view.state in _OVER:
            return
        pause.wait(_LOOK)
        view = queue.batch(view.batch_id, view.client_id)


def settled(view: BatchView) -> int:
    """Recipients that nothing more happens to by itself."""
    return view.recipients - sum(number for state, number in view.counts.items() if state in OPEN)


def words(look: Look) -> str:
    """A look in one line."""
    view = look.batch
    share = 100 * look.settled // view.recipients if view.recipients else 100
    parts = [f"{view.state.replace('_', ' ')}: {look.settled:,} of {view.recipients:,} ({share} %)"]
    if view.state not in _OVER:
        parts.append(f"{look.rate:,.0f}/s")
        if look.left is not None:
            parts.append(f"{span(look.left)} left")
    parts.append(", ".join(f"{number:,} {state}" for state, number in view.counts.items()))
    if look.waiting_for:
        parts.append(f"waiting for {look.waiting_for}")
    return printable("  ".join(parts))


@contextmanager
def _bar(console: Console) -> Iterator[Show]:
    with Live(console=console, auto_refresh=False) as live:

        def show(look: Look) -> None:
            bar = ProgressBar(look.batch.recipients, look.settled, width=min(console.width, 80))
            live.update(Group(Text(words(look)), bar), refresh=True)

        yield show


@contextmanager
def _lines(*, as_json: bool) -> Iterator[Show]:
    """A line when the state changes and at the end, else every few seconds if anything changed."""
    last: list[Look] = []

    def show(look: Look) -> None:
        if last and not _worth_a_line(last[0], look):
            return
        last[:] = [look]
        if as_json:
            show_json({**look.batch.to_json(), "rate": round(look.rate, 1), "seconds_left": look.left})
        else:
            click.echo(words(look))

    yield show


def _worth_a_line(last: Look, look: Look) -> bool:
    if look.batch.state is not last.batch.state or look.waiting_for != last.waiting_for:
        return True
    return look.time - last.time >= _LINE and look.batch != last.batch


def _end(view: BatchView, *, as_json: bool) -> int:
    if view.state is not BatchState.NEEDS_ATTENTION:
        return EXIT_CLEAN
    if not as_json:
        click.echo(printable(f"Next: mailerd unknown list {view.batch_id} --client {view.client_id}"))
    return EXIT_NO
