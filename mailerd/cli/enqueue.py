"""
``mailerd enqueue``: put jobs on the queue, registered in the same way as those that come over HTTP.

Either everything that was given is jobs, or nothing is queued.
"""

from __future__ import annotations

from typing import IO, Any
from uuid import uuid4

import click

from mailerd.cli.configuration import config_option, configuration
from mailerd.cli.jobs import Flawed, job_of, jobs_in
from mailerd.cli.output import complain, counted, json_option, show_json
from mailerd.cli.queue import opened, reached
from mailerd.clock import SystemClock
from mailerd.config import Config
from mailerd.errors import EXIT_CLEAN, EXIT_NO, NearlyFull, RedisRefused, RedisUnavailable
from mailerd.job import EmailJob
from mailerd.queue.enqueue import Enqueuer
from mailerd.queue.model import Admission, Enqueued

_QUEUED = (Admission.QUEUED, Admission.REPLAYED)
_WORDS = {
    Admission.QUEUED: "queued",
    Admission.REPLAYED: "replayed, it is known and nothing was queued again",
    Admission.CONFLICT: "conflict, it is known with other content",
    Admission.FOREIGN: "conflict, it is known from a job that another program pushed",
    Admission.FULL: "not queued, the queue is full (queue.max_length)",
}


_EXAMPLES = """\b
Examples:
  mailerd enqueue job.json
  mailerd enqueue --client shop --template welcome --contact c1 --contact c2
  mailerd enqueue --client shop --template news --contacts-file ids.txt
"""


@click.command(epilog=_EXAMPLES)
@config_option
@click.argument("file", type=click.File("rb"), required=False)
@click.option("--client", "client_id", metavar="ID", help="The client whose batch it is.")
@click.option("--template", "template_id", metavar="ID", help="The template to send.")
@click.option("--batch", "batch_id", metavar="ID", help="The batch.  [default: a new UUID]")
@click.option(
    "--contact", "contact_ids", metavar="ID", multiple=True, help="A contact; give it as often as needed."
)
@click.option(
    "--contacts-file", type=click.File("rb"), help="More contacts, one a line; - is standard input."
)
@click.option("--variables", metavar="JSON", help="Template variables common to the batch, as an object.")
@click.option("--expires-at", metavar="TIME", help="Send nothing after this: 2026-01-31T12:00:00Z.")
@json_option
def enqueue(file: IO[bytes] | None, *, as_json: bool, **fields: Any) -> int:
    """
    Put jobs on the queue.

    FILE (- is standard input) holds a job as a JSON object, or several, one a line. Or the options say what
    is to be sent. All of it is queued, or nothing is and every problem named.

    A batch with the same content again is a replay: nothing is queued and nobody gets two mails.
    """
    config = configuration()
    try:
        jobs = _jobs(file, fields, config.queue.max_job_mb * 2**20)
    except Flawed as fault:
        return _refuse(fault, as_json=as_json)
    return _enqueue(reached(config), jobs, as_json=as_json)


def _jobs(file: IO[bytes] | None, fields: dict[str, Any], longest: int) -> list[EmailJob]:
    contacts: IO[bytes] | None = fields.pop("contacts_file")
    given = contacts is not None or any(fields.values())
    if (file is not None) == given:
        raise click.UsageError("Give a FILE (- is standard input), or the options that make a job.")
    if file is not None:
        return jobs_in(file.read(), longest)
    return job_of(fields, contacts.read() if contacts else None, longest)


def _refuse(fault: Flawed, *, as_json: bool) -> int:
    if as_json:
        errors = [
            {"line": flaw.line, "field": flaw.problem.field, "message": flaw.problem.message}
            for flaw in fault.flaws
        ]
        show_json({"queued": False, "errors": errors})
    else:
        for flaw in fault.flaws:
            complain(str(flaw))
        complain("nothing was queued")
    return EXIT_NO


def _enqueue(config: Config, jobs: list[EmailJob], *, as_json: bool) -> int:
    with opened(config) as queue:
        queue.status()  # so that a Redis that is away is found before it is uncertain what was queued
        answers = list(zip(jobs, _put(Enqueuer.of(config, SystemClock()), jobs), strict=True))
    refused = [(job, answer) for job, answer in answers if answer.admission not in _QUEUED]
    for job, answer in refused or answers:
        _say(job, answer, as_json=as_json)
    if refused and len(jobs) > 1 and not as_json:
        complain("nothing was queued")
    if not refused and len(jobs) == 1 and not as_json:
        click.echo(f"Next: mailerd batch watch {jobs[0].batch_id} --client {jobs[0].client_id}")
    return EXIT_NO if refused else EXIT_CLEAN


def _put(enqueuer: Enqueuer, jobs: list[EmailJob]) -> list[Enqueued]:
    try:
        return enqueuer.enqueue_all(jobs, uuid4().hex)
    except NearlyFull:
        raise  # before anything was written
    except (RedisUnavailable, RedisRefused):
        first, more = jobs[0], len(jobs) - 1
        whose = f"batch {first.batch_id} of client {first.client_id}" + (f" and {more} more" if more else "")
        complain(f"{whose} may be queued or not: give the same ids again, which queues nothing twice")
        raise


def _say(job: EmailJob, enqueued: Enqueued, *, as_json: bool) -> None:
    """Say what became of the job."""
    admission = enqueued.admission
    queued = admission in _QUEUED
    if as_json:
        answer = {
            "queued": queued,
            "admission": admission,
            "client_id": job.client_id,
            "batch_id": job.batch_id,
            "recipients": enqueued.recipients,
            "replayed": admission is Admission.REPLAYED,
        }
        show_json(answer)
        return
    words = f"batch {job.batch_id} of client {job.client_id}: {_WORDS[admission]}"
    if queued:
        click.echo(f"{words}, {counted(enqueued.recipients, 'recipient')}")
    else:
        complain(words)
