"""
An office: a queue with its templates, its janitor and workers that a test leads job by job.

Handler, delivery, letters, board slot, janitor and scripts are the real ones, over a real server; made up are
the mail server and the contacts (``Post``). Whoever is killed leaves what a killed process leaves.
"""

from __future__ import annotations

import mmap
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mailerd.board import Death, Slot
from mailerd.board.slot import slot_size
from mailerd.clock import Stop
from mailerd.config import Config
from mailerd.contacts import Contact
from mailerd.delivery import Delivery, Pass, Way
from mailerd.errors import ContactsUnavailable
from mailerd.message import Message
from mailerd.outcome import OUT_OF_ORDER, Kind, Outcome
from mailerd.queue.claims import Claim
from mailerd.queue.limiter import Limiter, Outside
from mailerd.transports import Domains
from mailerd.transports.threads import Threads
from mailerd.work.handler import Handler
from mailerd.work.held import Held
from mailerd.work.janitor import Janitor, Overview
from mailerd.work.letters import Letters
from rigs.ledger_bench import Hands, LedgerBench

SENT = Outcome(Kind.SENT, "250 ok")
CONNECTIONS = 3


class Killed(BaseException):
    """As by SIGKILL."""


@dataclass
class Post:
    """The mail server and the contact database in one: what it does with whom, and who got mail."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    people: dict[str, Contact | Outcome] = field(default_factory=dict)
    got: list[str] = field(default_factory=list)
    mails: list[Message] = field(default_factory=list)
    fault: str = ""
    before: Callable[[str], None] = lambda _: None
    open: Callable[[str], None] = lambda _: None

    def lookup(self, contact_ids: Sequence[str]) -> Mapping[str, Contact | Outcome]:
        if self.fault:
            raise ContactsUnavailable(self.fault)
        return {each: self.people.get(each) or person(each) for each in contact_ids}

    def deliver(self, message: Message, begin: Callable[[], bool]) -> Outcome:
        contact = message.recipient.partition("@")[0]
        outcome = self.outcomes.get(contact, SENT)
        self.before(contact)
        if outcome.kind in OUT_OF_ORDER:
            return outcome
        if not begin():
            return Outcome(Kind.WITHHELD, "told not to")
        self.open(contact)
        if outcome.kind in (Kind.SENT, Kind.UNKNOWN):
            self.got.append(contact)
            self.mails.append(message)
        return outcome

    def close(self) -> None: ...

    def abort(self) -> None: ...


def person(contact: str, *, suppressed: bool = False) -> Contact:
    return Contact(contact, f"{contact}@example.com", {"id": contact, "name": contact}, suppressed)


@dataclass
class Man:
    """One worker: its incarnation, its place on the board, and the handler that works for it."""

    hands: Hands
    slot: Slot
    handler: Handler
    stop: Stop
    hurry: Stop

    @property
    def threads(self) -> ThreadPoolExecutor:
        """Its connections' threads, which a real death would end at once."""
        assert self.handler._delivery is not None
        session = self.handler._delivery._session
        assert isinstance(session, Threads)
        return session._threads

    def works(self) -> str:
        """Work off the next job; what blocks the route."""
        ended = self.works_off(self.hands.took())
        return ended.reason if ended else ""

    def works_off(self, *claims: Claim) -> Pass | None:
        """Work off these jobs, as far as they go together, and ack what is done."""
        held = deque(Held.of(claim, 32 * 2**20) for claim in claims)
        ended = self.handler.work_off(held)
        self.hands.claims.settle()
        return ended


class Office:
    """A queue, its templates, its post and its janitor, all by the clock of the bench."""

    def __init__(
        self,
        bench: LedgerBench,
        folder: Path,
        transport: str,
        limits: dict[str, Any] | None = None,
        **mail: object,
    ) -> None:
        self.templates = folder / "templates"
        self.write("welcome", "Hello {{ name }}")
        sections: dict[str, Any] = {
            "daemon": {"state_dir": folder / "state"},
            "templates": {"path": self.templates},
            "limits": limits or {},
            "mail": {"transport": transport, "from": "news@example.com", "retry_delays": [60, 120], **mail},
        }
        made = Config.model_validate(sections)
        self.config = made.model_copy(update={"queue": bench.config.queue, "redis": bench.config.redis})
        self.bench = bench
        self.post = Post()
        self.janitor = Janitor(self.config, Stop(), bench.clock, Overview())

    def write(self, template: str, body: str) -> None:
        folder = self.templates / template
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "subject.txt").write_text("Hello")
        (folder / "body.txt").write_text(body)

    def hire(self) -> Man:
        hands, stop, hurry = self.bench.hands(), Stop(), Stop()
        slot = Slot(mmap.mmap(-1, slot_size(CONNECTIONS)), 0, 1, CONNECTIONS)
        slot.open(hands.incarnation, 1, 0.0)
        delivery = None
        if self.config.mail.transport != "none":
            stops, clock = (stop, hurry), self.bench.clock
            patience = self.bench.patience()
            outside = Outside(None, Domains(self.config.limits.domains).of)
            limiter = Limiter(
                self.bench.client,
                self.bench.keys,
                hands.lease,
                self.config.limits,
                outside,
                patience,
                clock,
            )
            way = Way(Threads([self.post] * CONNECTIONS), CONNECTIONS, limiter)
            delivery = Delivery(hands.ledger, hands.lease, slot, self.post, way, stops, clock)
        letters = Letters(self.config)
        handler = Handler(
            self.config, hands.claims, hands.ledger, delivery, letters, stop, lambda: None, slot.tally
        )
        return Man(hands, slot, handler, stop, hurry)

    def settle(self, man: Man) -> None:
        """The supervisor found it dead, and the janitor does what is to be done."""
        remains = man.slot.remains()
        self.janitor._settle(Death(1, remains.incarnation, remains, "killed by SIGKILL"))

    def work_off(self, most: int = 100) -> None:
        """One worker works until nothing is left."""
        man = self.hire()
        for _ in range(most):
            self.bench.make_due()
            self.bench.upkeep.promote()
            if not self.bench.queue():
                return
            man.works()
        pytest.fail("the queue is never empty")


def killed_while(office: Office, man: Man, phase: str, victim: str = "c3") -> None:
    """Kill it before the victim's hand-over begins, or while it is open."""

    def kill(contact: str) -> None:
        if contact == victim:
            raise Killed

    setattr(office.post, phase, kill)
    with pytest.raises(Killed):
        man.works()
    man.threads.shutdown()
    office.post.before = office.post.open = lambda _: None
