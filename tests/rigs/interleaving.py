"""
Workers and a janitor in one process, run one Redis command at a time in an order that a seed decides.

The real handler, delivery, janitor, board slot and scripts over a real server; made up are only who gets the
turn, the mail server and the contacts. Each worker may be killed, may lose its lease or an answer, and may be
stopped between any two commands and while a hand-over is open; an operator may pause, resume and retry.
"""

from __future__ import annotations

import contextlib
import mmap
import random
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import redis

from mailerd.board import Death, Slot
from mailerd.board.slot import slot_size
from mailerd.clock import Stop, SystemClock
from mailerd.config import Config
from mailerd.contacts import Contact
from mailerd.delivery import Delivery, Way
from mailerd.errors import LeaseLost, RedisUnavailable
from mailerd.message import Message
from mailerd.outcome import Kind, Outcome
from mailerd.queue.actions import Actions
from mailerd.queue.claims import Claim, Claims
from mailerd.queue.connection import Patience, translated
from mailerd.queue.lease import leave, register
from mailerd.queue.ledger import Ledger
from mailerd.queue.limiter import Limiter, Outside
from mailerd.queue.model import Action, Effect
from mailerd.queue.payloads import job_id
from mailerd.queue.scripts import run
from mailerd.queue.upkeep import Blame, Upkeep
from mailerd.transports.threads import Threads
from mailerd.work.handler import Handler
from mailerd.work.held import Held
from mailerd.work.janitor import Janitor, Overview
from mailerd.work.letters import Letters
from rigs.ledger_bench import LedgerBench

TURN_TIMEOUT = 20.0


class Killed(BaseException):
    """As by SIGKILL: nothing of the worker's own runs after it."""


class Turns:
    """Runs ``body`` in a thread of its own, from one gate to the next."""

    def __init__(self, body: Callable[[], None]) -> None:
        self._body = body
        self._go = threading.Semaphore(0)
        self._here = threading.Semaphore(0)
        self.doomed = False
        self.lose_an_answer = False
        self.over = False
        self.fault: BaseException | None = None
        threading.Thread(target=self._run, daemon=True).start()

    def gate(self) -> None:
        self._here.release()
        self._go.acquire()
        if self.doomed:
            raise Killed

    def step(self) -> None:
        if self.over:
            return
        self._go.release()
        assert self._here.acquire(timeout=TURN_TIMEOUT), "a turn did not end"
        if self.fault is not None:
            raise self.fault

    def _run(self) -> None:
        self._go.acquire()
        try:
            if not self.doomed:
                self._body()
        except Killed:
            pass
        except BaseException as fault:  # noqa: BLE001 - handed to the test's own thread
            self.fault = fault
        self.over = True
        self._here.release()


class GatedClient:
    """A client whose every command waits for its turn, before it is sent and before its answer is heard."""

    def __init__(self, client: Any, turns: Callable[[], Turns]) -> None:
        self._client = client
        self._turns = turns

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def command(*arguments: Any, **options: Any) -> Any:
            turns = self._turns()
            turns.gate()
            answer = method(*arguments, **options)
            turns.gate()
            if turns.lose_an_answer:
                turns.lose_an_answer = False
                raise redis.ConnectionError("the answer was lost")
            return answer

        return command


class Post:
    """The mail server, and the contacts: what each contact may have got, and what becomes of a mail."""

    def __init__(self, chance: random.Random, sure: bool) -> None:
        self.may_have = Counter[str]()
        self.chance = chance
        self.sure = sure

    def outcome(self) -> Outcome:
        kinds = [Kind.SENT] * 20 + ([] if self.sure else [Kind.DEFERRED, Kind.FAILED, Kind.UNKNOWN])
        return Outcome(self.chance.choice(kinds), "so the server says")

    def lookup(self, contact_ids: Sequence[str]) -> Mapping[str, Contact | Outcome]:
        found: dict[str, Contact | Outcome] = {}
        for contact_id in contact_ids:
            gone = not self.sure and self.chance.random() < 0.05
            person = Contact(contact_id, f"{contact_id}@example.com", {"id": contact_id}, suppressed=False)
            found[contact_id] = Outcome(Kind.INVALID, "no such contact") if gone else person
        return found


class PostConversation:
    """One way to the mail server; its turns end before the hand-over and while it is open."""

    def __init__(self, post: Post, turns: Callable[[], Turns]) -> None:
        self._post = post
        self._turns = turns

    def deliver(self, message: Message, begin: Callable[[], bool]) -> Outcome:
        if not self._post.sure and self._post.chance.random() < 0.02:
            return Outcome(Kind.BLOCKED, "the route is out of order")
        self._turns().gate()
        if not begin():
            return Outcome(Kind.WITHHELD, "told to stop")
        contact = message.recipient.partition("@")[0]
        self._post.may_have[contact] += 1
        self._turns().gate()
        outcome = self._post.outcome()
        if outcome.kind in (Kind.DEFERRED, Kind.FAILED):
            self._post.may_have[contact] -= 1
        return outcome

    def close(self) -> None: ...

    def abort(self) -> None: ...


class SteppedWorker:
    """A worker process: its slot survives it."""

    def __init__(self, stage: Stage, number: int) -> None:
        self._stage = stage
        self._slot = Slot(mmap.mmap(-1, slot_size(1)), 0, number, 1)
        self.client = GatedClient(stage.bench.client, lambda: self.turns)
        self._begin_life()

    def _begin_life(self) -> None:
        self._slot.open(f"boot-{self._slot.number}", 1, 0.0)
        self._lease: Any = None
        self.stop, self.hurry = Stop(), Stop()
        self.paused = 0
        self.turns = Turns(self._live)

    def _live(self) -> None:
        with contextlib.suppress(RedisUnavailable):
            self._become()
            self._work()

    def _work(self) -> None:
        while not self.stop:
            with contextlib.suppress(RedisUnavailable):  # a stop came meanwhile: the janitor ends the claim
                self._turn()
        leave(self.client, self._stage.bench.keys, self._lease)  # type: ignore[arg-type] # a gated one

    def _turn(self) -> None:
        try:
            held = deque(Held.of(claim, 2**20) for claim in self._take())
            while held and not self.stop:
                self._handler.work_off(held)
            in_hand = [each.claim for each in held]
            if self.stop:
                in_hand = self._claims.settle() or in_hand
            for claim in reversed(in_hand):
                self._claims.give_back(claim)
        except LeaseLost:
            lost = self._lease.incarnation
            upkeep = Upkeep(self.client, self._stage.bench.keys, self._stage.config, SystemClock())  # type: ignore[arg-type] # gated
            self._patience.call(lambda: upkeep.reap(lost, Blame.NONE))
            self._become()

    def _become(self) -> None:
        stage, client = self._stage, self.client
        config, keys, clock = stage.config, stage.bench.keys, SystemClock()
        patience = self._patience = Patience(clock, self.hurry)
        self._lease = patience.call(lambda: register(client, keys, config.queue.lease, clock))  # type: ignore[arg-type] # gated
        self._slot.incarnation = self._lease.incarnation
        claims = self._claims = Claims(client, keys, self._lease, patience)  # type: ignore[arg-type] # a gated one
        ledger = Ledger(client, keys, self._lease.incarnation, config.queue.lease, patience)  # type: ignore[arg-type] # gated
        delivery = None
        if config.mail.transport != "none":
            session = Threads([PostConversation(stage.post, lambda: self.turns)])
            stops = (self.stop, self.hurry)
            limiter = Limiter(client, keys, self._lease, config.limits, Outside(), patience, clock)  # type: ignore[arg-type] # gated
            way = Way(session, 1, limiter)
            delivery = Delivery(ledger, self._lease, self._slot, stage.post, way, stops, clock)
        self._handler = Handler(
            config, claims, ledger, delivery, stage.letters, self.stop, lambda: None, self._slot.tally
        )

    def _take(self) -> Sequence[Claim]:
        """Several, as a worker does whose jobs are quick; where there is none, as one that waits."""
        if claims := self._claims.ack_and_take(3):
            return claims
        claim = self._patience.call(self._look_and_take)
        return () if claim is None else (claim,)

    def _look_and_take(self) -> Claim | None:
        keys, incarnation = self._stage.bench.keys, self._lease.incarnation
        with translated():
            raw = self.client.lindex(keys.hand(incarnation), -1)
        if raw is None:
            raw = run(self.client, "take", [keys.queue, keys.hand(incarnation)])  # type: ignore[arg-type] # gated
        return None if raw is None else Claim(raw, job_id(raw), incarnation)

    def pause(self, turns: int) -> None:
        """As by SIGSTOP, for longer than its lease; it goes on after so many turns of others."""
        self.paused = turns
        if self._lease is not None:
            self._stage.bench.client.delete(self._stage.bench.keys.lease(self._lease.incarnation))
            self._lease._valid_until = 0.0

    def end(self) -> Death:
        """Kill it if it still lives, and fill the place anew; what it left is returned."""
        if not self.turns.over:
            self.turns.doomed = True
            self.turns.step()
        remains = self._slot.remains()
        self._begin_life()
        return Death(self._slot.number, remains.incarnation, remains, "killed")


class SteppedJanitor:
    """The janitor's thread of main; when it is killed, the deaths that it had not settled are told again."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.deaths: deque[Death] = deque()
        self._begin_life()

    def _begin_life(self) -> None:
        self.turns = Turns(self._live)
        self._janitor = Janitor(self._stage.config, Stop(), SystemClock(), Overview())
        self._janitor._client.close()
        client: Any = GatedClient(self._stage.bench.client, lambda: self.turns)
        self._janitor._client = client
        upkeep = self._janitor._upkeep
        upkeep._client = upkeep._burial._client = client
        if self._stage.deadly:
            upkeep._max_deaths = -2  # then reaping buries after the first

    def _live(self) -> None:
        upkeep = self._janitor._upkeep
        while True:
            while self.deaths:
                self._janitor._settle(self.deaths[0])
                self.deaths.popleft()
            for chore in (upkeep.promote, upkeep.sweep, upkeep.reap_lapsed, upkeep.visit_graves):
                self._janitor._patience.call(chore)

    def restart(self) -> None:
        self.turns.doomed = True
        self.turns.step()
        self._begin_life()


class Stage:
    """
    Three workers and a janitor over one queue; ``check`` is called after every turn.

    ``deadly``: a job over which one worker dies without progress has killed too many, and reaping buries it.
    ``transport`` is outbox, or none: nothing is handed over.
    """

    def __init__(
        self,
        bench: LedgerBench,
        folder: Path,
        seed: int,
        check: Callable[[], None],
        *,
        deadly: bool = False,
        transport: str = "outbox",
    ) -> None:
        template = folder / "templates" / "welcome"
        template.mkdir(parents=True)
        (template / "subject.txt").write_text("Hello")
        (template / "body.txt").write_text("Hello {{ id }}")
        sections = {
            "daemon": {"state_dir": folder / "state"},
            "templates": {"path": folder / "templates"},
            "mail": {"transport": transport, "from": "news@example.com", "retry_delays": [0.001]},
        }
        made = Config.model_validate(sections)
        self.config = made.model_copy(update={"queue": bench.config.queue, "redis": bench.config.redis})
        self.bench = bench
        self.deadly = deadly
        self.chance = random.Random(seed)
        self.post = Post(self.chance, sure=False)
        self.letters = Letters(self.config)
        self._check = check
        self.workers = [SteppedWorker(self, number) for number in (1, 2, 3)]
        self.janitor = SteppedJanitor(self)
        self.words = list(self.chance.choices(list(Action), [0, 4, 4, 1], k=500))

    def play(self, turns: int, pushes: Mapping[int, bytes]) -> None:
        """So many turns full of accidents; ``pushes`` come in at their turn."""
        for turn in range(turns):
            if turn in pushes:
                self.bench.push(pushes[turn])
            self._accident()
            self._turn()

    def work_off(self, most: int = 30_000) -> None:
        """No accidents: turns until nothing is left to do."""
        self.post.sure = True
        for tag in self.bench.client.zrange(self.bench.keys.batches, 0, -1):
            self.say(Action.RESUME, *tag.decode().split("/"))
        for _ in range(most):
            if not self.janitor.deaths and not self._work_left():
                break
            self.bench.make_due()
            self._turn()
        self.post.sure = False

    def say(self, action: Action, client_id: str, batch_id: str) -> Effect:
        """An operator's word, between any two commands of the others."""
        return Actions(self.bench.client, self.bench.keys).act(action, client_id, batch_id)

    def _operator(self) -> None:
        tags = self.bench.client.zrange(self.bench.keys.batches, 0, -1)
        if tags:
            self.say(self.words.pop(), *self.chance.choice(tags).decode().split("/"))
            self._check()

    def close(self) -> None:
        """End everybody."""
        for one in [*self.workers, self.janitor]:
            one.turns.doomed = True
            one.turns.step()

    def _work_left(self) -> bool:
        return bool(set(self.bench.leftovers()) - {"jobs"})

    def _turn(self) -> None:
        for worker in self.workers:
            worker.paused -= worker.paused > 0
        running = [worker for worker in self.workers if not worker.paused]
        one = self.chance.choice([*running, *running, self.janitor])
        if one.turns.over:  # it left in order
            assert isinstance(one, SteppedWorker)
            self.janitor.deaths.append(replace(one.end(), how="exit code 0"))
        one.turns.step()
        self._check()

    def _accident(self) -> None:
        worker, dice = self.chance.choice(self.workers), self.chance.random()
        if dice < 0.02:
            self.janitor.deaths.append(worker.end())
        elif dice < 0.04:
            worker.pause(self.chance.randrange(200))
        elif dice < 0.06:
            worker.turns.lose_an_answer = True
        elif dice < 0.07:
            worker.stop.raise_()
        elif dice < 0.08:
            worker.hurry.raise_()
            worker.stop.raise_()
        elif dice < 0.09:
            self.janitor.restart()
        elif dice < 0.11:
            self._operator()
        elif dice < 0.22:
            self.bench.make_due()
