"""How many jobs a worker takes at once, and which of those in its hand go together."""

from __future__ import annotations

from collections import deque

from mailerd.job import EmailJob
from mailerd.queue.claims import Claim
from mailerd.queue.payloads import job_id
from mailerd.work.handful import MOMENT, MOST, Handful
from mailerd.work.held import Held, together


def test_a_worker_begins_with_one_and_takes_as_many_as_fill_a_moment() -> None:
    """Slow jobs come alone, quick ones up to a limit."""
    handful = Handful()
    assert handful.most == 1

    handful.took(1, MOMENT / 5.5)
    assert handful.most == 5
    handful.took(1, 2 * MOMENT)
    assert handful.most == 1
    for _ in range(100):
        handful.took(4, 1e-9)
    assert handful.most == MOST


def test_a_slow_job_counts_at_once_and_a_quick_one_by_and_by() -> None:
    """One that waited for a server makes the next handful small, one lucky one does not make it large."""
    handful = Handful()
    handful.took(10, MOMENT / 2)
    assert handful.most == 20

    handful.took(1, MOMENT / 4)
    assert handful.most == 4
    handful.took(1, 0.0)
    assert handful.most == 5


def held(*jobs: EmailJob) -> deque[Held]:
    raws = [job.to_json() for job in jobs]
    return deque(Held.of(Claim(raw, job_id(raw), "1"), 10_000) for raw in raws)


def made(*contacts: str, batch: str = "b1", template: str = "t", **more: object) -> EmailJob:
    return EmailJob("shop", contacts, template, batch, **more)  # type: ignore[arg-type] # mixed


def test_jobs_of_one_batch_that_say_the_same_of_it_go_together() -> None:
    """At most a slice of recipients, and never past a job that differs or stands there twice."""
    first = made("a", "b")
    for other in (
        made("c", batch="b2"),
        made("c", template="u"),
        made("c", variables={"x": 1}),
        made("c", "d", "e", "f"),
        first,
    ):
        hand = held(first, made("g"), other, made("h"))
        assert len(together(hand, first, 6)) == 2
        assert len(hand) == 2

    hand = held(first, made("g"), made("h", variables={}), made("i"))
    assert len(together(hand, first, 6)) == 4
