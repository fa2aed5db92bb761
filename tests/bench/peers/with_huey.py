"""Huey, results off, blocking pop. It loses the job in hand when its worker dies."""

from body import URL, begin, jobs
from huey import RedisHuey

huey = RedisHuey("bench", url=URL, results=False, blocking=True)


@huey.task()
def work(job: dict) -> None:
    """The job."""
    begin(job)


def push(count: int, template: str) -> None:
    """Enqueue so many jobs."""
    for one in jobs(count, template):
        work(one)
