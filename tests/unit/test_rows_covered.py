"""The reported failures of other systems: each has a test here, or a reason why it cannot happen."""

from __future__ import annotations

import pytest

from rows.table import MOST_REASONS, NUMBERS, ROOT, loose_guards, markdown, marks, missing, rows


@pytest.mark.parametrize("source", NUMBERS)
def test_every_row_is_answered(source: str) -> None:
    """Each reported failure has a test that bears its mark, or one line on why it cannot happen."""
    assert missing(source, rows(source)) == []


def test_few_rows_are_answered_by_words() -> None:
    """A reason instead of a test is the exception, over all rows together."""
    everything = [row for source in NUMBERS for row in rows(source)]
    by_words = [row.name for row in everything if row.cannot_happen]
    assert len(by_words) <= MOST_REASONS * len(everything), by_words


@pytest.mark.parametrize("source", NUMBERS)
def test_every_guard_fits(source: str) -> None:
    """What takes a guard out fits the product in one place, and the test it names bears the row's mark."""
    assert loose_guards(rows(source)) == []


def test_every_mark_names_a_row() -> None:
    """A mark with a number that no file has would cover nothing."""
    known = {row.name for source in NUMBERS for row in rows(source)}
    assert set(marks()) <= known


def test_the_table_is_current() -> None:
    """TABLE.md is what ``tests/rows/table.py`` prints."""
    assert (ROOT / "tests/rows/TABLE.md").read_text() == markdown()
