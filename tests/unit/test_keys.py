"""Where everything lies in Redis."""

from __future__ import annotations

from collections import Counter

import pytest
from redis.crc import key_slot

from mailerd.queue.keys import (
    INLINE_ROWS,
    ROWS_IN_A_BUCKET,
    Batch,
    Keys,
    Rows,
    bucket_of,
    buckets_for,
    field_prefix,
    in_bucket_order,
)

KEYS = Keys("email_queue")
LARGE = Batch("shop", "b1", 5)
SMALL = Batch("shop", "b1", 0)
CONTACTS = [f"c{number}" for number in range(400)]


def test_all_keys_of_a_queue_lie_in_its_slot() -> None:
    """A cluster keeps everything that one script touches on one node."""
    named = [value for name, value in vars(KEYS).items() if not name.startswith("_")]
    made = [
        KEYS.lease("1"),
        KEYS.hand("1"),
        KEYS.batch("shop/b1"),
        KEYS.side("shop/b1"),
        KEYS.tombstone("shop/b1"),
        KEYS.bucket(LARGE, 3),
        KEYS.bucket(SMALL, 0),
    ]
    assert {key_slot(key.encode()) for key in named + made} == {key_slot(b"email_queue")}
    assert len({*named, *made}) == len(named) + len(made) - 1  # a small batch's rows lie in its record


@pytest.mark.parametrize(
    ("recipients", "buckets"),
    [(1, 0), (INLINE_ROWS, 0), (INLINE_ROWS + 1, 1), (80, 1), (81, 2), (1_000_000, 12_500)],
)
def test_the_number_of_buckets_follows_the_size(recipients: int, buckets: int) -> None:
    """Up to 64 rows lie in the record; more are spread so that a hash holds about 80."""
    assert buckets_for(recipients) == buckets


def test_a_bucket_stays_small_enough_to_be_compact() -> None:
    """Hardly any bucket of a large batch outgrows the 128 entries up to which Redis packs a hash."""
    buckets = buckets_for(200_000)
    sizes = Counter(bucket_of(f"contact-{number:09}", buckets) for number in range(200_000))
    assert ROWS_IN_A_BUCKET * 0.9 < 200_000 / len(sizes) < 128
    assert sum(size > 128 for size in sizes.values()) <= len(sizes) / 1000


def test_a_contact_is_always_in_the_same_bucket() -> None:
    """A place is for ever, also over releases: it is part of the layout."""
    assert bucket_of("c1", 5) == 2
    assert bucket_of("c1", 0) == 0


def test_rows_name_each_hash_once_and_each_contact_with_its_hash() -> None:
    """A script is handed every hash that it touches, and where in it each contact lies."""
    rows = Rows.of(KEYS, LARGE, CONTACTS)
    assert sorted(rows.keys) == sorted(KEYS.bucket(LARGE, number) for number in range(5))
    assert [contact for _, contact in rows.contacts] == CONTACTS
    for index, contact in rows.contacts:
        assert rows.keys[index - 1] == KEYS.bucket(LARGE, bucket_of(contact, 5))
    assert rows.pairs()[:2] == list(rows.contacts[0])


def test_a_small_batch_has_all_rows_in_its_record() -> None:
    """With a prefix that no field of the record has."""
    assert Rows.of(KEYS, SMALL, CONTACTS).keys == [KEYS.batch("shop/b1")]
    assert field_prefix(SMALL) == ":"
    assert field_prefix(LARGE) == ""


def test_bucket_order_keeps_everybody_and_touches_few_hashes() -> None:
    """The same contacts, in an order that a second cutter finds again."""
    ordered = in_bucket_order(LARGE, CONTACTS)
    assert sorted(ordered) == sorted(CONTACTS)
    numbers = [bucket_of(contact, 5) for contact in ordered]
    assert numbers == sorted(numbers)
    assert in_bucket_order(LARGE, CONTACTS) == ordered
    assert in_bucket_order(SMALL, CONTACTS) == CONTACTS
