"""
``mailerd batch``: how far a batch is, and what became of each of its recipients.

Reads only; ``watch`` has a file of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click

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
from mailerd.queue.model import BatchState, BatchView, RecipientView, rfc_3339


@click.group()
def batch() -> None:
    """
    Look at one batch: how far it is, and what became of its recipients.

    A batch is known by its id; where two clients have one of the same id, --client tells which is meant.
    """


batch.add_command(watch)


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
    counts = [f"{number:,} {state}" for state, number in view.counts.items()]
    facts = [
        ("batch", view.batch_id),
        ("client", view.client_id),
        ("template", view.template_id),
        ("state", view.state.replace("_", " ")),
        ("recipients", f"{view.recipients:,}: {', '.join(counts)}"),
        ("created", when(view.created_at)),
    ]
    if view.finished_at is not None:
        facts.append(("finished", when(view.finished_at)))
    if view.waiting_for:
        facts.append(("waiting for", view.waiting_for))
    show_facts(facts)
    if view.state is BatchState.NEEDS_ATTENTION:
        whose = f"{view.batch_id} --client {view.client_id}"
        click.echo(printable(f"Next: mailerd unknown list {whose}"))


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
    show_json_list(map(_as_json, rows), {"batch": view.to_json()}, "recipients")


def _as_json(recipient: RecipientView) -> Mapping[str, Any]:
    return {
        "contact_id": recipient.contact_id,
        "state": recipient.state,
        "reason": recipient.reason,
        "time": rfc_3339(recipient.time),
    }
