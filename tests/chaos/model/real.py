"""
A real queue beside the model: each script as mailerd runs it, and what Redis holds, in the model's words.

Everything goes through mailerd's own classes, so that their keys and arguments are held as well. Called by
``conformance`` alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from chaos.model.rows import Booking as Booked
from chaos.model.state import TICKET, Case, Contacts, Incarnation, Word, World
from mailerd.board import Answered
from mailerd.job import parse_job
from mailerd.outcome import Kind, Outcome
from mailerd.queue.actions import Actions
from mailerd.queue.answers import Booking, Halt, OpenBatch
from mailerd.queue.claims import Claim
from mailerd.queue.dead_letters import resolve
from mailerd.queue.eras import arrive, replay
from mailerd.queue.keys import Batch
from mailerd.queue.lease import leave
from mailerd.queue.model import Action
from mailerd.queue.payloads import Slice, Ticket, job_id
from mailerd.queue.scripts import run
from mailerd.queue.upkeep import Blame
from rigs.ledger_bench import REASON, Hands, LedgerBench, job

BATCH = Batch("shop", "b1", 0)
ERA = "the copy's"
KINDS = {"s": Kind.SENT, "u": Kind.UNKNOWN, "d": Kind.DEFERRED, "f": Kind.FAILED, "q": Kind.WITHHELD}
STATES = {
    "q": "queued",
    "c": "sending",
    "d": "deferred",
    "u": "unknown",
    "s": "sent",
    "f": "failed",
    "k": "cancelled",
}
BLAME = {"no": Blame.NONE, "died": Blame.SEEN_TO_DIE, "unseen": Blame.IF_OPENED}


def names_of(contacts: Sequence[int]) -> tuple[str, ...]:
    """Contacts as a real job has them."""
    return tuple(f"c{contact}" for contact in contacts)


class Real:
    """The queue; ``hands`` are its incarnations, in the order of the model's."""

    def __init__(self, case: Case, bench: LedgerBench) -> None:
        self._case, self._bench = case, bench
        self._client, self._keys = bench.client, bench.keys
        self._copied: dict[bytes, bytes] = {}
        self._hands: list[Hands | None] = [None] * case.workers
        first = job(names_of(case.jobs[0]))
        bench.enqueuer().enqueue(first, "request")
        rest = [job(names_of(contacts)).to_json() for contacts in case.jobs[1:]]
        others = [json.dumps(json.loads(raw) | {"from": number}).encode() for number, raw in enumerate(rest)]
        self._raws = [first.to_json(), *others]

    # --- the scripts

    def register(self, number: int) -> None:
        if self._hands[number] is not None:
            self._hands.append(self._hands[number])
        self._hands[number] = self._bench.hands()

    def renew(self, inc: int) -> bool:
        return self._of(inc).lease.renew(self._client, self._keys)

    def take(self, inc: int) -> str:
        claim = self._of(inc).take()
        return "" if claim is None else self._name(claim.raw)

    def ack_and_take(self, inc: int, done: tuple[str, ...], most: int) -> tuple[str, tuple[str, ...]]:
        claims = self._of(inc).claims
        claims._done[:] = [self._claim(inc, payload) for payload in done]
        return "ok", tuple(self._name(claim.raw) for claim in claims.ack_and_take(most))

    def draw(self, inc: int) -> tuple[str, str] | None:
        piece = self._of(inc).ledger.draw(Ticket("shop", "b1"))
        return ("ok", self._name(piece)) if piece else None

    def open(self, inc: int, payload: str, further: tuple[str, ...] = ()) -> tuple[str, int]:
        raw = self._raw(payload)
        if payload[0] == "J":
            opened = self._of(inc).ledger.open_job(
                parse_job(raw),
                job_id(raw),
                len(self._contacts(payload)),
                [job_id(self._raw(one)) for one in further],
            )
        else:
            opened = self._of(inc).ledger.open_slice("shop", "b1", job_id(raw))
        assert isinstance(opened, OpenBatch)
        return "ok", opened.jobs

    def admit(
        self, inc: int, payload: str, at: int, contacts: Contacts, size: int, *, hopeless: bool
    ) -> tuple[str, int] | None:
        jid, refused = job_id(self._raw(payload)), REASON if hopeless else ""
        ledger, names = self._of(inc).ledger, names_of(contacts)
        cursor, new, _ = ledger.admit(BATCH, jid, at, names, size, refused)
        if cursor != at + len(contacts):
            return "moved", cursor
        return (
            ("ok", new) if new else None
        )  # moved to just there, or nobody was new: it is the same to a worker

    def claim(self, inc: int, contacts: Contacts, *, retry: bool) -> tuple[str, list[str]]:
        resend = self._case.resend
        answers = self._of(inc).ledger.claim(BATCH, names_of(contacts), retry=retry, resend=resend)
        if isinstance(answers, Halt):
            return str(answers), []
        return "ok", [str(answer.claimed) for answer in answers]

    def mark(self, inc: int, bookings: Sequence[Booked], payload: str = "") -> int:
        booked = [
            Booking(f"c{one.contact}", Outcome(KINDS[one.letter], REASON, in_doubt=one.doubtful))
            for one in bookings
        ]
        jid = job_id(self._raw(payload)) if payload else ""
        return self._of(inc).ledger.mark(BATCH, jid, booked)

    def finish(self, inc: int, payload: str, rest: str) -> None:
        small = Slice("shop", "b1", names_of(self._contacts(rest))) if rest else None
        self._of(inc).claims.ack(self._claim(inc, payload), small)

    def give_back(self, inc: int, payload: str) -> None:
        self._of(inc).claims.give_back(self._claim(inc, payload))

    def park(self, inc: int, payload: str) -> None:
        self._of(inc).claims.park(self._claim(inc, payload), BATCH.tag)

    def bury(self, inc: int, payload: str) -> None:
        self._of(inc).claims.bury(self._claim(inc, payload), REASON)

    def leave(self, inc: int) -> None:
        leave(self._client, self._keys, self._of(inc).lease)

    def reap(self, inc: int, *, counted: str) -> int:
        return self._bench.upkeep.reap(self._of(inc).incarnation, BLAME[counted])

    def promote(self, payload: str) -> None:
        """The others are not due yet."""
        later = self._client.hgetall(self._keys.later)
        chosen = next(name for name, raw in later.items() if self._name(raw) == payload)
        self._client.zadd(self._keys.retry, {name: 0 if name == chosen else 1e15 for name in later})
        self._bench.upkeep.promote()

    def unpark(self) -> None:
        self._bench.upkeep._unpark(BATCH.tag)

    def sweep(self, word: str) -> None:
        self._bench.upkeep._sweep_rows(word, BATCH.tag)

    def replay(self, words: Sequence[Word]) -> int:
        kinds = {"s": Kind.SENT, "u": Kind.UNKNOWN, "r": Kind.WITHHELD, "c": None}
        told = [
            Answered(1e10, self._of(inc).incarnation, "shop", "b1", ((f"c{contact}", kinds[letter]),))
            for inc, contact, letter in words
        ]
        return replay(self._client, self._keys, told, ERA)

    def arrive(self, inc: int) -> None:
        arrive(self._client, self._keys, self._of(inc).incarnation, ERA)

    def act(self, word: str) -> str:
        return str(Actions(self._client, self._keys).act(Action(word), "shop", "b1"))

    def resolve(self, letter: str) -> int:
        names = names_of(self._contacts(letter))
        return resolve(self._client, self._keys, BATCH, names, "fq", REASON)

    def revive(self, letter: str) -> None:
        found = next(one for one in self._bench.dead.newest(9) if self._name(one.raw) == letter)
        keys = [self._keys.queue, self._keys.dead, self._keys.letters, self._keys.letter_reasons]
        run(self._client, "revive", keys, [found.letter_id])

    # --- what is no script

    def follow(self, before: World, after: World) -> None:
        """What else a move does: a process ends, a lease lapses, a job is pushed, a word is crossed off."""
        for number in range(self._case.workers):
            if before.incs[number].known and after.incs[number] == Incarnation():
                self._hands.append(self._hands[number])
                self._hands[number] = None
        for hands, inc in zip(self._hands, after.incs, strict=True):
            if hands is not None and not inc.lives:
                hands.die()
        if after.copy and not before.copy:
            self._copied = {key: self._client.dump(key) for key in self._client.scan_iter()}
        if after.copy is None and before.copy:
            self._client.flushall()
            for key, dumped in self._copied.items():
                lease = key.decode().startswith(self._keys.lease_prefix)
                self._client.restore(key, 60_000 if lease else 0, dumped)
        if len(after.coming) < len(before.coming):
            self._bench.push(self._raw(before.coming[0]))
        if len(after.sweeps) < len(before.sweeps):
            self._client.lpop(self._keys.sweeps)

    def seen(self) -> dict[str, Any]:
        """All that Redis holds, in the model's words."""
        record, keys = self._bench.record(), self._keys
        letters = {state: letter for letter, state in STATES.items()}
        rows = self._bench.rows()
        return {
            "queue": self._list(keys.queue)[::-1],
            "side": self._list(keys.side(BATCH.tag)),
            "parked": self._list(keys.parked(BATCH.tag))[::-1],
            "aside": tuple(sorted(map(self._name, self._client.hvals(keys.later)))),
            "dead": tuple(sorted(self._name(one.raw) for one in self._bench.dead.newest(9))),
            "sweeps": self._client.llen(keys.sweeps),
            "halt": record.get("halt", ""),
            "ticket": "ticket" in record,
            "finished": "finished" in record,
            "promised": int(record.get("promised", 0)),
            "recipients": int(record["recipients"]),
            "counts": {letters[state]: number for state, number in self._bench.counts().items()},
            "rows": tuple(self._row(rows.get(name, "")) for name in names_of(self._case.everybody)),
            "doubted": tuple(self._doubt(rows.get(name, "")) for name in names_of(self._case.everybody)),
            "cursors": tuple(self._noted(raw, "cursor") for raw in self._raws),
            "deaths": self._deaths(),
            "incs": [self._inc(hands) for hands in self._hands],
            "arrivals": self._arrivals(),
        }

    def _of(self, inc: int) -> Hands:
        hands = self._hands[inc]
        assert hands is not None
        return hands

    def _claim(self, inc: int, payload: str) -> Claim:
        raw = self._raw(payload)
        return Claim(raw, job_id(raw), self._of(inc).incarnation)

    def _contacts(self, payload: str) -> Contacts:
        return self._case.contacts_of(payload)

    def _raw(self, payload: str) -> bytes:
        if payload == TICKET:
            return Ticket("shop", "b1").to_bytes()
        if payload[0] == "J":
            return self._raws[int(payload[1])]
        return Slice("shop", "b1", names_of(self._contacts(payload)), retry=payload[0] == "R").to_bytes()

    def _name(self, raw: bytes) -> str:
        if raw in self._raws:
            return f"J{self._raws.index(raw)}"
        first, *contacts = raw.decode().split("\n")
        kind = {"ticket": TICKET, "slice": "S", "retry": "R"}[first.split()[1]]
        return kind + "".join(contact[1:] for contact in contacts)

    def _list(self, key: str) -> tuple[str, ...]:
        return tuple(map(self._name, self._client.lrange(key, 0, -1)))

    def _row(self, value: str) -> str:
        if re.fullmatch(r"q\d*,0", value):
            return "Q"
        if value[:1] not in ("c", "u"):
            return value[:1]
        return value[0] + self._number(value.split(",")[1])

    def _doubt(self, value: str) -> str:
        _, doubt, whose = value.partition("?")
        return doubt + self._number(whose)

    def _number(self, whose: str) -> str:
        names = [hands.incarnation if hands else "" for hands in self._hands]
        return str(names.index(whose)) if whose else ""

    def _arrivals(self) -> tuple[int, ...]:
        names = [hands.incarnation if hands else "" for hands in self._hands]
        return tuple(sorted(names.index(name.decode()) for name in self._client.hkeys(self._keys.arrivals)))

    def _noted(self, raw: bytes, what: str) -> int:
        return int(self._client.hget(self._keys.jobs, f"{job_id(raw)}:{what}") or 0)

    def _deaths(self) -> dict[str, int]:
        noted = {
            payload: self._noted(self._raw(payload), "deaths")
            for payload in (*map("J{}".format, range(len(self._raws))), "S0", "S1", "R0")
        }
        return {payload: deaths for payload, deaths in noted.items() if deaths and self._case.max_deaths}

    def _inc(self, hands: Hands | None) -> tuple[bool, str, tuple[str, ...]]:
        if hands is None:
            return False, "", ()
        name, keys = hands.incarnation, self._keys
        buried = self._client.zscore(keys.graves, name) is not None
        known = "w" if self._client.hexists(keys.workers, name) else "g" if buried else ""
        return bool(self._client.exists(keys.lease(name))), known, self._list(keys.hand(name))[::-1]
