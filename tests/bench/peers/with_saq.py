"""SAQ, ten jobs at a time in each worker, as it comes."""

import asyncio

from body import URL, begin, jobs
from saq import Queue

queue = Queue.from_url(URL)


async def work(_: dict, *, job: dict) -> None:
    """The job."""
    begin(job)


LOOP = asyncio.new_event_loop()  # the queue's connections stay with it, from one push to the next
settings = {"queue": queue, "functions": [work], "concurrency": 10}


async def _push(count: int, template: str) -> None:
    await queue.connect()
    made = jobs(count, template)
    for start in range(0, count, 100):
        await asyncio.gather(*(queue.enqueue("work", job=one, ttl=-1) for one in made[start : start + 100]))


def push(count: int, template: str) -> None:
    """Enqueue so many jobs, a hundred at a time."""
    LOOP.run_until_complete(_push(count, template))
