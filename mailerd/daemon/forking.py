"""
The one way in which a process of the daemon is forked: from a single thread, and never back into the parent.

A child of a process with more threads inherits locks that nobody will release (CPython gh-100228). Called by
main, once, and by the supervisor.
"""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Callable
from typing import NoReturn

from mailerd.daemon import linux, signals
from mailerd.errors import EXIT_INTERNAL, MailerdError

log = logging.getLogger(__name__)


def fork(body: Callable[[], int]) -> int:
    """
    Fork a child that does ``body`` and exits with what it returns; return the child's process id.

    The known signals are blocked in the child until ``signals.adopt``. Raises ``MailerdError`` where a
    second thread exists, and ``OSError`` where the system has no room for a process.
    """
    threads = linux.thread_count()
    if threads != 1:
        raise MailerdError(f"refusing to fork with {threads} threads")
    with signals.blocked():
        pid = os.fork()
        if pid == 0:
            _live(body)
        return pid


def keep_shared() -> None:
    """
    Keep what is alive now shared with the children to come, for as long as neither side touches it.

    Else the next search for garbage, on either side, writes to each object, and all of it is there twice.
    """
    gc.collect()
    gc.freeze()


def _live(body: Callable[[], int]) -> NoReturn:
    code = EXIT_INTERNAL
    try:
        code = body()
    except MailerdError as fault:
        log.error("%s", fault, extra={"event": "process.failed"})  # noqa: TRY400 - a fault explains itself
        code = fault.exit_code
    except BaseException:
        # The edge of the process: whatever it was, the parent's clean-up must not run in this child.
        log.critical(
            "An unexpected error ends this process", exc_info=True, extra={"event": "process.crashed"}
        )
    finally:
        os._exit(code)
