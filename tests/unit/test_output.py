"""What the commands print: nothing steers the terminal, tables fit, lists of any length are JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from mailerd.cli.dead import escaped
from mailerd.cli.output import counted, printable, show_json_list, show_table, span, table
from mailerd.errors import RedisNotReachable


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("plain, Grüße 李雷 🎉", "plain, Grüße 李雷 🎉"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\r\nb\x00\x7f\x9b", "a\\r\\nb\\x00\\x7f\\x9b"),
        ("\u202eevil", "\\u202eevil"),
        ("half \ud800", "half \\ud800"),
    ],
)
def test_what_could_steer_a_terminal_is_escaped(text: str, safe: str) -> None:
    """Control characters, direction marks and halves of surrogates show as escapes; people's words stay."""
    assert printable(text) == safe


def test_bytes_are_shown_line_by_line() -> None:
    """Line ends stay; what is no UTF-8, and what a terminal would obey, is escaped."""
    assert escaped(b"one\ntwo \xff\x1b]0;x\x07\n") == "one\ntwo \\xff\\x1b]0;x\\x07\n"


def test_a_table_fits_and_only_its_last_column_wraps() -> None:
    """No line is wider than asked, no word is lost, and the ids are whole."""
    words = "450 4.2.1 the mailbox is busy, come back later and be patient about it please"
    rows = [["c1", "deferred", words], ["李雷", "sent", "ok"]]

    lines = list(table(["contact", "state", "reason"], rows, 50))

    assert max(map(len, lines)) <= 50
    assert lines[0] == "contact  state     reason"
    assert lines[1] == "c1       deferred  450 4.2.1 the mailbox is busy,"
    assert lines[2].startswith(" " * 19 + "come")
    assert " ".join(" ".join(lines[1:-1]).split()) == f"c1 deferred {words}"
    assert lines[-1] == "李雷     sent      ok"


def test_a_row_without_room_takes_a_line_more() -> None:
    """An id that is very long is never cut; what stands beside it goes below."""
    long = "x" * 70

    lines = list(table(["contact", "reason"], [[long, "a reason of several words"]], 80))

    assert lines[1:] == [long, "    a reason of several words"]


def test_a_table_is_written_as_its_rows_come() -> None:
    """A million rows are never all in memory: the first lines come before the last row is asked for."""
    asked = 0

    def rows() -> object:
        nonlocal asked
        for number in range(1_000_000):
            asked = number
            yield [str(number), "x"]

    lines = table(["n", "x"], rows(), 80)  # type: ignore[arg-type] # a generator of rows
    assert [next(lines), next(lines)] == ["n    x", "0    x"]
    assert asked < 1000


@pytest.mark.parametrize("items", [[], [{"id": "ü"}], [{"id": 1}, {"id": 2}]])
def test_a_list_is_json_whatever_its_length(
    items: list[object], capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """By itself it is a list; beside something, an object with it."""
    show_json_list(items)
    show_json_list(items, {"batch": {"recipients": []}}, "recipients")

    out = capsysbinary.readouterr().out.decode()
    lone, end = json.JSONDecoder().raw_decode(out)
    assert lone == items
    assert json.loads(out[end:]) == {"batch": {"recipients": []}, "recipients": items}


def test_a_list_that_cannot_be_read_is_not_begun(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """Where Redis is away nothing is on standard output, and no half of a list."""

    def items() -> Iterator[object]:
        raise RedisNotReachable("away")
        yield

    with pytest.raises(RedisNotReachable):
        show_json_list(items())

    assert capsysbinary.readouterr().out == b""


def test_in_a_pipe_a_row_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that grep finds the letter with its whole reason."""
    monkeypatch.delenv("COLUMNS", raising=False)
    words = "not a job: " + "contact_ids is missing; " * 20 + "end"

    show_table(["letter", "reason"], [["6b38d42036da-3c093b", words]])

    assert capsys.readouterr().out.splitlines()[1] == f"6b38d42036da-3c093b  {words}"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (119, "119 s"),
        (120, "2 min"),
        (3599, "59 min"),
        (7500, "2 h 5 min"),
        (90000, "25 h 0 min"),
        (3 * 86400 + 7200, "3 days 2 h"),
    ],
)
def test_spans_are_said_roughly(seconds: float, text: str) -> None:
    """Two units at most."""
    assert span(seconds) == text


def test_numbers_agree_with_their_nouns() -> None:
    """One job, two jobs."""
    assert [counted(number, "job") for number in (0, 1, 2000)] == ["0 jobs", "1 job", "2,000 jobs"]
