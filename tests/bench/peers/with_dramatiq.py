"""Dramatiq with its default middleware."""

import dramatiq
from body import URL, begin, jobs
from dramatiq.brokers.redis import RedisBroker

dramatiq.set_broker(RedisBroker(url=URL))


@dramatiq.actor
def work(job: dict) -> None:
    """The job."""
    begin(job)


def push(count: int, template: str) -> None:
    """Enqueue so many jobs."""
    for one in jobs(count, template):
        work.send(one)
