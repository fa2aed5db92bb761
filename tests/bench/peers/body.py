"""What each peer does with a job, the least that one can see: a line of 24 bytes when it begins."""

import os
import threading
import time

URL = os.environ["BENCH_REDIS"]
LINE = 24
SLOW = 5.0  # seconds that a job of the template "slow" takes, for whoever kills its worker
_FILE = os.open(os.environ["BENCH_STARTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def begin(job: dict) -> None:
    """Note when it begins, and who works on it."""
    os.write(_FILE, b"%016.5f %06d\n" % (time.time(), os.getpid() % 1_000_000))
    if job["template_id"] == "slow":
        threading.Event().wait(SLOW)


def jobs(count: int, template: str) -> list[dict]:
    """So many jobs of two contacts, a hundred a batch."""
    return [
        {
            "client_id": "c1",
            "contact_ids": [f"a{number}", f"b{number}"],
            "template_id": template,
            "batch_id": f"batch{number // 100}",
        }
        for number in range(count)
    ]
