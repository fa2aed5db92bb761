"""
``mailerd key create``: a token for the HTTP door, and the lines of the configuration that know it.

The token is made here and kept nowhere; the configuration has only its SHA-256.
"""

from __future__ import annotations

import hashlib
import secrets

import click

from mailerd.cli.output import json_option, show_json
from mailerd.config.entries import EVERY_CLIENT
from mailerd.job import is_name

_BYTES = 32


@click.group()
def key() -> None:
    """Make keys for the HTTP door."""


def _client(_ctx: click.Context, _parameter: click.Parameter, value: str) -> str:
    if value != EVERY_CLIENT and not is_name(value):
        raise click.BadParameter(
            f"must be 1 to 128 of A-Z a-z 0-9 . _ @ + -, beginning with a letter or digit, or {EVERY_CLIENT}"
        )
    return value


@key.command(short_help="Make a token for a client.")
@click.argument("client_id", metavar="CLIENT", callback=_client)
@json_option
def create(client_id: str, *, as_json: bool) -> None:
    """
    Make a token for CLIENT, and print it with the lines that let it in.

    Whoever sends the token sees and touches the batches of CLIENT and no others; with '*' (in quotes) those
    of every client, and /metrics. It is shown this once. A client may have several keys: to change one, add
    the new key, give its token to the client, then take the old key out.
    """
    token = secrets.token_urlsafe(_BYTES)
    digest = hashlib.sha256(token.encode()).hexdigest()
    if as_json:
        show_json({"client_id": client_id, "token": token, "sha256": digest})
        return
    whose = "every client" if client_id == EVERY_CLIENT else f"client {client_id}"
    click.echo(f"The token of {whose}, shown this once:\n\n  {token}\n")
    click.echo("It goes into each request:\n")
    click.echo(f"  Authorization: Bearer {token}\n")
    click.echo("Put this at the end of the configuration file, then restart mailerd:\n")
    click.echo(f'[[api.keys]]\nclient_id = "{client_id}"\nsha256 = "{digest}"')
