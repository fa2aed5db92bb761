"""
The lines of a bulk request, and the batches that they make.

Pure: bytes in, jobs out. Every bad line is found before one is refused. Called by the bulk call only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from mailerd.errors import JobRejected, Problem
from mailerd.job import EmailJob, job_from, parse_json


@dataclass(frozen=True, slots=True)
class Line:
    """One line that is not blank; lines are counted from 1."""

    number: int
    text: bytes

    def name(self, field: str = "") -> str:
        """The line, or a field in it, as the client reads it."""
        return f"line {self.number}: {field}" if field else f"line {self.number}"


@dataclass(frozen=True, slots=True)
class Group:
    """The lines of one batch, and the one job that they come to."""

    lines: Sequence[Line]
    job: EmailJob


def lines_of(body: bytes) -> list[Line]:
    """The lines that hold something."""
    numbered = enumerate(body.split(b"\n"), 1)
    return [Line(number, text) for number, text in numbered if text.strip(b" \t\r")]


def groups_of(lines: Sequence[Line], complete: Callable[[Any, int], Any]) -> list[Group]:
    """
    One job for each batch, in the order of their first lines.

    ``complete`` is given each line's JSON and place, and returns it with a batch id. Raises ``JobRejected``
    that names every line that is no job, or that disagrees with an earlier one of its batch.
    """
    problems: list[Problem] = []
    groups: dict[tuple[str, str], list[tuple[Line, EmailJob]]] = {}
    for place, line in enumerate(lines):
        try:
            job = job_from(complete(parse_json(line.text), place))
        except JobRejected as error:
            problems += _problems_of(line, error)
        else:
            groups.setdefault((job.client_id, job.batch_id), []).append((line, job))
    problems += chain.from_iterable(map(_disagreements, groups.values()))
    if problems:
        raise _refusal(problems, len(lines))
    return [_group(group) for group in groups.values()]


def _problems_of(line: Line, error: JobRejected) -> Iterator[Problem]:
    if not error.problems:
        yield Problem(line.name(), error.reason)
    for problem in error.problems:
        yield Problem(line.name(problem.field), problem.message)


def _disagreements(group: Sequence[tuple[Line, EmailJob]]) -> Iterator[Problem]:
    (first, model), *others = group
    if not others:
        return
    content = _content(model)
    for line, job in others:
        for (field, value), (_, expected) in zip(_content(job), content, strict=True):
            if value != expected:
                yield Problem(
                    line.name(field), f"differs from line {first.number}, which is of the same batch"
                )


def _content(job: EmailJob) -> Sequence[tuple[str, Any]]:
    return (
        ("template_id", job.template_id),
        ("variables", job.variables_json()),
        ("expires_at", job.expires_at),
    )


def _group(group: Sequence[tuple[Line, EmailJob]]) -> Group:
    lines, jobs = zip(*group, strict=True)
    if len(jobs) == 1:
        return Group(lines, jobs[0])
    contacts = tuple(dict.fromkeys(chain.from_iterable(job.contact_ids for job in jobs)))
    return Group(lines, replace(jobs[0], contact_ids=contacts))


def _refusal(problems: Iterable[Problem], lines: int) -> JobRejected:
    ordered = sorted(problems, key=_number_of)
    bad = len(set(map(_number_of, ordered)))
    return JobRejected(f"{bad} of {lines} lines cannot be queued, so none was", tuple(ordered))


def _number_of(problem: Problem) -> int:
    return int(problem.field.removeprefix("line ").partition(":")[0])
