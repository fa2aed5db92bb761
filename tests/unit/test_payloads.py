"""What lies on the queue: our own lines of text, told apart from jobs, and from what only looks like them."""

from __future__ import annotations

import contextlib
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailerd.errors import JobRejected
from mailerd.job import EmailJob
from mailerd.queue.payloads import Slice, Ticket, job_id, parse

LONGEST = 2**20
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}", fullmatch=True)
contact_ids = st.lists(
    st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=256), unique=True
)


@given(names, names)
def test_a_ticket_survives_the_queue(client: str, batch: str) -> None:
    """What is written is what is read."""
    assert parse(Ticket(client, batch).to_bytes(), LONGEST) == Ticket(client, batch)


@given(names, names, contact_ids, st.booleans(), st.booleans())
def test_a_slice_survives_the_queue(
    client: str, batch: str, contacts: list[str], retry: bool, called: bool
) -> None:
    """Whatever a job's contact ids may be, a slice of them is read as written."""
    piece = Slice(client, batch, tuple(contacts), retry, called)
    assert parse(piece.to_bytes(), LONGEST) == piece


def test_a_slice_is_its_first_line_and_one_contact_a_line() -> None:
    """The scripts put slices together so, without knowing more of them."""
    piece = Slice("shop", "b1", ("a", "ü b"))
    assert piece.to_bytes() == (piece.first_line() + "\na\nü b").encode()
    assert Slice("shop", "b1", ("a",), retry=True).first_line() == "mailerd retry shop/b1"
    assert Slice("shop", "b1", ("a",), called=True).first_line() == "mailerd slice-called shop/b1"


def test_a_job_is_parsed_as_one() -> None:
    """What does not begin like ours is a job."""
    job = EmailJob("shop", ("a",), "welcome", "b1")
    assert parse(job.to_json(), LONGEST) == job


FORGED = {
    "nothing": b"mailerd ",
    "no kind": b"mailerd shop/b1",
    "another kind": b"mailerd bomb shop/b1",
    "no batch": b"mailerd ticket shop",
    "no names": b"mailerd ticket /",
    "a name too many": b"mailerd ticket shop/b1/b2",
    "a bad name": b"mailerd ticket shop/-b1",
    "a long name": b"mailerd ticket shop/" + b"b" * 129,
    "a blank more": b"mailerd ticket shop/b1 ",
    "two blanks": b"mailerd  ticket shop/b1",
    "a line more": b"mailerd ticket shop/b1\n",
    "contacts in a ticket": b"mailerd ticket shop/b1\na",
    "an empty contact": b"mailerd slice shop/b1\n",
    "an empty line": b"mailerd slice shop/b1\na\n\nb",
    "a contact twice": b"mailerd slice shop/b1\na\na",
    "no UTF-8": b"mailerd slice shop/b1\n\xff",
    "no UTF-8 in the name": b"mailerd slice shop/\xff\na",
    "half a surrogate pair": b"mailerd slice shop/b1\n\xed\xa0\x80",
    "NUL": b"mailerd slice shop/b1\na\x00b",
    "a carriage return": b"mailerd retry shop/b1\r\na",
    "a long contact": b"mailerd slice shop/b1\n" + b"x" * 257,
}


@pytest.mark.parametrize("raw", FORGED.values(), ids=FORGED.keys())
def test_what_only_begins_like_ours_is_rejected(raw: bytes) -> None:
    """Every byte counts: a claim is let go of by its exact bytes, and no contact may stand there twice."""
    with pytest.raises(JobRejected, match="mailerd's own"):
        parse(raw, LONGEST)


@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_else(rest: bytes) -> None:
    """Whatever is pushed is ours, a job, or rejected."""
    for raw in (rest, b"mailerd " + rest, b"mailerd slice shop/b1\n" + rest):
        with contextlib.suppress(JobRejected):
            parsed = parse(raw, LONGEST)
            assert isinstance(parsed, EmailJob) or parsed.to_bytes() == raw


@pytest.mark.parametrize("raw", [b"{" + b" " * 100, b"mailerd slice shop/b1\n" + b"x" * 100])
def test_what_is_too_long_is_not_even_read(raw: bytes) -> None:
    """The limit holds for everything on the queue, and its name stands in the reason."""
    with pytest.raises(JobRejected, match=r"too large: 1\d\d bytes, at most 100 \(queue.max_job_mb\)"):
        parse(raw, 100)


def test_the_id_of_a_payload_is_the_sha1_of_its_bytes() -> None:
    """As scripts compute it."""
    assert job_id(b"mailerd") == hashlib.sha1(b"mailerd", usedforsecurity=False).hexdigest()
