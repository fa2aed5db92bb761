"""Jobs as they are given to ``mailerd enqueue``: every flaw with its line and field, or all of them jobs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mailerd.cli.jobs import Flawed, job_of, jobs_in
from mailerd.job import EmailJob

LONGEST = 10_000
JOB = {"client_id": "shop", "template_id": "welcome", "contact_ids": ["c1"], "batch_id": "b1"}


def lines(*values: dict[str, Any]) -> bytes:
    return b"\n".join(json.dumps(value).encode() for value in values)


def flaws(raw: bytes) -> list[str]:
    with pytest.raises(Flawed) as refused:
        jobs_in(raw, LONGEST)
    return [str(flaw) for flaw in refused.value.flaws]


def test_one_job_over_many_lines() -> None:
    """Pretty-printed JSON is one job, also with objects inside."""
    value = {**JOB, "variables": {"items": [{"a": 1}, {"b": 2}]}}

    (job,) = jobs_in(json.dumps(value, indent=2).encode(), LONGEST)

    assert job == EmailJob("shop", ("c1",), "welcome", "b1", value["variables"])


def test_a_job_a_line() -> None:
    """Blank lines do not matter; a job without a batch id gets one of its own."""
    without = {name: value for name, value in JOB.items() if name != "batch_id"}

    jobs = jobs_in(lines(JOB, without, without).replace(b"\n", b"\r\n\n") + b"\n", LONGEST)

    assert jobs[0].batch_id == "b1"
    assert len({job.batch_id for job in jobs}) == 3


def test_lines_of_one_batch_are_one_job() -> None:
    """A batch has the contacts of all its lines; another client's batch of that id is another one."""
    jobs = jobs_in(lines(JOB, {**JOB, "contact_ids": ["c2", "c1"]}, {**JOB, "client_id": "other"}), LONGEST)

    assert [(job.client_id, job.contact_ids) for job in jobs] == [
        ("shop", ("c1", "c2", "c1")),
        ("other", ("c1",)),
    ]


def test_lines_of_one_batch_must_agree() -> None:
    """Another template or other variables in a later line is a flaw of that line."""
    found = flaws(lines(JOB, {**JOB, "variables": {"x": 1}}, {**JOB, "template_id": "other"}))

    said = "batch_id: batch b1 has another template, variables or expiry in an earlier line"
    assert found == [f"line 2: {said}", f"line 3: {said}"]


def test_every_flaw_is_named_with_its_line_and_field() -> None:
    """All flaws of all lines at once; lines that are jobs are not mentioned."""
    raw = lines({**JOB, "client_id": 1, "template_id": ""}, JOB) + b"\n{nope\n"

    found = flaws(raw)

    assert [text.split(": ")[:2] for text in found[:2]] == [
        ["line 1", "client_id"],
        ["line 1", "template_id"],
    ]
    assert found[2].startswith("line 3: not JSON: ")
    assert len(found) == 3


@pytest.mark.parametrize("raw", [b"", b"\n", b"nope", b"\xff", b"[]", b"[\n" + lines(JOB, JOB) + b"\n]"])
def test_what_is_no_job_at_all(raw: bytes) -> None:
    """It is refused as a whole, without a line."""
    (flaw,) = flaws(raw)

    assert flaw.startswith(("not JSON", "not UTF-8", "must be a JSON object"))


def test_a_job_that_no_worker_would_take() -> None:
    """A job over queue.max_job_mb would be buried; it is refused here."""
    (flaw,) = flaws(lines({**JOB, "contact_ids": ["x" * 250] * 50}))

    assert flaw.startswith("contact_ids: batch b1 makes a job of 12,")


FIELDS = {
    "client_id": "shop",
    "template_id": "welcome",
    "batch_id": None,
    "contact_ids": ("c1",),
    "variables": None,
}


def test_a_job_of_options() -> None:
    """Contacts of the options come first, then those of the file; variables are JSON."""
    fields = {**FIELDS, "batch_id": "b1", "variables": '{"x": "ü"}', "expires_at": "2030-01-31T12:00:00Z"}

    (job,) = job_of(fields, "\ufeffc2\r\n\n c3 \n".encode(), LONGEST)

    assert job.contact_ids == ("c1", "c2", "c3")
    assert (job.batch_id, job.variables) == ("b1", {"x": "ü"})
    assert job.expires_at is not None


def test_options_that_make_no_job() -> None:
    """Every option that is wrong is named at once, and so is a contacts file that is no text."""
    fields = {**FIELDS, "client_id": None, "variables": "{'x': 1}"}

    with pytest.raises(Flawed) as refused:
        job_of(fields, b"\xff", LONGEST)

    assert [flaw.problem.field for flaw in refused.value.flaws] == ["contact_ids", "variables", "client_id"]


@pytest.mark.parametrize("table", [b"id,email\n1,a@b.example\n", b"1;Ann\r\n2;Bob", b"1\tAnn\n"])
def test_a_table_of_contacts_is_no_list_of_ids(table: bytes) -> None:
    """CSV is refused in one line that says how to make a list of it, rather than queued as nobody's ids."""
    with pytest.raises(Flawed) as refused:
        job_of({**FIELDS, "contact_ids": ()}, table, LONGEST)

    (flaw,) = map(str, refused.value.flaws)
    assert flaw.startswith("contact_ids: the file looks like CSV, and one contact id a line is wanted: ")


def test_a_comma_in_one_id_of_many_is_part_of_it() -> None:
    """An id may be anything; only a file full of separators is a table."""
    (job,) = job_of({**FIELDS, "contact_ids": ()}, b"Doe, Ann\nbob\n", LONGEST)

    assert job.contact_ids == ("Doe, Ann", "bob")


def test_variables_in_another_encoding() -> None:
    """What a shell hands over that is no UTF-8 is a flaw, not a crash."""
    with pytest.raises(Flawed, match="variables: not UTF-8"):
        job_of({**FIELDS, "variables": '{"x": "\udcff"}'}, None, LONGEST)
