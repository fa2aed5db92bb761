"""
``mailerd unknown``: recipients whose mail was handed over and whose answer was lost, and what became of them.

Only somebody who looked it up, at the mail server or with the recipient, can tell; here is where they say so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

import click

from mailerd.cli.configuration import config_option, configuration
from mailerd.cli.output import (
    AnswerIsNo,
    complain,
    confirmed,
    counted,
    json_option,
    show_json,
    show_json_list,
    show_table,
    when,
    yes_option,
)
from mailerd.cli.queue import opened
from mailerd.errors import EXIT_CLEAN, EXIT_NO
from mailerd.queue.model import BatchView, Resolution, UnknownRecipient, rfc_3339

_QUESTIONS = {
    Resolution.SENT: "Note that {whom} got the mail?",
    Resolution.FAILED: "Note that {whom} did not get the mail, and never will?",
    Resolution.RESEND: "Send the mail again to {whom}, who may have got it already?",
}
_DONE = {
    Resolution.SENT: "noted as sent",
    Resolution.FAILED: "noted as failed",
    Resolution.RESEND: "queued to be sent again",
}

_NEXT = (
    "Next: look for the message ids in the mail server's log, then mailerd unknown resolve BATCH CONTACT..., "
    "see mailerd help unknown"
)

_client = click.option("--client", "client_id", metavar="ID", help="The client whose batch it is.")


@click.group()
def unknown() -> None:
    """
    Look at recipients of unknown outcome, and settle them.

    Their mail was handed over and the answer was lost, so that it may have arrived or not. They are not tried
    again until somebody says what happened: look for the mail in the log of the mail server.
    """


@unknown.command("list")
@config_option
@click.argument("batch_id", metavar="[BATCH]", required=False)
@_client
@json_option
def list_(batch_id: str | None, client_id: str | None, *, as_json: bool) -> None:
    """List the recipients of unknown outcome, of one batch or of all."""
    with opened(configuration()) as queue:
        if batch_id:
            client_id = queue.batch(batch_id, client_id).client_id
        recipients = queue.unknowns.all(batch_id, client_id)
        if as_json:
            show_json_list(map(_as_json, recipients))
            return
        first = next(recipients, None)
        if first is None:
            click.echo("No recipient of unknown outcome.")
            return
        head = ["client", "batch", "contact", "since", "message id"]
        show_table(head, map(_row, chain([first], recipients)))
        click.echo(_NEXT)


@unknown.command()
@config_option
@click.argument("batch_id", metavar="BATCH")
@click.argument("contact_ids", metavar="[CONTACT]...", nargs=-1)
@click.option("--all", "everybody", is_flag=True, help="Every recipient of the batch that is unknown now.")
@click.option(
    "--as",
    "how",
    type=click.Choice(list(Resolution), case_sensitive=False),
    required=True,
    help="sent: it arrived. failed: it did not. resend: send it again.",
)
@_client
@yes_option
@json_option
def resolve(
    batch_id: str,
    contact_ids: Sequence[str],
    client_id: str | None,
    *,
    everybody: bool,
    how: str,
    yes: bool,
    as_json: bool,
) -> int:
    """
    Say what became of recipients of unknown outcome.

    A mail that is sent again keeps its Message-ID; whoever got the first one may still see it twice.
    """
    if everybody == bool(contact_ids):
        raise click.UsageError("Name the contacts, or give --all.")
    resolution = Resolution(how)
    with opened(configuration()) as queue:
        batch = queue.batch(batch_id, client_id)
        unknown_now = [row.contact_id for row in queue.unknowns.all(batch_id, batch.client_id)]
        chosen = unknown_now if everybody else _known(contact_ids, unknown_now)
        if not chosen:
            raise AnswerIsNo(f"batch {batch_id} of client {batch.client_id}: nothing to resolve")
        if everybody and not confirmed(_question(resolution, batch, len(chosen)), yes=yes):
            return EXIT_NO
        settled = queue.unknowns.resolve(batch.client_id, batch_id, chosen, resolution)
    _report(batch, resolution, settled, as_json=as_json)
    wanted = len(chosen) if everybody else len(set(contact_ids))
    return EXIT_CLEAN if settled == wanted else EXIT_NO


def _known(contact_ids: Sequence[str], unknown_now: Sequence[str]) -> list[str]:
    """Those that can be resolved; complains of the others."""
    there = set(unknown_now)
    for contact_id in contact_ids:
        if contact_id not in there:
            complain(f"{contact_id} is no recipient of unknown outcome of this batch")
    return [contact_id for contact_id in dict.fromkeys(contact_ids) if contact_id in there]


def _question(how: Resolution, batch: BatchView, number: int) -> str:
    whom = f"{counted(number, 'recipient')} of batch {batch.batch_id} of client {batch.client_id}"
    return _QUESTIONS[how].format(whom=whom)


def _report(batch: BatchView, how: Resolution, settled: int, *, as_json: bool) -> None:
    if as_json:
        show_json(
            {"client_id": batch.client_id, "batch_id": batch.batch_id, "resolution": how, "resolved": settled}
        )
    else:
        click.echo(f"{counted(settled, 'recipient')} of batch {batch.batch_id}: {_DONE[how]}")


def _row(recipient: UnknownRecipient) -> tuple[str, ...]:
    whose = (recipient.client_id, recipient.batch_id, recipient.contact_id)
    return (*whose, when(recipient.since), recipient.message_id or "")


def _as_json(recipient: UnknownRecipient) -> Mapping[str, str | None]:
    return {
        "client_id": recipient.client_id,
        "batch_id": recipient.batch_id,
        "contact_id": recipient.contact_id,
        "since": rfc_3339(recipient.since),
        "message_id": recipient.message_id,
    }
