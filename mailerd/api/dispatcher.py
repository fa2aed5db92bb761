"""
The threads that answer requests, the queue before them, and the porter at their door.

The porter is one thread more. It answers at once what needs nothing but the process, so that ``/healthz``
never waits behind Redis, and refuses who would wait too long (``waiting.py``). waitress calls ``add_task``
from its loop; ``server.py`` makes and ends it.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from mailerd.api.channel import Channel
from mailerd.api.waiting import Pace
from mailerd.clock import Clock

# Seconds after which the porter looks again at those who wait.
REVIEW = 0.05

Answer = Callable[[Channel], None]

log = logging.getLogger(__name__)


class Dispatcher:
    """Takes channels whose next request is complete, and has it answered."""

    def __init__(self, clock: Clock, threads: int) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._errand = threading.Condition(self._lock)
        self.queue: deque[Channel] = deque()  # who waits for a thread
        self._errands: deque[tuple[Channel, Answer]] = deque()  # what the porter has to do
        self._busy: dict[threading.Thread, float] = {}  # who answers, and since when
        self._pace = Pace(threads)
        self._looking = False  # whether the porter comes round by itself
        self._stopping = False
        self.threads: set[threading.Thread] = set()
        for number in range(threads):
            self._start(self._answer, f"http-{number}")
        self._start(self._keep_the_door, "http-porter")

    def add_task(self, channel: Channel) -> None:
        """See waitress; called by its loop, and by a thread whose channel has one more request."""
        with self._lock:
            channel.queued_at = self._clock.monotonic()
            if channel.is_answered_at_once():
                self._send(channel, Channel.service)
            elif self._is_refused(channel, len(self.queue), self._present_pace()):
                self._send(channel, Channel.refuse)
            else:
                self.queue.append(channel)
                self._work.notify()
                if not self._looking and len(self.queue) + len(self._busy) > self._pace.threads:
                    # The first for whom no thread is left: until nobody waits the porter looks by itself.
                    self._looking = True
                    self._errand.notify()

    def shutdown(self, timeout: float) -> None:
        """End the threads, each after the request that it has; wait for them at most so many seconds."""
        with self._lock:
            self._stopping = True
            self._work.notify_all()
            self._errand.notify_all()
        deadline = self._clock.monotonic() + timeout
        for thread in list(self.threads):
            thread.join(max(0.0, deadline - self._clock.monotonic()))

    def _start(self, run: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=run, name=name, daemon=True)
        self.threads.add(thread)
        thread.start()

    def _answer(self) -> None:
        while channel := self._next():
            _carry_out(channel, Channel.service)
            self._note_answer()
        self._leave()

    def _next(self) -> Channel | None:
        with self._lock:
            while not (self.queue or self._stopping):
                self._work.wait()
            if self._stopping:
                return None
            self._busy[threading.current_thread()] = self._clock.monotonic()
            return self.queue.popleft()

    def _note_answer(self) -> None:
        with self._lock:
            begun = self._busy.pop(threading.current_thread())
            self._pace = self._pace.after(self._clock.monotonic() - begun)

    def _keep_the_door(self) -> None:
        while errand := self._next_errand():
            _carry_out(*errand)
        self._leave()

    def _next_errand(self) -> tuple[Channel, Answer] | None:
        with self._lock:
            while not (self._errands or self._stopping):
                if not self._looking:
                    self._errand.wait()
                    continue
                self._errand.wait(REVIEW)
                self._review()
                self._looking = bool(self.queue)
            return None if self._stopping else self._errands.popleft()

    def _review(self) -> None:
        """Refuse those in the queue whose wait has become too long, or will."""
        pace, staying = self._present_pace(), deque[Channel]()
        for channel in self.queue:
            if self._is_refused(channel, len(staying), pace):
                self._errands.append((channel, Channel.refuse))
            else:
                staying.append(channel)
        self.queue = staying

    def _is_refused(self, channel: Channel, ahead: int, pace: Pace) -> bool:
        waited = self._clock.monotonic() - channel.queued_at
        return pace.is_too_slow(ahead, waited) and not channel.is_never_refused()

    def _present_pace(self) -> Pace:
        free = self._pace.threads - len(self._busy)
        stuck = 0.0 if free else self._clock.monotonic() - max(self._busy.values())
        return replace(self._pace, free=free, stuck=stuck)

    def _send(self, channel: Channel, answer: Answer) -> None:
        self._errands.append((channel, answer))
        self._errand.notify()

    def _leave(self) -> None:
        with self._lock:
            self.threads.discard(threading.current_thread())


def _carry_out(channel: Channel, answer: Answer) -> None:
    try:
        answer(channel)
    except Exception:  # the thread's edge: one request must not cost a thread
        channel.will_close = True
        log.exception("a request could not be answered", extra={"event": "http.fault"})
