"""
Jobs as somebody at a terminal gives them: a file with one or several, or options that make one.

Pure: the strict parser of ``job.py`` decides what a job is; here only its words are tied to lines. Used by
``mailerd enqueue``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from mailerd.errors import JobRejected, Problem
from mailerd.job import EmailJob, job_from, parse_json


@dataclass(frozen=True, slots=True)
class Flaw:
    """One thing wrong with what was given; ``line`` where there are several jobs."""

    line: int | None
    problem: Problem

    def __str__(self) -> str:
        """The form in which users read it."""
        return f"line {self.line}: {self.problem}" if self.line else str(self.problem)


class Flawed(Exception):
    """What was given are not all jobs; ``flaws`` says everything that is wrong."""

    def __init__(self, flaws: list[Flaw]) -> None:
        super().__init__("; ".join(map(str, flaws)))
        self.flaws = flaws


def jobs_in(raw: bytes, longest: int) -> list[EmailJob]:
    """
    The jobs in a file: one JSON object, or one a line; lines of one batch become one job.

    ``longest``: what a worker takes, in bytes. Raises ``Flawed``.
    """
    flaws: list[Flaw] = []
    jobs: list[tuple[int | None, EmailJob]] = []
    for line, text in _texts(raw):
        try:
            jobs.append((line, _job(parse_json(text))))
        except JobRejected as fault:
            flaws += _flaws(line, fault)
    merged = _merged(jobs, flaws)
    flaws += _too_long(merged, longest)
    if flaws:
        raise Flawed(flaws)
    return merged


def job_of(fields: Mapping[str, Any], contacts: bytes | None, longest: int) -> list[EmailJob]:
    """The job of some fields; ``variables`` still as text, more contacts one a line. Raises ``Flawed``."""
    flaws: list[Flaw] = []
    value = {name: field for name, field in fields.items() if field is not None}
    value["contact_ids"] = [*value["contact_ids"], *_contact_lines(contacts or b"", flaws)]
    if "variables" in value:
        value["variables"] = _variables(value["variables"], flaws)
    jobs = []
    try:
        jobs.append(_job(value))
    except JobRejected as fault:
        # That nothing is left of what could not be read is no flaw of its own.
        known = {flaw.problem.field for flaw in flaws}
        flaws += [flaw for flaw in _flaws(None, fault) if flaw.problem.field not in known]
    flaws += _too_long(jobs, longest)
    if flaws:
        raise Flawed(flaws)
    return jobs


def _texts(raw: bytes) -> list[tuple[int | None, bytes]]:
    """Each job's text with its line, or everything as one, be it pretty-printed over many lines."""
    lines: list[tuple[int | None, bytes]] = [
        (number, line) for number, line in enumerate(raw.split(b"\n"), 1) if line.strip()
    ]
    several = sum(line.startswith(b"{") for _, line in lines) > 1
    return lines if several and not raw.lstrip().startswith(b"[") else [(None, raw)]


def _job(value: Any) -> EmailJob:
    if isinstance(value, dict) and value.get("batch_id") is None:
        value = {**value, "batch_id": str(uuid4())}
    return job_from(value)


def _flaws(line: int | None, fault: JobRejected) -> list[Flaw]:
    return [Flaw(line, problem) for problem in fault.problems or (Problem("", fault.reason),)]


def _merged(jobs: Iterable[tuple[int | None, EmailJob]], flaws: list[Flaw]) -> list[EmailJob]:
    first: dict[tuple[str, str], EmailJob] = {}
    contacts: dict[tuple[str, str], list[str]] = {}
    for line, job in jobs:
        batch = (job.client_id, job.batch_id)
        known = first.setdefault(batch, job)
        contacts.setdefault(batch, []).extend(job.contact_ids)
        if _content(known) != _content(job):
            words = f"batch {job.batch_id} has another template, variables or expiry in an earlier line"
            flaws.append(Flaw(line, Problem("batch_id", words)))
    return [replace(job, contact_ids=tuple(contacts[batch])) for batch, job in first.items()]


def _content(job: EmailJob) -> tuple[Any, ...]:
    return job.template_id, job.variables_json(), job.expires_at


def _too_long(jobs: Iterable[EmailJob], longest: int) -> Iterator[Flaw]:
    for job in jobs:
        size = len(job.to_json())
        if size > longest:
            words = (
                f"batch {job.batch_id} makes a job of {size:,} bytes, at most {longest:,} (queue.max_job_mb)"
            )
            yield Flaw(None, Problem("contact_ids", words))


def _contact_lines(raw: bytes, flaws: list[Flaw]) -> list[str]:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        flaws.append(Flaw(None, Problem("contact_ids", f"the file is not UTF-8: byte {error.start}")))
        return []
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    # An id may hold a comma (a job in JSON can name it), but a file full of them is a table.
    if lines and all(any(mark in line for mark in ",;\t") for line in lines):
        words = "the file looks like CSV, and one contact id a line is wanted: cut -d, -f1 FILE | tail -n +2"
        flaws.append(Flaw(None, Problem("contact_ids", words)))
        return []
    return lines


def _variables(text: str, flaws: list[Flaw]) -> Any:
    try:
        # What a shell hands over that is no UTF-8 comes as halves of surrogate pairs.
        return parse_json(text.encode(errors="surrogateescape"))
    except JobRejected as fault:
        flaws.append(Flaw(None, Problem("variables", fault.reason)))
        return None
