"""Bulk: lines to batches, and every bad line named."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mailerd.api.lines import Group, groups_of, lines_of
from mailerd.errors import JobRejected

JOB = {"client_id": "shop", "contact_ids": ["a"], "template_id": "hello", "batch_id": "b-1"}


def grouped(*jobs: Any) -> list[Group]:
    body = b"\n".join(one if isinstance(one, bytes) else json.dumps(one).encode() for one in jobs)
    return groups_of(lines_of(body), lambda job, _place: job)


def fields(*jobs: Any) -> list[str]:
    with pytest.raises(JobRejected) as caught:
        grouped(*jobs)
    assert all(problem.message for problem in caught.value.problems)
    return [problem.field for problem in caught.value.problems]


def test_blank_lines_count_but_hold_nothing() -> None:
    """Lines are numbered as an editor shows them; carriage returns and a last line feed do no harm."""
    lines = lines_of(b"{}\r\n\r\n  \n[]\n")
    assert [(line.number, line.text) for line in lines] == [(1, b"{}\r"), (4, b"[]")]
    assert lines_of(b"") == lines_of(b"\n \r\n") == []


def test_lines_of_one_client_and_batch_are_one_job() -> None:
    """The union of their contacts, in the order of their first mention; other clients' are apart."""
    groups = grouped(
        {**JOB, "contact_ids": ["b", "a", "b"]},
        {**JOB, "client_id": "club"},
        {**JOB, "contact_ids": ["c", "a"]},
    )
    assert [(group.job.client_id, group.job.contact_ids) for group in groups] == [
        ("shop", ("b", "a", "c")),
        ("club", ("a",)),
    ]
    assert [[line.number for line in group.lines] for group in groups] == [[1, 3], [2]]


def test_a_single_line_stays_as_it_is() -> None:
    """Its repeats and their order are the producer's."""
    (group,) = grouped({**JOB, "contact_ids": ["b", "a", "b"], "variables": {"x": 1}})
    assert group.job.contact_ids == ("b", "a", "b")
    assert group.job.variables == {"x": 1}


def test_the_same_variables_in_another_order_agree() -> None:
    """No variables and empty ones are the same as well."""
    one, other = {"a": 1, "b": 2}, {"b": 2, "a": 1}
    assert len(grouped({**JOB, "variables": one}, {**JOB, "variables": other})) == 1
    assert len(grouped(JOB, {**JOB, "variables": {}}, {**JOB, "variables": None})) == 1


def test_a_line_that_disagrees_with_its_batch_is_bad() -> None:
    """Each field in which it differs from the first line of the batch is named."""
    assert fields(
        JOB,
        {**JOB, "template_id": "other", "variables": {"x": 1}},
        {**JOB, "client_id": "club", "template_id": "other"},
        {**JOB, "expires_at": "2030-01-01T00:00:00Z"},
    ) == ["line 2: template_id", "line 2: variables", "line 4: expires_at"]


def test_every_bad_line_is_named_in_their_order() -> None:
    """What is no JSON, no object, no job, and what disagrees, are found together."""
    bad = {**JOB, "contact_ids": ["a", ""], "client_id": "/"}
    assert fields(JOB, b"{", {**JOB, "template_id": "x"}, b"[]", b"", bad, b'{"a":1,"a":2}') == [
        "line 2",
        "line 3: template_id",
        "line 4",
        "line 6: client_id",
        "line 6: contact_ids[1]",
        "line 7",
    ]


def test_the_refusal_counts_lines_and_not_problems() -> None:
    """Two problems of one line are one bad line."""
    with pytest.raises(JobRejected, match="1 of 2 lines"):
        grouped(JOB, {})
