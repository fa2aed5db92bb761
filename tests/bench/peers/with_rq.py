"""RQ; its SimpleWorker does not fork for each job."""

from body import URL, begin, jobs
from redis import Redis
from rq import Queue


def work(job: dict) -> None:
    """The job."""
    begin(job)


def push(count: int, template: str) -> None:
    """Enqueue so many jobs."""
    queue = Queue("bench", connection=Redis.from_url(URL))
    made = jobs(count, template)
    for start in range(0, len(made), 500):
        piece = made[start : start + 500]
        queue.enqueue_many([Queue.prepare_data("with_rq.work", (one,), result_ttl=0) for one in piece])
