"""One queue for a test: its clients, its workers' hands, and a count of everything that must add up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import redis

from mailerd.clock import Clock, Stop, SystemClock
from mailerd.config import Config
from mailerd.job import EmailJob
from mailerd.outcome import OPEN, Kind, Outcome, State
from mailerd.queue.answers import Booking, Halt, OpenBatch
from mailerd.queue.batches import Batches
from mailerd.queue.claims import Claim, Claims
from mailerd.queue.connection import Patience
from mailerd.queue.dead_letters import DeadLetters, Unknowns
from mailerd.queue.enqueue import Enqueuer
from mailerd.queue.keys import Batch, Keys
from mailerd.queue.lease import Lease, register
from mailerd.queue.ledger import Ledger
from mailerd.queue.metrics import Metrics
from mailerd.queue.payloads import Ticket, job_id
from mailerd.queue.rows import STATES
from mailerd.queue.scripts import run
from mailerd.queue.upkeep import Upkeep

REASON = "as the test says"


def job(
    contacts: Iterable[str], batch: str = "b1", client: str = "shop", template: str = "welcome", **more: Any
) -> EmailJob:
    return EmailJob(client, tuple(contacts), template, batch, **more)


def contacts(count: int, start: int = 0) -> list[str]:
    return [f"c{number}" for number in range(start, start + count)]


def booking(contact: str, kind: Kind, reason: str = REASON, delay: float = 0.0) -> Booking:
    return Booking(contact, Outcome(kind, reason), delay)


@dataclass
class Hands:
    """One incarnation, and all that it can do."""

    lease: Lease
    ledger: Ledger
    claims: Claims
    bench: LedgerBench

    @property
    def incarnation(self) -> str:
        return self.lease.incarnation

    def take(self) -> Claim | None:
        """The next job, as by BLMOVE when there is one."""
        keys = self.bench.keys
        raw = run(self.bench.client, "take", [keys.queue, keys.hand(self.incarnation)])
        return None if raw is None else Claim(raw, job_id(raw), self.incarnation)

    def took(self) -> Claim:
        claim = self.take()
        assert claim is not None, "the queue is empty"
        return claim

    def open(self, of: EmailJob) -> OpenBatch:
        opened = self.ledger.open_job(of, job_id(of.to_json()), len(of.distinct()))
        assert isinstance(opened, OpenBatch), opened
        return opened

    def admit(self, of: EmailJob, slice_size: int = 0) -> Batch:
        """Open the job's batch and admit all of it, as a worker does with the job in hand."""
        batch = self.open(of).batch
        self.ledger.admit(batch, job_id(of.to_json()), 0, of.distinct(), slice_size)
        return batch

    def claim(self, batch: Batch, *who: str, retry: bool = False, resend: bool = False) -> list[str] | Halt:
        answers = self.ledger.claim(batch, who, retry=retry, resend=resend)
        return answers if isinstance(answers, Halt) else [str(answer.claimed) for answer in answers]

    def mark(self, batch: Batch, *bookings: Booking, jid: str = "") -> int:
        return self.ledger.mark(batch, jid, bookings)

    def die(self) -> None:
        """Let the lease lapse."""
        self.bench.upkeep.end_lease(self.incarnation)


class LedgerBench:
    """A queue over ``client``; ``settings`` are those of ``[queue]``."""

    def __init__(self, client: redis.Redis, url: str = "redis://localhost:1/0", **settings: object) -> None:
        self.client: Any = client
        self.config = Config.model_validate(
            {"redis": {"url": url}, "queue": {"lease": 60, "slice": 10, **settings}}
        )
        self.clock: Clock = SystemClock()
        self.keys = Keys(self.config.queue.name)
        self.batches = Batches(client, self.keys)
        self.dead = DeadLetters(client, self.keys)
        self.unknowns = Unknowns(client, self.keys)
        self.upkeep = Upkeep(client, self.keys, self.config, self.clock)

    def patience(self, stop: Stop | None = None) -> Patience:
        """By default one that gives up at once, so that a test sees each fault."""
        if stop is None:
            stop = Stop()
            stop.raise_()
        return Patience(self.clock, stop)

    def hands(self, client: redis.Redis | None = None, patience: Patience | None = None) -> Hands:
        """A new incarnation."""
        client, patience = client or self.client, patience or self.patience()
        seconds = self.config.queue.lease
        lease = register(client, self.keys, seconds, self.clock)
        ledger = Ledger(client, self.keys, lease.incarnation, seconds, patience)
        return Hands(lease, ledger, Claims(client, self.keys, lease, patience), self)

    def enqueuer(self) -> Enqueuer:
        """The HTTP door's way in, over this bench's client."""
        return Enqueuer(self.client, self.keys, self.config.queue.max_length, self.clock)

    def push(self, *jobs: EmailJob | bytes) -> None:
        """As a foreign producer does it."""
        for one in jobs:
            self.client.lpush(self.keys.queue, one if isinstance(one, bytes) else one.to_json())

    def queue(self) -> list[bytes]:
        """What waits, the next one first."""
        return list(reversed(self.client.lrange(self.keys.queue, 0, -1)))

    def hand(self, of: Hands) -> list[bytes]:
        held: list[bytes] = self.client.lrange(self.keys.hand(of.incarnation), 0, -1)
        return held

    def put_aside(self) -> list[bytes]:
        return sorted(self.client.hvals(self.keys.later))

    def make_due(self) -> None:
        """Let the time pass that everything put aside waits for."""
        for name in self.client.zrange(self.keys.retry, 0, -1):
            self.client.zadd(self.keys.retry, {name: 0})

    def now(self) -> float:
        """The server's time."""
        seconds, micros = self.client.time()
        return float(seconds) + micros / 1e6

    def record(self, batch: str = "b1", client: str = "shop") -> dict[str, str]:
        raw = self.client.hgetall(self.keys.batch(f"{client}/{batch}"))
        return {name.decode(): value.decode() for name, value in raw.items()}

    def rows(self, batch: str = "b1", client: str = "shop") -> dict[str, str]:
        """Every row by its contact, in the ledger's form."""
        record = self.record(batch, client)
        if "buckets" not in record:
            return {}
        where = Batch(client, batch, int(record["buckets"]))
        if not where.buckets:
            return {name[1:]: value for name, value in record.items() if name.startswith(":")}
        rows: dict[str, str] = {}
        for number in range(where.buckets):
            found = self.client.hgetall(self.keys.bucket(where, number))
            rows |= {name.decode(): value.decode() for name, value in found.items()}
        return rows

    def states(self, batch: str = "b1", client: str = "shop") -> dict[str, str]:
        return {contact: str(STATES[row[0]]) for contact, row in self.rows(batch, client).items()}

    def counts(self, batch: str = "b1", client: str = "shop") -> dict[str, int]:
        """The batch's counters, without zeros."""
        record = self.record(batch, client)
        return {str(state): int(record[state]) for state in State if int(record.get(state, 0))}

    def assert_conserved(self, batch: str = "b1", client: str = "shop") -> None:
        """Counters, rows and promises of a batch agree with each other."""
        self.assert_totals()
        record = self.record(batch, client)
        if not record:
            return
        promised = int(record.get("promised", 0))
        rows = self.states(batch, client)
        recount = Counter(rows.values())
        recount[State.CANCELLED if "promised_as" in record else State.QUEUED] += promised
        counts = self.counts(batch, client)
        assert counts == {state: number for state, number in recount.items() if number}
        assert int(record["recipients"]) == sum(counts.values()) == len(rows) + promised
        opened = sum(counts.get(state, 0) for state in (State.QUEUED, State.SENDING, State.DEFERRED))
        if rows:
            ended = self.client.zscore(self.keys.ended, f"{client}/{batch}")
            assert ("finished" in record) == (opened == 0) == (ended is not None), record

    def assert_totals(self) -> None:
        """The queue's totals are what one finds by asking every batch."""
        figures = Metrics(self.client, self.keys).read()
        tags = [tag.decode() for tag in self.client.zrange(self.keys.batches, 0, -1)]
        each: Counter[str] = Counter()
        asking = 0
        for client, _, batch in (tag.partition("/") for tag in tags):
            counts = self.counts(batch, client)
            each.update(counts)
            asking += bool(counts.get("unknown")) and not any(counts.get(state) for state in OPEN)
        assert {str(state): number for state, number in figures.recipients.items() if number} == each
        assert figures.conservation_gap == 0
        assert figures.batches_needing_attention == asking

    def tickets(self, batch: str = "b1", client: str = "shop") -> int:
        """How many tickets of the batch there are: on the queue, in hands and parked."""
        ticket = Ticket(client, batch).to_bytes()
        hands = [self.client.lrange(key, 0, -1) for key in self.client.keys(self.keys.hand("*"))]
        parked = self.client.lrange(self.keys.parked(f"{client}/{batch}"), 0, -1)
        return sum(held.count(ticket) for held in [self.queue(), parked, *hands])

    def leftovers(self) -> dict[str, Any]:
        """What a queue that is worked off must not have any more."""
        left = {
            "queue": self.queue(),
            "jobs": self.client.hgetall(self.keys.jobs),
            "retry": self.client.zrange(self.keys.retry, 0, -1),
            "later": self.client.hgetall(self.keys.later),
            "hands": self.client.keys(self.keys.hand("*")),
            "slices": self.client.keys(self.keys.side("*")),
            "parked": self.client.keys(self.keys.parked("*")),
            "sweeps": self.client.lrange(self.keys.sweeps, 0, -1),
        }
        return {name: value for name, value in left.items() if value}
