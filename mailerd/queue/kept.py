"""
Connections at hand for the one script that threads run all day: the enqueue calls'.

What redis-py's client does around a command (pool, metrics, retries) costs as much as the command. Here a
connection is taken from its pool once and kept. After any fault all of them go back, and the pool looks at
each before it gives it out again: whoever asks next meets none that died in the same moment. Used by
``enqueue.py`` alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis

from mailerd.queue.connection import translated
from mailerd.queue.scripts import Argument, text_of


class Kept:
    """The connections that a client's threads share, each in use by one at a time."""

    def __init__(self, client: redis.Redis) -> None:
        self._pool: Any = client.connection_pool
        self._idle: list[Any] = []

    def run(self, name: str, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """Run one script; see ``scripts.run``."""
        text, sha = text_of(name)
        with translated():
            try:
                return self._ask("EVALSHA", sha, len(keys), *keys, *arguments)
            except redis.exceptions.NoScriptError:
                return self._ask("EVAL", text, len(keys), *keys, *arguments)

    def _ask(self, *command: Any) -> Any:
        connection = self._take()
        try:
            connection.send_command(*command)
            answer = connection.read_response()
        except BaseException:
            self._pool.release(connection)
            self._give_up_idle()
            raise
        self._idle.append(connection)
        return answer

    def _take(self) -> Any:
        try:
            return self._idle.pop()
        except IndexError:
            return self._pool.get_connection()

    def _give_up_idle(self) -> None:
        try:
            while True:
                self._pool.release(self._idle.pop())
        except IndexError:
            return
