"""Celery as its users are told to run it where no job may be lost: acks_late, prefetch 1, results off."""

from body import URL, begin, jobs
from celery import Celery

app = Celery("bench", broker=URL)
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
)


@app.task
def work(job: dict) -> None:
    """The job."""
    begin(job)


def push(count: int, template: str) -> None:
    """Enqueue so many jobs."""
    with app.producer_pool.acquire() as producer:
        for one in jobs(count, template):
            work.apply_async((one,), producer=producer)
