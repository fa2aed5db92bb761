"""``mailerd doctor``: what is wrong with Redis or the queue, and what to do."""

from __future__ import annotations

import click

from mailerd.cli.configuration import config_option, configuration
from mailerd.cli.output import json_option, show_json
from mailerd.cli.queue import opened
from mailerd.errors import EXIT_CLEAN, EXIT_NO


@click.command()
@config_option
@json_option
def doctor(*, as_json: bool) -> int:
    """
    Look for what is wrong with Redis and the queue, and say what to do.

    Looks at persistence, memory, eviction and role of the server; at workers without a lease, jobs that
    nobody brings back, lists that nobody knows, and whether every recipient is in some state. Changes
    nothing. Exit code 1 when anything is wrong.
    """
    with opened(configuration()) as queue:
        complaints = list(queue.diagnose())
    if as_json:
        show_json([{"what": each.what, "advice": each.advice} for each in complaints])
    for each in () if as_json else complaints:
        click.echo(f"{each.what}\n    {each.advice}")
    if not complaints and not as_json:
        click.echo("All is well: nothing is wrong with Redis or the queue.")
    return EXIT_NO if complaints else EXIT_CLEAN
