"""
The janitor: settles what dead workers left, at once, and does the queue's chores when they are due.

A thread of main. It is woken with each dead worker's remains, books them in that incarnation's name and
only then returns its job; so no recipient is sent to twice because somebody died. It never sends anything.
"""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable
from dataclasses import dataclass, field

from mailerd.board import Answered, Board, Death, GroupRemains, Phase, RecipientRemains
from mailerd.clock import Clock, Stop
from mailerd.config import Config
from mailerd.errors import RedisRefused, RedisUnavailable
from mailerd.outcome import Kind, Outcome, RetryPolicy
from mailerd.queue.answers import Booking
from mailerd.queue.connection import Patience, connect
from mailerd.queue.eras import replay
from mailerd.queue.keys import Batch, Keys
from mailerd.queue.ledger import Ledger, known_batch
from mailerd.queue.upkeep import Blame, Upkeep

log = logging.getLogger(__name__)

# A dead worker's group settled, an incarnation without a lease reaped, a recipient whose answer a death took.
EVENTS = ("death_settled", "lease_reaped", "recipient_unknown")
# Whoever stands in line for a limit is called up so often (seconds): a pause without use.
CALL_UP_EVERY = 0.25
NEVER_BEGUN = Outcome(Kind.WITHHELD, "its worker died before the hand-over")
NO_ANSWER = Outcome(Kind.UNKNOWN, "its worker died before the answer came")


@dataclass(slots=True)
class _Chore:
    do: Callable[[], object]
    every: float
    due: float = 0.0


@dataclass(slots=True)
class Overview:
    """
    What the janitor knows, for others in main: it alone writes.

    ``text``: the queue in a few words, for the service manager. ``events``: how often what happened, for
    ``/metrics``.
    """

    text: str = "waiting for Redis"
    events: dict[str, int] = field(default_factory=lambda: dict.fromkeys(EVENTS, 0))


class Janitor:
    """Works until ``stop``, and then until no death is left to settle."""

    def __init__(self, config: Config, stop: Stop, clock: Clock, overview: Overview) -> None:
        self._config = config
        self._overview = overview
        self._stop = stop
        self._clock = clock
        self._keys = Keys(config.queue.name)
        self._client = connect(config.redis)
        self._patience = Patience(clock, stop, self._redis_is_away)
        upkeep = Upkeep(self._client, self._keys, config, clock)
        self._upkeep = upkeep
        self._chores = [
            _Chore(upkeep.tend, 0.9),
            _Chore(self._look, 5.0),
            _Chore(self._reap_lapsed, 4.5),
            _Chore(upkeep.visit_graves, 60.0),
            _Chore(upkeep.forget_old_batches, 3600.0),
        ]

        if config.limits.clients or config.limits.domains:
            self._chores.append(_Chore(upkeep.call_up, CALL_UP_EVERY))

    def run(self, deaths: queue.SimpleQueue[Death | None]) -> None:
        """Settle deaths as they come, and do the chores in between."""
        while not self._stop or not deaths.empty():
            try:
                death = deaths.get(timeout=0.0 if self._stop else self._until_due())
            except queue.Empty:
                self._do_what_is_due()
                continue
            if death is not None:
                self._settle(death)

    def _until_due(self) -> float:
        now = self._clock.monotonic()
        return max(0.01, min(chore.due for chore in self._chores) - now)

    def _do_what_is_due(self) -> None:
        for chore in self._chores:
            now = self._clock.monotonic()
            if chore.due > now or self._stop:
                continue
            chore.due = now + chore.every
            try:
                self._patience.call(chore.do)
            except (RedisUnavailable, RedisRefused):
                return  # a stop came while Redis was away; chores wait for the next life

    def _look(self) -> None:
        self._overview.text = f"Redis up, {self._upkeep.length()} jobs queued"

    def _reap_lapsed(self) -> None:
        self._overview.events["lease_reaped"] += self._upkeep.reap_lapsed()

    def _redis_is_away(self, _: float) -> None:
        self._overview.text = "Redis away"

    def _settle(self, death: Death) -> None:
        try:
            self._patience.call(lambda: self._upkeep.end_lease(death.incarnation))
            if death.remains.group is not None:
                self._book(death.incarnation, death.remains.group)
            blame = Blame.NONE if death.remains.got_anywhere else Blame.SEEN_TO_DIE
            returned = self._patience.call(lambda: self._upkeep.reap(death.incarnation, blame))
        except (RedisUnavailable, RedisRefused) as fault:
            log.warning(
                "What it left is settled after the next start: %s",
                fault,
                extra={"event": "death.kept", "worker": death.slot},
            )
            return
        Board.forget(self._config.daemon.state_dir, death.incarnation)
        self._overview.events["death_settled"] += 1
        if returned or death.remains.group is not None:
            log.warning(
                "Worker settled (%s): %d job(s) went back to the queue",
                death.how,
                returned,
                extra={"event": "death.settled", "worker": death.slot},
            )

    def _book(self, incarnation: str, group: GroupRemains) -> None:
        known = self._patience.call(
            lambda: known_batch(self._client, self._keys, group.client_id, group.batch_id)
        )
        # Without one, a failover has forgotten it, or it was deleted: there is nothing to book.
        batch, unknown = known or (Batch(group.client_id, group.batch_id, 0), "")
        policy = RetryPolicy(
            self._config.mail.retry_delays,
            self._config.mail.max_age,
            (unknown or self._config.mail.unknown) == "resend",
        )
        ledger = Ledger(self._client, self._keys, incarnation, self._config.queue.lease, self._patience)
        bookings = [booking_for(recipient, policy) for recipient in group.recipients]
        if known is not None:
            ledger.mark(batch, "", bookings)
        self._patience.call(
            lambda: replay(self._client, self._keys, [_answered(incarnation, group, bookings)])
        )
        unknowns = sum(booking.outcome.kind is Kind.UNKNOWN for booking in bookings)
        self._overview.events["recipient_unknown"] += unknowns


def _answered(incarnation: str, group: GroupRemains, bookings: list[Booking]) -> Answered:
    """
    The same for a Redis that has forgotten the claim: then there was nothing to mark.

    When it was is not known; so whatever was said of such a recipient since then holds.
    """
    outcomes = tuple((booking.contact_id, booking.outcome.lasting) for booking in bookings)
    return Answered(0.0, incarnation, group.client_id, group.batch_id, outcomes)


def booking_for(recipient: RecipientRemains, policy: RetryPolicy) -> Booking:
    """What is to be booked for a recipient that was in a dead worker's hand."""
    outcome = NEVER_BEGUN if recipient.phase is Phase.CLAIMED else recipient.outcome or NO_ANSWER
    booked, delay = policy.after(outcome, 0, 0.0, chance=0.0)
    return Booking(recipient.contact_id, booked, delay)
