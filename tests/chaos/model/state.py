"""
One moment of the model: what Redis holds, what each worker knows and has on its board, and what is true.

One batch, its jobs, two workers, and every incarnation that anybody still remembers. A moment is kept as a
tuple; ``World`` is the same opened for one step. Knows no steps: ``lists`` and ``rows`` are the scripts,
which ``worker``, ``hand_over``, ``janitor`` and ``adversary`` call.

A payload is its text: ``J0`` a job, ``T`` the batch's ticket, ``S01`` a slice, ``R1`` a retry's small job. A
row is its letter and whose it is: ``q``, ``c1``, ``u2``; ``Q`` was opened again by a retried dead letter;
``u`` is unknown for good. What the row says of an earlier hand-over stands beside it: ``""``, ``?``, ``?1``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple

TICKET = "T"
LETTERS = "qcdusfk"
OPEN = "qcd"
FORGOTTEN = "9"  # in place of an incarnation of whom nothing more will come

Moment = tuple[Any, ...]
Word = tuple[int, int, str]  # whose, of whom, what a claim came to: s, u, c (in hand), r (it has no mail)
Contacts = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """What is explored: the jobs, how they are cut and sent, what goes wrong, and which guard is missing."""

    name: str
    jobs: tuple[Contacts, ...] = ((0, 1), (1,))  # the first is enqueued, the others come from elsewhere
    slice: int = 1
    rows_in_a_script: int = 1
    connections: int = 1
    workers: int = 2
    most_in_hand: int = 1  # short jobs that a worker takes at once
    resend: bool = False
    max_deaths: int = 0  # 0: no poison
    faults: tuple[str, ...] = ()
    most_faults: int = 1
    words: tuple[str, ...] = ()  # of an operator, in this order, each at any moment
    missing: str = ""

    def contacts_of(self, payload: str) -> Contacts:
        """Whom a payload is for; a ticket is for nobody by itself."""
        if payload[0] == "J":
            return self.jobs[int(payload[1])]
        return tuple(map(int, payload[1:]))

    def contacts_of_all(self, payloads: Sequence[str]) -> Contacts:
        """Whom several payloads are for, each once."""
        return tuple(dict.fromkeys(one for payload in payloads for one in self.contacts_of(payload)))

    def is_cut(self, payload: str) -> bool:
        """Whether a payload is a job that is longer than a slice."""
        return payload[0] == "J" and len(self.contacts_of(payload)) > self.slice

    @property
    def everybody(self) -> Contacts:
        """Every contact, by number."""
        return tuple(sorted({contact for job in self.jobs for contact in job}))


class Incarnation(NamedTuple):
    """``known`` is where it is registered: ``w`` workers, ``g`` graves. ``late``: its BLMOVE is parked."""

    lives: bool = False
    known: str = ""
    hand: tuple[str, ...] = ()  # the oldest first
    late: bool = False


class Worker(NamedTuple):
    """A worker process: where it is, what it remembers, and the group on its board, a phase for each."""

    at: str = "register"
    sure: bool = True  # by its own clock its lease lives
    stop: bool = False
    more: bool = True  # there may be a job in its own hand
    job: str = ""
    bunch: tuple[str, ...] = ()  # jobs that are worked off together with it
    others: tuple[str, ...] = ()  # in hand, not begun
    done: tuple[str, ...] = ()  # worked off, to be acked with the next take
    halted: str = ""  # the batch, when the job was opened
    poison: bool = False
    cursor: int = 0
    added: bool = False
    rest: Contacts = ()  # who is still to be handed over in this pass
    busy: Contacts = ()
    group: Contacts = ()
    doing: str = ""  # for each of the group: - not ours, w claimed, b begun, or the letter of its outcome
    board: str = ""  # for each of the group: C claimed, H handed over, or the letter of its outcome
    ending: str = ""  # what ends the pass after this group, if anything does
    met: bool = True  # this life of Redis knows what the worker does
    old: bool = False  # the job was taken in another life of Redis
    ring: tuple[Word, ...] = ()  # what a copy may lack
    heard: tuple[tuple[Word, ...], ...] = ()  # what is to be told, once the boards are read
    told: bool = False  # it is told, and the worker has not arrived


class Remains(NamedTuple):
    """What a dead worker left on its board, and how far the janitor is with it."""

    inc: int
    group: Contacts
    board: str
    stage: int = 0


FIELDS = (
    # Redis
    "queue",  # the next first
    "side",
    "parked",
    "aside",  # retry and later: due at any moment
    "dead",
    "sweeps",  # a word and how far it has come
    "halt",
    "ticket",
    "finished",
    "cursors",  # for each job
    "deaths",
    "opened",
    "promised",
    "recipients",
    "counts",
    "rows",
    "doubted",
    "incs",  # those of the workers first, then the dead
    "arrivals",  # who has told all in this life
    # another server: what it has got, once it gets no more
    "copy",  # None once it has become the master
    # hosts
    "workers",
    "remains",
    "boards_lost",
    # what is still to come
    "coming",
    "faults",
    "words",
    # what is true, whatever anybody knows
    "mailed",
    "begun",
    "doubts",
)

REDIS = FIELDS[: FIELDS.index("copy")]


class World:
    """A moment, opened for one step."""

    case: Case
    queue: tuple[str, ...]
    side: tuple[str, ...]
    parked: tuple[str, ...]
    aside: tuple[str, ...]
    dead: tuple[str, ...]
    sweeps: tuple[tuple[str, int], ...]
    halt: str
    ticket: bool
    finished: bool
    cursors: tuple[int, ...]
    deaths: tuple[tuple[str, int], ...]
    opened: tuple[tuple[str, int], ...]
    promised: int
    recipients: int
    counts: tuple[int, ...]
    rows: tuple[str, ...]
    doubted: tuple[str, ...]
    incs: tuple[Incarnation, ...]
    arrivals: tuple[int, ...]
    copy: tuple[Any, ...] | None
    workers: tuple[Worker, ...]
    remains: tuple[Remains, ...]
    boards_lost: bool
    coming: tuple[str, ...]
    faults: int
    words: tuple[str, ...]
    mailed: tuple[int, ...]
    begun: tuple[bool, ...]
    doubts: tuple[int, ...]

    def __init__(self, case: Case, moment: Moment) -> None:
        vars(self).update(zip(FIELDS, moment, strict=True))
        self.case = case

    def again(self) -> World:
        """The same, for another step."""
        other = World.__new__(World)
        vars(other).update(vars(self))
        return other

    def lacks(self, guard: str) -> bool:
        """Whether this guard is left out: a planted fault."""
        return self.case.missing == guard

    def inc(self, number: int, **fields: object) -> None:
        """Change an incarnation."""
        self.incs = put(self.incs, number, self.incs[number]._replace(**fields))  # type: ignore[arg-type]

    def worker(self, number: int, **fields: object) -> None:
        """Change a worker."""
        self.workers = put(self.workers, number, self.workers[number]._replace(**fields))  # type: ignore[arg-type]

    def book(self, delta: Mapping[str, int]) -> None:
        """Book the changes of the counters; note when the last open recipient is gone or one opens again."""
        self.counts = tuple(n + delta.get(x, 0) for n, x in zip(self.counts, LETTERS, strict=True))
        self.finished = not any(self.counts[:3])

    def rename(self, names: Mapping[int, str]) -> None:
        """Give incarnations other names wherever a row, a job or what a dead one left tells of them."""
        self.rows = tuple(
            row[0] + names.get(int(row[1]), row[1]) if len(row) == 2 else row for row in self.rows
        )
        self.doubted = tuple(
            doubt[0] + names.get(int(doubt[1]), doubt[1]) if len(doubt) == 2 else doubt
            for doubt in self.doubted
        )
        self.opened = tuple((job, int(names.get(inc, inc))) for job, inc in self.opened)
        self.remains = tuple(one._replace(inc=int(names.get(one.inc, one.inc))) for one in self.remains)
        self.arrivals = tuple(sorted(int(names.get(inc, inc)) for inc in self.arrivals))
        for number, me in enumerate(self.workers):
            if me.ring or me.heard:
                heard = tuple(_renamed(words, names) for words in me.heard)
                self.worker(number, ring=_renamed(me.ring, names), heard=heard)


def _renamed(words: tuple[Word, ...], names: Mapping[int, str]) -> tuple[Word, ...]:
    return tuple((int(names.get(inc, inc)), contact, letter) for inc, contact, letter in words)


_fields = attrgetter(*FIELDS)


def freeze(world: World) -> Moment:
    """The moment as a value."""
    moment: Moment = _fields(world)
    return moment


def first_moment(case: Case) -> Moment:
    """The first job enqueued over HTTP, the others still with their producers, the workers about to start."""
    people, promised = len(case.everybody), len(case.jobs[0])
    world = World(case, (None,) * len(FIELDS))
    world.queue = ("J0",)
    world.side = world.parked = world.aside = world.dead = ()
    world.sweeps = world.deaths = world.opened = ()
    world.arrivals = world.copy = ()
    world.halt, world.ticket, world.finished = "", False, False
    world.cursors = (0,) * len(case.jobs)
    world.promised = world.recipients = promised
    world.counts = (promised, *(0,) * (len(LETTERS) - 1))
    world.rows = world.doubted = ("",) * people
    world.incs = (Incarnation(),) * case.workers
    world.workers = (Worker(),) * case.workers
    world.remains, world.boards_lost = (), False
    world.coming = tuple(f"J{number}" for number in range(1, len(case.jobs)))
    world.faults, world.words = case.most_faults, case.words
    world.mailed = world.doubts = (0,) * people
    world.begun = (False,) * people
    return freeze(world)


def put(values: tuple[Any, ...], index: int, value: object) -> tuple[Any, ...]:
    """The same values with another one in that place."""
    return (*values[:index], value, *values[index + 1 :])


def without(values: tuple[Any, ...], one: object) -> tuple[Any, ...]:
    """All but the first of its kind."""
    index = values.index(one)
    return values[:index] + values[index + 1 :]


def noted(pairs: tuple[tuple[str, int], ...], name: str) -> int | None:
    """What is noted under that name."""
    return dict(pairs).get(name)


def note(pairs: tuple[tuple[str, int], ...], name: str, value: int | None) -> tuple[tuple[str, int], ...]:
    """The same notes with this one, or without it."""
    rest = [pair for pair in pairs if pair[0] != name]
    return tuple(sorted(rest if value is None else [*rest, (name, value)]))


def payload_of(kind: str, contacts: Sequence[int]) -> str:
    """A slice or a small job for these contacts; '' for none."""
    return kind + "".join(map(str, sorted(contacts))) if contacts else ""
