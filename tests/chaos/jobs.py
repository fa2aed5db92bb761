"""
The jobs of a run, from a seed: pure. Which batches, of whom, over which door, in which overlapping pieces.

Each contact belongs to one batch only, so that an address names both.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

DOMAIN, SLOW_DOMAIN = "chaos.test", "slow.chaos.test"
SLOW = 7  # every so many-th contact lives at the slow domain
NOBODY = 40  # every so many-th contact is not in the database


@dataclass(frozen=True, slots=True)
class Push:
    """One job as a producer gives it: over HTTP or as a foreign LPUSH."""

    client_id: str
    batch_id: str
    contact_ids: tuple[str, ...]
    http: bool


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch: its pushes in order, repeats among them."""

    batch_id: str
    pushes: tuple[Push, ...]
    contact_ids: tuple[str, ...]


def batches(seed: int, sizes: Sequence[int]) -> Iterator[Batch]:
    """The batches of a run, without end."""
    dice = random.Random(seed)
    number = first = 0
    while True:
        number += 1
        size = max(1, int(dice.choice(sizes) * dice.uniform(0.5, 1.5)))
        contacts = tuple(f"u{n}" for n in range(first, first + size))
        first += size
        yield Batch(f"b{number}", _pushes(dice, f"b{number}", contacts), contacts)


def _pushes(dice: random.Random, batch_id: str, contacts: tuple[str, ...]) -> tuple[Push, ...]:
    client = f"c{dice.randrange(3)}"
    way, size = dice.random(), len(contacts)
    if way < 0.4:  # over HTTP, some of them twice
        whole = Push(client, batch_id, contacts, http=True)
        return (whole, whole) if dice.random() < 0.3 else (whole,)
    if way < 0.6 and size > 1:  # over HTTP, and a foreign program adds to it
        middle = dice.randrange(1, size)
        overlap = contacts[dice.randrange(middle) :]
        return Push(client, batch_id, contacts[:middle], http=True), Push(
            client, batch_id, overlap, http=False
        )
    if way < 0.85 and size > 2:  # two foreign jobs that overlap
        one, two = sorted(dice.sample(range(1, size), 2))
        jobs = contacts[:two], contacts[one:]
        return tuple(Push(client, batch_id, job, http=False) for job in jobs)
    whole = Push(client, batch_id, contacts, http=False)
    return (whole, whole) if dice.random() < 0.3 else (whole,)


def known(contact_id: str) -> bool:
    """Whether the database has this contact."""
    return int(contact_id[1:]) % NOBODY != 0


def address(contact_id: str) -> str:
    """Where a contact is written to."""
    slow = int(contact_id[1:]) % SLOW == 0
    return f"{contact_id}@{SLOW_DOMAIN if slow else DOMAIN}"
