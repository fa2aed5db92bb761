"""
``mailerd preflight``: everything that can be known of a batch before its first mail.

Prints what ``mailerd.preflight`` finds; sends nothing, writes nothing, and asks no Redis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import IO

import click

from mailerd.cli.configuration import config_option, configuration
from mailerd.cli.jobs import Flawed, job_of, jobs_in
from mailerd.cli.output import AskedAmiss, counted, json_option, printable, show_json, span, when
from mailerd.clock import SystemClock
from mailerd.config import Config
from mailerd.errors import EXIT_CLEAN, EXIT_NO
from mailerd.job import EmailJob, is_name
from mailerd.preflight.bounds import Bounds
from mailerd.preflight.findings import Finding, Remark, Severity
from mailerd.preflight.forecast import Forecast
from mailerd.preflight.report import Report

_CLIENT = "preflight"
_BAR_FROM = 2000  # recipients from which on it is worth one
_EXAMPLES = """\b
Examples:
  mailerd preflight spring --batch job.json
  mailerd preflight spring --batch ids.txt --client shop --variables '{"code": "SPRING"}'
  psql -Atc 'SELECT id FROM contacts' | mailerd preflight spring --batch -
"""


@click.command(epilog=_EXAMPLES)
@config_option
@click.argument("template_id", metavar="TEMPLATE")
@click.option(
    "--batch",
    "file",
    type=click.File("rb"),
    required=True,
    metavar="FILE",
    help="The job as JSON, or contact ids, one a line; - is standard input.",
)
@click.option(
    "--client", "client_id", metavar="ID", help="Whose batch it is; the job's own where it names one."
)
@click.option("--variables", metavar="JSON", help="Template variables common to the batch, with contact ids.")
@click.option(
    "--speed",
    type=click.FloatRange(min=0, min_open=True),
    metavar="N",
    help="Mails a second that the server takes, for the forecast.",
)
@json_option
def preflight(
    template_id: str,
    file: IO[bytes],
    client_id: str | None,
    variables: str | None,
    speed: float | None,
    *,
    as_json: bool,
) -> int:
    """
    Look at a whole batch before its first mail. Nothing is sent, and Redis is not asked.

    Every contact of FILE is looked up and gets its mail made with TEMPLATE: unknown contacts, bad addresses,
    missing variables, size, links, sender and headers are told, the worst first, and how long it will take.

    Exit code 0 when nothing is wrong (notes may be there), 1 when something is.
    """
    config = configuration()
    raw = file.read()
    fields = {"client_id": client_id, "template_id": template_id, "variables": variables}
    try:
        job = _job(raw, fields, config)
    except Flawed as fault:
        report = Report(0, 0, [_of_flaw(flaw.problem.field, str(flaw)) for flaw in fault.flaws])
    else:
        report = _examined(config, job, Bounds(speed=speed or 0.0), quiet=as_json)
    if as_json:
        show_json(report.to_json())
    else:
        _show(template_id, report)
    return EXIT_CLEAN if report.good else EXIT_NO


def _job(raw: bytes, fields: dict[str, str | None], config: Config) -> EmailJob:
    """The job in ``raw``, or the one that its contact ids make. Raises ``Flawed``."""
    longest = config.queue.max_job_mb * 2**20
    if not raw.lstrip().startswith(b"{"):
        named = {**fields, "client_id": fields["client_id"] or _CLIENT, "contact_ids": ()}
        return job_of(named, raw, longest)[0]
    if fields["variables"] is not None:
        raise click.UsageError("--variables goes with contact ids; a job has its own.")
    first, *more = jobs_in(raw, longest)
    if more:
        raise AskedAmiss(f"there are {len(more) + 1} batches in the file: give one at a time")
    if first.template_id != fields["template_id"]:
        raise AskedAmiss(
            f"the job in the file is for template {first.template_id}, not {fields['template_id']}"
        )
    client_id = fields["client_id"]
    if client_id and not is_name(client_id):
        raise AskedAmiss(f"{client_id} can be no client's id")
    return replace(first, client_id=client_id or first.client_id)


def _of_flaw(field: str, text: str) -> Finding:
    return Finding(
        Remark(Severity.PROBLEM, f"job.{field}", text, "mend the job: as it is it would not be queued")
    )


def _examined(config: Config, job: EmailJob, bounds: Bounds, *, quiet: bool) -> Report:
    from mailerd.preflight.examine import examine

    recipients = len(job.distinct())
    with _progress(recipients, quiet=quiet or recipients < _BAR_FROM) as progress:
        return examine(config, job, SystemClock(), bounds, progress)


@contextmanager
def _progress(recipients: int, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """A bar on standard error, where that is a terminal."""
    if quiet:
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("looking at recipients", total=recipients)
        yield lambda examined: bar.update(task, completed=examined)


def _show(template_id: str, report: Report) -> None:
    for finding in report.findings:
        for line in _lines(finding, report.examined):
            click.echo(printable(line))
    if report.forecast:
        click.echo(_foreseen(report.forecast))
    click.echo(_verdict(template_id, report))


def _lines(finding: Finding, examined: int) -> Iterator[str]:
    remark = finding.remark
    of = f" of {examined:,}" if examined else ""
    about = f" ({finding.recipients:,}{of})" if finding.recipients else ""
    yield f"{remark.severity}{about}: {remark.what}"
    more = finding.recipients - len(finding.examples)
    if finding.examples:
        yield f"    {', '.join(finding.examples)}" + (f" and {more:,} more" if more > 0 else "")
    yield f"    -> {remark.advice}"


def _foreseen(foreseen: Forecast) -> str:
    if not foreseen.mails:
        return "forecast: nobody gets a mail"
    end = when(SystemClock().now() + foreseen.seconds)
    mails = counted(foreseen.mails, "mail")
    alone = f"if nothing else is sent ({foreseen.held_by})"
    return f"forecast: {mails} in {span(foreseen.seconds)}, by {end}, {alone}"


def _verdict(template_id: str, report: Report) -> str:
    severities = [finding.remark.severity for finding in report.findings]
    found = [counted(number, severity) for severity in Severity if (number := severities.count(severity))]
    of = counted(report.recipients, "recipient")
    verdict = "nothing is wrong" if report.good else "not ready"
    return (
        f"{template_id}, {of}: {verdict}" + (f" ({', '.join(found)})" if found else "") + "; nothing was sent"
    )
