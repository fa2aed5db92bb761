"""One run: faults in rounds while producers push, then quiet, then the verdict."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import redis

from chaos import faults_around, jobs, journal, leftovers, rates, schedule
from chaos.fleet import LEASE, Fleet
from chaos.plan import Outcome, Plan
from chaos.producers import Producers
from chaos.rounds import Rounds
from chaos.sampler import Sampler
from chaos.stage import Stage
from chaos.verdict import Evidence, judge
from mailerd.queue.batches import Batches
from rigs.waiting import wait_until


class Campaign:
    """Plays one plan on one fleet. ``tell`` is given a line of progress now and then."""

    def __init__(self, fleet: Fleet, plan: Plan, tell: Callable[[str], None]) -> None:
        self._fleet = fleet
        self._plan = plan
        self._tell = tell
        self._began = time.monotonic()
        most = min(plan.recipients or fleet.setup.contacts, fleet.setup.contacts - 1000)
        batches = jobs.batches(plan.seed, plan.sizes)
        self._producers = Producers(
            fleet, batches, self._settled, backlog=plan.backlog, most=most, pause=plan.pause
        )
        self._most = most
        self._stage = Stage(fleet, self._producers)
        self._sampler = Sampler(fleet, self._producers)
        self._seen_settled = 0
        setup = fleet.setup
        self.outcome = Outcome(
            f"{setup.unknown}, {setup.fetch}{', three servers under sentinels' if setup.sentinels else ''}"
            f"{', with limits' if setup.limited else ''}"
        )
        self._rounds = Rounds(self._stage, self.outcome)

    def run(self) -> Outcome:
        """Play, settle, judge; also after a Ctrl-C."""
        with self._fleet.redis.client() as client:
            facts: Any = client.info("server")
            self.outcome.server = (
                f"{facts.get('server_name', 'redis')} {facts.get('valkey_version', facts['redis_version'])}"
            )
        self._producers.start()
        self._sampler.start()
        with contextlib.suppress(KeyboardInterrupt):
            self._play()
        try:
            self._settle()
        finally:
            self._sampler.stop()
        self._judge()
        return self.outcome

    def _play(self) -> None:
        only = self._plan.only or schedule.played(sentinels=self._fleet.setup.sentinels)
        for faults in schedule.rounds(self._plan.seed, only):
            if self._is_over():
                break
            self._pace()
            self._rounds.play(faults)
            self._progress()
        self._producers.most = self._most
        while not self._is_pushed():
            self._producers.wait(0.1)

    def _pace(self) -> None:
        """Spread the recipients over the faults, so that the last fault meets work as well."""
        if self._plan.faults and self._plan.recipients:
            share = (self.outcome.played.total() + 10) / self._plan.faults
            self._producers.most = min(self._most, int(self._most * share))

    def _is_over(self) -> bool:
        played = self.outcome.played.total()
        late = self._plan.minutes and time.monotonic() - self._began > self._plan.minutes * 60
        return bool(late or self._has_seen_enough() or (self._plan.faults and played >= self._plan.faults))

    def _has_seen_enough(self) -> bool:
        return self._plan.eager and bool(self._sampler.breaches)

    def _is_pushed(self) -> bool:
        return not self._plan.recipients or self._producers.recipients >= self._plan.recipients

    def _settle(self) -> None:
        self._producers.stop()
        if self._has_seen_enough():
            return
        faults_around.resume_all(self._stage)
        give_up, quiet_since, before = 0.0, 0.0, -1
        pause, fetch = threading.Event(), self._fleet.setup.fetch
        with contextlib.closing(self._fleet.redis.client()) as client:
            while (left := leftovers.open_recipients(client)) or leftovers.stirs(client, fetch):
                now = time.monotonic()
                give_up = give_up if left == before else now + self._plan.settled_within
                before = left
                orphans = leftovers.orphans(client)
                quiet_since = 0.0 if leftovers.stirs(client, fetch) else quiet_since or now
                lost = quiet_since and now - quiet_since > LEASE + 2
                if lost and not orphans and fetch == "brpop":
                    return
                if orphans or lost or now > give_up:
                    self.outcome.breaches += orphans or [f"{left} recipients are open, and nothing moves"]
                    return
                self._progress()
                pause.wait(0.25)
        for host in self._fleet.hosts:
            with contextlib.suppress(AssertionError):
                wait_until(host.is_ready, 20)
        pause.wait(1.0)  # what was found never to have been handed over comes back as a small job
        if leftovers.open_recipients(self._fleet.redis.client()):
            self._settle()

    def _judge(self) -> None:
        stage, outcome = self._stage, self.outcome
        resend = self._fleet.setup.unknown == "resend"
        hand_overs = self._fleet.sink.hand_overs()
        told = journal.Marks()
        if resend and self._fleet.group is None:
            told = journal.marks(journal.commands(self._fleet.redis.folder))
        evidence = Evidence(
            self._producers.accepted,
            self._producers.tried,
            stage.cancelled,
            dict(self._ledger()),
            self._fleet.sink.mails(),
            sorted(hand_overs, key=lambda one: one.begun),
            stage.kills,
            resend,
            stage.pauses if resend else [],
            told.lost,
            told.again,
            told.ended,
            self._fleet.setup.fetch == "brpop",
        )
        outcome.verdict = judge(evidence)
        outcome.breaches += [*self._sampler.breaches.values(), *self._producers.refused]
        with contextlib.closing(self._fleet.redis.client()) as client:
            outcome.breaches += [f"buried: {reason}" for reason in leftovers.dead_letters(client)]
        outcome.breaches += outcome.verdict.breaches
        if self._fleet.setup.limited:
            self._judge_rates()
        outcome.kills = len(stage.worker_kills)
        outcome.aimed = sum(
            any(_open_at(one, moment) and one.port in ports for one in hand_overs)
            for moment, ports in stage.worker_kills
        )
        outcome.samples, outcome.skipped = self._sampler.samples, stage.skipped
        outcome.seconds = time.monotonic() - self._began
        for host in self._fleet.hosts:
            outcome.ends.update(host.ends)

    def _judge_rates(self) -> None:
        clients, tried = self._producers.clients, self._producers.tried
        client_of = {jobs.address(each): clients[batch] for batch, whom in tried.items() for each in whom}
        self.outcome.rates = rates.most_in_a_second(self._fleet.sink.mails(), client_of)
        self.outcome.breaches += rates.too_many(self.outcome.rates)

    def _ledger(self) -> Iterator[tuple[str, dict[str, str]]]:
        with contextlib.closing(self._fleet.redis.client()) as client:
            batches = Batches(client, leftovers.KEYS)
            for batch_id, client_id in self._producers.clients.items():
                rows: dict[str, str] = {}
                cursor: str | None = ""
                while cursor is not None and batches.find(batch_id, client_id):
                    page = batches.page_of_recipients(client_id, batch_id, None, cursor, 1000)
                    rows.update((view.contact_id, str(view.state)) for view in page.recipients)
                    cursor = page.next
                yield batch_id, rows

    def _settled(self) -> int:
        """How many recipients need nothing more; the last answer while Redis does not give one."""
        client = self._fleet.redis.client(socket_timeout=2)
        with contextlib.closing(client), contextlib.suppress(redis.RedisError, OSError):
            totals: Any = client.hgetall(leftovers.KEYS.totals)
            whole = {name.decode(): int(value) for name, value in totals.items()}
            still = sum(whole.get(name, 0) for name in ("queued", "sending", "deferred"))
            self._seen_settled = whole.get("recipients", 0) - still
        return self._seen_settled

    def _progress(self) -> None:
        done, verdict = self.outcome.played.total(), len(self.outcome.breaches) + len(self._sampler.breaches)
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        self._tell(
            f"{minutes}:{seconds:02d}  {done} faults, {self._producers.recipients} recipients pushed, "
            f"{self._seen_settled} settled, {verdict} breaches"
        )


def _open_at(one: Any, moment: float) -> bool:
    return bool(one.begun <= moment and (one.answered is None or one.answered > moment))
