"""
The worker's life: take a job, work it off, take the next, until told to stop.

One process, one job at a time; of short ones it takes several into its hand. Here is what belongs to the
process: its incarnation, its connections, its place on the board, its waiting; what is done with a job is
``handler``'s. The supervisor starts it, the keeper's thread keeps its lease, the janitor cleans up after it
if it dies.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

from mailerd.board import Event, Slot, SlotState
from mailerd.clock import Clock, Stop
from mailerd.config import Config, Ses
from mailerd.delivery import Delivery, End, Pass, Way
from mailerd.errors import (
    EXIT_CLEAN,
    EXIT_RECYCLE,
    LeaseLost,
    RedisRefused,
    RedisUnavailable,
    TooFewCopies,
)
from mailerd.queue.alerts import RelayNotes, SharedAlert
from mailerd.queue.claims import BLOCK, Claim, Claims, Taker
from mailerd.queue.connection import CONNECT_TIMEOUT, Patience, connect, hang_up, translated
from mailerd.queue.eras import greeting
from mailerd.queue.keys import Keys
from mailerd.queue.lease import Lease, leave, register
from mailerd.queue.ledger import Ledger
from mailerd.queue.limiter import Limiter
from mailerd.queue.upkeep import Blame, Upkeep
from mailerd.work.failover import Failover
from mailerd.work.handful import Handful
from mailerd.work.handler import Handler
from mailerd.work.held import Held
from mailerd.work.keeper import Keeper
from mailerd.work.kit import Kit
from mailerd.work.route import Route

log = logging.getLogger(__name__)

# What one step may take at most (seconds) before the supervisor calls the worker wedged.
LONGEST_TAKE = BLOCK + 5 + CONNECT_TIMEOUT + 7
LONGEST_STEP = 60.0
# A route that gets nothing more for hours is looked at so often (seconds): its limits may change.
LONGEST_LIMIT = 5.0
# A job of so many bytes, when parsed, leaves the worker with more memory than it will ever need again.
LARGE_JOB = 4 * 2**20


class Worker:
    """
    One worker process.

    ``stops``: the first asks to finish the recipients in hand and give the rest back, the second to
    abandon even those at the next safe point. ``show`` puts a word into the process title.
    """

    def __init__(
        self,
        config: Config,
        kit: Kit,
        slot: Slot,
        stops: tuple[Stop, Stop],
        clock: Clock,
        show: Callable[[str], None],
    ) -> None:
        self._config = config
        self._kit = kit
        self._slot = slot
        self._stops = stops
        self._stop, hurry = stops
        self._clock = clock
        self._show = show
        self._keys = Keys(config.queue.name)
        pausing = self._pausing
        self._failover = Failover(config, slot, clock, hurry, pausing, noted=True, hang_up=self._hang_up)
        greet = greeting(self._failover.meet)
        self._client = connect(config.redis, greet=greet)
        self._patience = Patience(clock, self._stop, pausing)
        # What is known to be sent must reach the ledger: that is tried until the drain is over.
        self._stubborn = Patience(clock, hurry, pausing)
        self._taker = Taker(config, self._keys, self._client, self._stubborn, greet, self._era)
        # A worker that waits for an answer of the mail server does not connect; its keeper does.
        alert = Failover(config, slot, clock, hurry, _unseen, noted=False, hang_up=_nothing)
        renewals = connect(config.redis, timeout=config.queue.lease / 5, greet=greeting(alert.meet))
        abort = kit.session.abort if kit.session else _nothing
        self._keeper = Keeper(renewals, self._keys, self._taker, slot, stops, clock, abort)
        self._longest_step = LONGEST_STEP + longest_hand_over(config)
        self._delivery: Delivery | None = None
        self._route = Route(slot, clock, SharedAlert(self._client, self._keys.alert))
        self._relays = RelayNotes(self._client, self._keys, clock)
        self._handful = Handful()
        self._held: deque[Held] = deque()
        self._worn_out = False

    def run(self) -> int:
        """The whole life; returns the exit code."""
        if not self._join():
            return EXIT_CLEAN
        log.info("Worker started", extra={"event": "worker.started", "worker": self._slot.number})
        while not self._stop and not self._worn_out:
            self._turn()
        self._part()
        return EXIT_RECYCLE if self._worn_out else EXIT_CLEAN

    def _turn(self) -> None:
        try:
            try:
                longest = self._config.queue.max_job_mb * 2**20
                self._held.extend(Held.of(claim, longest) for claim in self._take())
                self._work_off_held()
            except LeaseLost:
                self._rejoin()
            except TooFewCopies as fault:
                self._wait_for_copies(fault)
        except (RedisUnavailable, RedisRefused) as fault:
            log.warning("Stopping while Redis is away: %s", fault, extra={"event": "worker.cut_off"})

    def _take(self) -> Sequence[Claim]:
        """The next jobs, those that are done acked; none when a stop or a while passed."""
        self._enter(SlotState.IDLE, LONGEST_TAKE)
        self._keeper.taking(True)
        try:
            if not self._lease.lives() and not self._patience.call(self._renew):
                raise LeaseLost
            if self._stop:  # raised before the keeper could know that there is a take to end
                return ()
            most = 0 if self._config.queue.fetch == "brpop" else self._handful.most
            claims = self._claims.ack_and_take(most)
            self._handful.is_over(self._clock.monotonic())
            if claims:
                return claims
            claim = self._patience.call(lambda: self._taker.take(self._lease))
            return () if claim is None else (claim,)
        finally:
            self._keeper.taking(False)

    def _work_off_held(self) -> None:
        taken = len(self._held)
        self._handful.begins(self._clock.monotonic())
        while self._held and not self._stop:
            self._enter(SlotState.SENDING, self._longest_step)
            before, large = len(self._held), len(self._held[0].claim.raw) > LARGE_JOB
            try:
                blocked = self._handler.work_off(self._held)
            except TooFewCopies:
                self._let_go()
                raise
            self._relays.note(self._kit.troubles())
            self._slot.jobs += before - len(self._held)
            self._worn_out = large
            if blocked:
                self._let_go()
                self._wait_for_the_route(blocked)
                return
            self._route.worked()
            if self._handful.takes_too_long(self._clock.monotonic()):
                break
        self._handful.worked_off = taken - len(self._held)
        if self._held:
            self._let_go()

    def _let_go(self) -> None:
        """Ack what is done, give back what was not begun: the oldest last, so that it comes first again."""
        in_hand = self._claims.settle() or [each.claim for each in self._held]
        for claim in reversed(in_hand):
            self._claims.give_back(claim)
        self._held.clear()

    def _wait_for_the_route(self, ended: Pass) -> None:
        limited = ended.end is End.LIMITED  # nothing is out of order then
        pause = min(ended.seconds, LONGEST_LIMIT) if limited else self._route.blocked(ended)
        self._enter(SlotState.WAITING, pause + LONGEST_STEP)
        self._stop.wait(pause)

    def _wait_for_copies(self, fault: TooFewCopies) -> None:
        log.error("Nobody is handed over: %s", fault, extra={"event": "copies.missing"})
        self._enter(SlotState.WAITING, LONGEST_TAKE)
        replicas = self._config.redis.replicas
        self._patience.call(lambda: self._lease.confirm(self._client, self._keys, replicas))
        log.warning("Replicas confirm again", extra={"event": "copies.back"})

    def _join(self) -> bool:
        """Become an incarnation; False when a stop came first."""
        try:
            self._patience.call(self._ping)
            self._become(self._patience.call(self._register))
        except (RedisUnavailable, RedisRefused):
            return False
        self._keeper.start(self._lease)
        return True

    def _rejoin(self) -> None:
        """This incarnation was declared dead: what it held is somebody else's; go on as another one."""
        lost = self._lease.incarnation
        self._held.clear()
        log.warning("Lease lost, starting over as another incarnation", extra={"event": "lease.lost"})
        self._slot.tally.event(Event.LEASE_LOST)
        upkeep = Upkeep(self._client, self._keys, self._config, self._clock)
        self._patience.call(lambda: upkeep.reap(lost, Blame.NONE))
        self._become(self._patience.call(self._register))
        self._keeper.keep(self._lease)

    def _become(self, lease: Lease) -> None:
        self._lease = lease
        self._slot.incarnation = lease.incarnation
        config, keys, incarnation = self._config, self._keys, lease.incarnation
        self._claims = Claims(self._client, keys, lease, self._stubborn, self._era)
        lasts, replicas = config.queue.lease, config.redis.replicas
        ledger = Ledger(self._client, keys, incarnation, lasts, self._stubborn, replicas)
        contacts, session, stops, clock = self._kit.contacts, self._kit.session, self._stops, self._clock
        if session:
            limiter = Limiter(
                self._client, keys, lease, config.limits, self._kit.outside, self._patience, clock
            )
            way = Way(session, config.workers.connections, limiter)
            self._delivery = Delivery(ledger, lease, self._slot, contacts, way, stops, clock)
        letters, tally = self._kit.letters, self._slot.tally
        self._handler = Handler(
            config, self._claims, ledger, self._delivery, letters, self._stop, self._progress, tally
        )

    def _part(self) -> None:
        """Leave in order; what does not work out the janitor does."""
        self._enter(SlotState.LEAVING, LONGEST_STEP)
        with suppress(LeaseLost, RedisUnavailable, RedisRefused):
            self._let_go()
        if self._kit.session:
            self._kit.session.close()
        self._kit.contacts.close()
        self._keeper.close()
        try:
            leave(self._client, self._keys, self._lease)
        except (RedisUnavailable, RedisRefused):
            return

    def _era(self) -> str:
        return self._failover.era

    def _hang_up(self) -> None:
        hang_up(self._client)
        self._taker.hang_up()

    def _renew(self) -> bool:
        return self._lease.renew(self._client, self._keys)

    def _ping(self) -> None:
        with translated():
            self._client.ping()

    def _register(self) -> Lease:
        return register(self._client, self._keys, self._config.queue.lease, self._clock, self._era())

    def _enter(self, state: SlotState, longest: float) -> None:
        self._slot.state = state
        self._expect(longest)
        self._show(state.name.lower())

    def _progress(self) -> None:
        self._expect(self._longest_step)

    def _pausing(self, seconds: float) -> None:
        self._expect(seconds + LONGEST_TAKE)

    def _expect(self, seconds: float) -> None:
        self._slot.deadline = self._clock.monotonic() + seconds


def _unseen(_: float) -> None:
    """A pause of the keeper's, which nobody watches."""


def _nothing() -> None:
    """Where there is nothing to be ended."""


def longest_hand_over(config: Config) -> float:
    """The longest that one mail may take by the transport's own time-outs (seconds)."""
    smtp = config.smtp
    if config.mail.transport == "ses":
        ses = config.ses or Ses()
        # A region's name may stand for several addresses, each tried for so long.
        return 8 * ses.connect_timeout + 2 * ses.read_timeout
    if config.mail.transport != "smtp" or smtp is None:
        return 0.0
    # A connection: at each relay connect, greeting, EHLO, STARTTLS, TLS, EHLO, and up to three steps of AUTH.
    opening = (1 + len(smtp.relays)) * (2 * smtp.connect_timeout + 7 * smtp.command_timeout)
    # RSET, MAIL, RCPT, DATA: twice, since a kept connection may turn out dead, and once more for each relay.
    tries = 2 + len(smtp.relays)
    # The mail, its dot, the verdict; and where they break off, a look whether the server is still there.
    return (tries + 1) * opening + tries * 4 * smtp.command_timeout + 3 * smtp.data_timeout
