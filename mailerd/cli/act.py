"""
``mailerd batch cancel``, ``pause``, ``resume`` and ``retry``: an operator's word on a whole batch.

In force within a second, for every daemon on this Redis, whether one runs here or not.
"""

from __future__ import annotations

from collections.abc import Callable

import click

from mailerd.cli.configuration import config_option, configuration
from mailerd.cli.output import AnswerIsNo, confirmed, counted, json_option, printable, show_json, yes_option
from mailerd.cli.queue import Queue, opened
from mailerd.errors import EXIT_CLEAN, EXIT_NO
from mailerd.outcome import OPEN
from mailerd.queue.model import Action, BatchView, Effect

_DONE = {
    Action.CANCEL: "cancelled, nobody else of it gets mail",
    Action.PAUSE: "paused",
    Action.RESUME: "goes on",
    Action.RETRY: "whoever failed, was invalid or expired is tried again",
}
_NEXT = {
    Action.CANCEL: "show",
    Action.PAUSE: "resume",
    Action.RESUME: "watch",
    Action.RETRY: "watch",
}

Command = Callable[..., int]


def _on_a_batch(command: Command) -> Command:
    """What these commands have in common: which batch, and how to answer."""
    for decorate in (
        json_option,
        click.option("--client", "client_id", metavar="ID", help="The client whose batch it is."),
        click.argument("batch_id", metavar="BATCH"),
        config_option,
    ):
        command = decorate(command)
    return command


@click.command()
@_on_a_batch
@yes_option
def cancel(batch_id: str, client_id: str | None, *, yes: bool, as_json: bool) -> int:
    """
    Cancel a batch: whoever has no mail yet gets none.

    For good. A mail that is being handed over at that moment still goes out.
    """
    with opened(configuration()) as queue:
        view = queue.batch(batch_id, client_id)
        waiting = sum(number for state, number in view.counts.items() if state in OPEN)
        question = (
            f"Cancel batch {batch_id} of client {view.client_id}, {counted(waiting, 'recipient')} open?"
        )
        if waiting and not confirmed(question, yes=yes):
            return EXIT_NO
        return _act(queue, Action.CANCEL, view, as_json=as_json)


@click.command()
@_on_a_batch
def pause(batch_id: str, client_id: str | None, *, as_json: bool) -> int:
    """
    Pause a batch: no mail of it goes out until it is resumed.

    Its jobs are put aside and hold up nobody else's.
    """
    return _found_and_act(Action.PAUSE, batch_id, client_id, as_json=as_json)


@click.command()
@_on_a_batch
def resume(batch_id: str, client_id: str | None, *, as_json: bool) -> int:
    """Let a paused batch go on."""
    return _found_and_act(Action.RESUME, batch_id, client_id, as_json=as_json)


@click.command()
@_on_a_batch
def retry(batch_id: str, client_id: str | None, *, as_json: bool) -> int:
    """
    Try again whoever of a batch failed, was invalid or expired.

    For when the reason is gone: a mended template, a corrected address. Recipients of unknown outcome are
    left alone (see: mailerd unknown), and so is a batch that was cancelled.
    """
    return _found_and_act(Action.RETRY, batch_id, client_id, as_json=as_json)


def _found_and_act(action: Action, batch_id: str, client_id: str | None, *, as_json: bool) -> int:
    with opened(configuration()) as queue:
        return _act(queue, action, queue.batch(batch_id, client_id), as_json=as_json)


def _act(queue: Queue, action: Action, view: BatchView, *, as_json: bool) -> int:
    effect = queue.actions.act(action, view.client_id, view.batch_id)
    view = queue.batch(view.batch_id, view.client_id)
    whose = f"batch {view.batch_id} of client {view.client_id}"
    if effect is not Effect.DONE:
        raise AnswerIsNo(f"{whose}: nothing to {action}, it is {view.state.replace('_', ' ')}")
    if as_json:
        show_json(view.to_json())
        return EXIT_CLEAN
    click.echo(printable(f"{whose}: {_DONE[action]}"))
    click.echo(printable(f"Next: mailerd batch {_NEXT[action]} {view.batch_id} --client {view.client_id}"))
    return EXIT_CLEAN
