"""
``mailerd batch``: which batches there are, how far each is, and what became of its recipients.

What is here reads only; ``watch`` and what changes a batch (``act.py``) have files of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import click

from mailerd.cli.act import cancel, pause, resume, retry
from mailerd.cli.configuration import config_option, configuration
from mailerd.cli.output import (
    counted,
    json_option,
    printable,
    show_facts,
    show_json,
    show_json_list,
    show_table,
    when,
)
from mailerd.cli.queue import Queue, opened
from mailerd.cli.watch import watch
from mailerd.outcome import State
from mailerd.queue.model import BatchState, BatchView

_LISTED = 50
_PAGE = 500


@click.group()
def batch() -> None:
    """
    Look at batches: how far they are, what became of their recipients; cancel, pause, resume, retry them.

    A batch is known by its id; where two clients have one of the same id, --client tells which is meant.
    """


for command in (watch, cancel, pause, resume, retry):
    batch.add_command(command)


@batch.command("list")
@config_option
@click.option("--client", "client_id", metavar="ID", help="Only this client's batches.")
@click.option(
    "--state",
    "only",
    type=click.Choice(list(BatchState), case_sensitive=False),
    metavar="STATE",
    help=f"Only those in this state: {', '.join(BatchState)}.",
)
@click.option(
    "-n", "--limit", type=click.IntRange(1), help=f"At most so many.  [default: {_LISTED}, with --json all]"
)
@json_option
def list_(client_id: str | None, only: str | None, limit: int | None, *, as_json: bool) -> None:
    """List batches, those registered last first."""
    with opened(configuration()) as queue:
        views = _batches(queue, client_id, BatchState(only) if only else None)
        if as_json:
            show_json_list(view.to_json() for view in islice(views, limit))
            return
        most = limit or _LISTED
        rows = list(islice(views, most + 1))
    if not rows:
        click.echo("No batch.")
        return
    show_table(["created", "client", "batch", "state", "recipients"], map(_row, rows[:most]))
    if len(rows) > most:
        click.echo(f"And older ones: --limit shows more than {most}.")


def _batches(queue: Queue, client_id: str | None, state: BatchState | None) -> Iterator[BatchView]:
    cursor: str | None = ""
    while cursor is not None:
        page = queue.batches.page(client_id, state, cursor, _PAGE)
        yield from page.batches
        cursor = page.next


def _row(view: BatchView) -> tuple[str, ...]:
    return when(view.created_at), view.client_id, view.batch_id, _state(view), _recipients(view)


def _state(view: BatchView) -> str:
    return view.state.replace("_", " ")


def _recipients(view: BatchView) -> str:
    counts = ", ".join(f"{number:,} {state}" for state, number in view.counts.items())
    return f"{view.recipients:,}: {counts}"


@batch.command()
@config_option
@click.argument("batch_id", metavar="BATCH")
@click.option("--client", "client_id", metavar="ID", help="The client whose batch it is.")
@click.option("--recipients", is_flag=True, help="Also list the recipients, in no order.")
@click.option(
    "--state",
    "only",
    type=click.Choice(list(State), case_sensitive=False),
    metavar="STATE",
    help=f"List those in this state: {', '.join(State)}.",
)
@json_option
def show(batch_id: str, client_id: str | None, only: str | None, *, recipients: bool, as_json: bool) -> None:
    """Show a batch: its state, its counts, what it waits for."""
    state = State(only) if only else None
    listed = recipients or state is not None
    with opened(configuration()) as queue:
        view = queue.batch(batch_id, client_id)
        if as_json:
            _show_json(queue, view, state, listed=listed)
            return
        _show(view)
        if listed:
            click.echo()
            _show_recipients(queue, view, state)


def _show(view: BatchView) -> None:
    facts = [
        ("batch", view.batch_id),
        ("client", view.client_id),
        ("template", view.template_id),
        ("state", _state(view)),
        ("recipients", _recipients(view)),
        ("created", when(view.created_at)),
    ]
    if view.finished_at is not None:
        facts.append(("finished", when(view.finished_at)))
    if view.waiting_for:
        facts.append(("waiting for", view.waiting_for))
    show_facts(facts)
    helps = {BatchState.NEEDS_ATTENTION: "unknown list", BatchState.PAUSED: "batch resume"}
    if view.state in helps:
        whose = f"{view.batch_id} --client {view.client_id}"
        click.echo(printable(f"Next: mailerd {helps[view.state]} {whose}"))


def _show_recipients(queue: Queue, view: BatchView, state: State | None) -> None:
    shown = 0

    def rows() -> Iterator[tuple[str, ...]]:
        nonlocal shown
        for recipient in queue.batches.recipients(view.client_id, view.batch_id, state):
            shown += 1
            yield recipient.contact_id, recipient.state, when(recipient.time), recipient.reason

    show_table(["contact", "state", "since", "reason"], rows())
    missing = view.recipients - shown
    if state is None and missing > 0:
        click.echo(f"And {counted(missing, 'recipient')} of a job that no worker has read yet.")


def _show_json(queue: Queue, view: BatchView, state: State | None, *, listed: bool) -> None:
    if not listed:
        show_json(view.to_json())
        return
    rows = queue.batches.recipients(view.client_id, view.batch_id, state)
    show_json_list((row.to_json() for row in rows), {"batch": view.to_json()}, "recipients")
