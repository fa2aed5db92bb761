"""
mailerd: sends e-mail batches from a Redis queue, every contact exactly one mail.

For producers: ``from mailerd import EmailJob, EmailQueue``. Loaded on first use, so that importing a part of
the daemon does not load all of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mailerd.job import EmailJob
    from mailerd.queue.enqueue import EmailQueue

__all__ = ["EmailJob", "EmailQueue"]


def __getattr__(name: str) -> Any:
    if name == "EmailJob":
        from mailerd.job import EmailJob  # noqa: PLC0415 - see above

        return EmailJob
    if name == "EmailQueue":
        from mailerd.queue.enqueue import EmailQueue  # noqa: PLC0415 - see above

        return EmailQueue
    raise AttributeError(f"module 'mailerd' has no attribute {name!r}")
