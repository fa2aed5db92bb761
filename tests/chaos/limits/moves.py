"""
What may come next between two workers, a server that takes mails, and the clock; and what must hold then.

Workers do what ``Limiter``, ``Handler`` and the janitor do with the scripts: ask, hand over, hear, give back,
stand in line, are called up; they stall, die, lose an answer, are throttled. Called by ``explore.py``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from chaos.limits.world import KEYS, LIMIT, LIMITS, LINE, NAME, SLOT, Kept, Scripts, Standing

DAY_MS = 96 * SLOT
SHORT = 350  # ms that a piece waits in a worker's hand
BOTH, NAMES = ("a", "b"), "abcdefgh"


@dataclass(frozen=True, slots=True)
class Case:
    """
    A small world: its limit, how many are asked for at once, what time does and which faults there are.

    ``other``: rate and day of a second limit that all mails fall under as well; ``account``: the rate is what
    an account grants, once it is asked.
    """

    name: str
    rate: float = 0.0
    day: int = 0
    sizes: tuple[int, ...] = (1,)
    ticks: int = 5
    steps: tuple[int, ...] = ()  # besides: until the next permit is free, and a moment before
    faults: tuple[str, ...] = ()
    most_faults: int = 1
    pieces: int = 0  # that come one after the other; none: workers ask for as many as they like
    other: tuple[float, int] = (0.0, 0)
    account: bool = False

    @property
    def bounds(self) -> tuple[tuple[float, int], ...]:
        """Rate and day of each limit."""
        return ((self.rate, self.day), *([self.other] if any(self.other) else []))

    @property
    def windows(self) -> list[tuple[int, int]]:
        """For each limit: so many mails may go in so long (ms)."""
        return [
            (day, DAY_MS) if day else (math.ceil(rate), int(1000 * math.ceil(rate) / rate))
            for rate, day in self.bounds
        ]

    @property
    def counts_a_day(self) -> bool:
        """Whether any limit has a day."""
        return any(day for _, day in self.bounds)

    @property
    def horizon(self) -> int:
        """So long (ms) a mail is remembered."""
        return max(window for _, window in self.windows)


@dataclass(frozen=True, slots=True)
class Worker:
    """
    One worker.

    ``marks`` of its permits: to be handed over (-1), the server has it (-2), or its answer's age;
    ``not_counted``: of the answered; ``asks``: the call whose answer was lost; ``fenced``: its lease is gone;
    ``inquires``: it is to ask the account.
    """

    inc: str
    call: int = 1
    marks: tuple[int, ...] = ()
    not_counted: int = 0
    slow: bool = False
    asks: tuple[int, str] = (0, "")
    fenced: bool = False
    piece: bytes = b""
    inquires: bool = False


TO_GO, WITH_SERVER = -1, -2


@dataclass(frozen=True, slots=True)
class Moment:
    """All there is: ``seen`` are the ages of the mails that the server took; ``served`` the pieces."""

    kept: Kept
    workers: tuple[Worker, ...]
    seen: tuple[int, ...] = ()
    served: tuple[bytes, ...] = ()
    ticks: int = 0
    faults: int = 0
    came: int = 0
    wrong: str = ""


def first(case: Case) -> Moment:
    """How it begins."""
    kept = Kept(limits=(Standing(),) * len(case.bounds), leases=BOTH)
    return Moment(kept, tuple(Worker(inc) for inc in BOTH))


def breach(case: Case, moment: Moment) -> str:
    """What is wrong with a moment; empty where nothing is."""
    if moment.wrong:
        return moment.wrong
    for most, window in case.windows:
        within = sum(age < window for age in moment.seen)
        if within > most:
            return f"{within} mails within {window} ms, and {most} may go"
    return ""


class Moves:
    """All that may come next, by real scripts."""

    def __init__(self, case: Case, scripts: Scripts) -> None:
        self.case = case
        self._scripts = scripts

    def after(self, moment: Moment) -> Iterator[tuple[str, Moment]]:
        """Each with its words."""
        for number, worker in enumerate(moment.workers):
            for words, after in self._of(moment, number, worker):
                yield f"{worker.inc} {words}", after
        yield from self._time(moment)
        if self.case.pieces:
            yield from self._queue(moment)
        for inc in moment.kept.leases:
            if all(worker.inc != inc for worker in moment.workers):
                yield f"the lease of {inc} is over", _without_lease(moment, inc)

    # --- workers ------------------------------------------------------------------------------------

    def _of(self, moment: Moment, number: int, worker: Worker) -> Iterator[tuple[str, Moment]]:
        if worker.asks[1]:
            yield "repeats", self._asked(moment, number, worker, *worker.asks)
        elif worker.inquires and not worker.fenced:
            yield "is told what the account grants", self._granted(moment, number, worker)
        elif self.case.pieces:
            yield from self._with_pieces(moment, number, worker)
        elif WITH_SERVER not in worker.marks:
            for size in self.case.sizes:
                yield f"asks for {size}", self._ask(moment, number, worker, size)
            if worker.marks:
                yield "settles", self._ask(moment, number, worker, 0)
        if not worker.asks[1]:
            yield from self._mails(moment, number, worker)
        if moment.faults < self.case.most_faults:
            yield from self._faults(replace(moment, faults=moment.faults + 1), number, worker)

    def _with_pieces(self, moment: Moment, number: int, worker: Worker) -> Iterator[tuple[str, Moment]]:
        if worker.piece and not worker.marks:
            yield "asks", self._ask(moment, number, worker, 1)
        elif worker.marks and worker.marks[0] >= 0:
            yield "settles", self._ask(moment, number, worker, 0)
        elif not worker.piece and moment.kept.queue and not worker.fenced:
            *left, piece = moment.kept.queue
            kept = replace(moment.kept, queue=tuple(left))
            yield "takes", _with(replace(moment, kept=kept), number, replace(worker, piece=piece))

    def _mails(self, moment: Moment, number: int, worker: Worker) -> Iterator[tuple[str, Moment]]:
        marks = list(worker.marks)
        if TO_GO in marks and not worker.fenced:
            marks[marks.index(TO_GO)] = WITH_SERVER
            handed = replace(moment, seen=(0, *moment.seen))
            yield "hands over", _with(handed, number, replace(worker, marks=tuple(marks)))
        if WITH_SERVER in worker.marks:
            heard = list(worker.marks)
            heard[heard.index(WITH_SERVER)] = 0
            answered = replace(worker, marks=tuple(heard))
            yield "hears", _with(moment, number, answered)
            if "throttle" in self.case.faults and moment.faults < self.case.most_faults:
                slower = replace(moment, faults=moment.faults + 1)
                yield "is throttled", _with(slower, number, replace(answered, slow=True))
            if self.case.counts_a_day and 0 in moment.seen:
                refused = replace(moment, seen=moment.seen[1:])
                not_counted = replace(answered, not_counted=worker.not_counted + 1)
                yield "is refused", _with(refused, number, not_counted)

    def _faults(self, moment: Moment, number: int, worker: Worker) -> Iterator[tuple[str, Moment]]:
        if "die" in self.case.faults:
            gone = _replaced(_given_back(moment, worker), number, worker)
            yield "dies", gone
            yield "dies, and its lease is ended", _without_lease(gone, worker.inc)
        if "stall" in self.case.faults and not worker.fenced:
            fenced = replace(worker, fenced=True, piece=b"")
            late = _with(_given_back(moment, worker), number, fenced)
            yield "stands still beyond its lease", _without_lease(late, worker.inc)
        may_ask = not (worker.asks[1] or worker.fenced or self.case.pieces or WITH_SERVER in worker.marks)
        if "lose" in self.case.faults and may_ask:
            for size in self.case.sizes:
                asks = self._call(worker, size)
                _, kept = self._permit(moment.kept, worker, *asks)
                lost = _with(replace(moment, kept=kept), number, replace(worker, asks=asks))
                yield f"asks for {size}, and the answer is lost", lost

    # --- asking -------------------------------------------------------------------------------------

    def _ask(self, moment: Moment, number: int, worker: Worker, size: int) -> Moment:
        return self._asked(moment, number, worker, *self._call(worker, size))

    def _call(self, worker: Worker, size: int) -> tuple[int, str]:
        told = {
            "ages": [age for age in worker.marks if age >= 0],
            "refund": worker.not_counted,
            "slow": 2.0 if worker.slow else 0,
            "pause": 0,
            "why": "",
        }
        called = worker.piece.startswith(b"called")
        bounds = [{"rate": 0 if self.case.account else rate, "day": day} for rate, day in self.case.bounds]
        limits = [{**told, **bound} for bound in bounds]
        kinds = [{"n": size, "of": list(range(1, len(limits) + 1))}] if size else []
        asked = {"account": self.case.account, "called": called, "limits": limits, "kinds": kinds}
        return 3 - worker.call, json.dumps(asked)

    def _permit(self, kept: Kept, worker: Worker, call: int, asked: str) -> tuple[Any, Kept]:
        keys = [KEYS.lease(worker.inc), KEYS.account, *LIMITS[: len(kept.limits)]]
        arguments = [3000, worker.inc, KEYS.lease_prefix, call, asked]
        return self._scripts.run(kept, "permit", keys, arguments)

    def _granted(self, moment: Moment, number: int, worker: Worker) -> Moment:
        keys = [KEYS.lease(worker.inc), KEYS.account, LIMIT]
        _, kept = self._scripts.run(moment.kept, "grant", keys, [3000, 60_000, self.case.rate, 0, 0])
        return _with(replace(moment, kept=kept), number, replace(worker, inquires=False))

    def _asked(self, moment: Moment, number: int, worker: Worker, call: int, asked: str) -> Moment:
        before = moment.kept
        answer, kept = self._permit(before, worker, call, asked)
        moment = replace(moment, kept=kept)
        if answer[0] == b"lost":
            return _replaced(moment, number, worker)
        _, inquires, kinds, said = answer
        heard = Worker(worker.inc, call, piece=worker.piece, inquires=bool(inquires))
        if not kinds:
            served = tuple(sorted({*moment.served, worker.piece.split(b"\n")[1]})) if worker.piece else ()
            return _with(replace(moment, served=served), number, replace(heard, piece=b""))
        ((granted, wait, _, _),) = kinds
        if granted:
            marks = (TO_GO,) * granted
            wrong = self._wrong_grant(before, kept, [float(each[0]) for each in said], worker.piece)
            return _with(replace(moment, wrong=wrong), number, replace(heard, marks=marks))
        if worker.piece and wait > SHORT:
            return self._stands_in_line(moment, number, heard)
        return _with(moment, number, heard)

    def _wrong_grant(self, before: Kept, after: Kept, rates: list[float], piece: bytes) -> str:
        for limit, rate in zip(after.limits, rates, strict=True):
            used = sum(n for _, _, n in limit.hand) + len(limit.rest)
            if rate and used > math.ceil(rate):
                return f"{used} permits are in use of {math.ceil(rate)}"
        if self.case.account and (b"seeded", b"1") not in before.limits[0].fields:
            return "one goes before the account has said what it grants"
        if piece and before.line and not piece.startswith(b"called"):
            return "a new one passes those who stand in line"
        return ""

    # --- lines --------------------------------------------------------------------------------------

    def _stands_in_line(self, moment: Moment, number: int, worker: Worker) -> Moment:
        keys = [KEYS.lease(worker.inc), KEYS.hand("own"), KEYS.jobs, KEYS.retry, KEYS.later]
        keys += [KEYS.unused, KEYS.lines, LINE]
        called, _, name = worker.piece.partition(b"\n")
        arguments = [3000, worker.piece, "jid", "", "", 0, "why", int(called == b"called")]
        arguments += [NAME, 1, b"called\n" + name]
        answer, kept = self._scripts.run(moment.kept, "line_up", keys, arguments, worker.piece)
        assert answer == b"ok", answer
        wrong = ""
        if called == b"called" and kept.line[0] != b"called\n" + name:
            wrong = "who was called up in vain does not stand in front"
        elif called != b"called" and kept.line[-1] != b"called\n" + name:
            wrong = "a new one does not stand at the end"
        return _with(replace(moment, kept=kept, wrong=wrong), number, replace(worker, piece=b""))

    def _queue(self, moment: Moment) -> Iterator[tuple[str, Moment]]:
        if moment.came < self.case.pieces:
            piece = b"new\np%d" % (moment.came + 1)
            kept = replace(moment.kept, queue=(piece, *moment.kept.queue))
            yield f"p{moment.came + 1} comes", replace(moment, kept=kept, came=moment.came + 1)
        if moment.kept.line:
            yield "the janitor calls up", self.called_up(moment)

    def called_up(self, moment: Moment) -> Moment:
        """Who can soon go is brought to the head of the queue."""
        keys, told = [KEYS.queue, KEYS.lines, LIMIT], [KEYS.lease_prefix, NAME, self.case.rate, self.case.day]
        _, kept = self._scripts.run(moment.kept, "call_up", keys, told)
        return replace(moment, kept=kept)

    # --- how it ends --------------------------------------------------------------------------------

    def asks_alone(self, moment: Moment, size: int) -> Moment:
        """Its only worker asks for so many, and the account before where it is to."""
        asked = self._ask(moment, 0, moment.workers[0], size)
        if not asked.workers[0].inquires:
            return asked
        told = self._granted(asked, 0, asked.workers[0])
        return self._ask(told, 0, told.workers[0], size)

    def one_round(self, moment: Moment) -> Moment:
        """A second in which the janitor calls up, and its only worker works off what lies in the queue."""
        moment = self.called_up(later(self.case, moment, 1001))
        for _ in moment.kept.queue:
            *left, piece = moment.kept.queue
            kept = replace(moment.kept, queue=tuple(left))
            moment = _with(replace(moment, kept=kept), 0, replace(moment.workers[0], piece=piece))
            moment = self.asks_alone(moment, 1)
            if moment.workers[0].marks:
                heard = replace(moment.workers[0], marks=(0,))
                moment = self.asks_alone(_with(moment, 0, heard), 0)
            elif moment.workers[0].piece:
                kept = replace(moment.kept, queue=(*moment.kept.queue, piece))
                return _with(replace(moment, kept=kept), 0, replace(moment.workers[0], piece=b""))
        return moment

    # --- time ---------------------------------------------------------------------------------------

    def _time(self, moment: Moment) -> Iterator[tuple[str, Moment]]:
        if moment.ticks >= self.case.ticks:
            return
        steps = set(self.case.steps)
        for limit in moment.kept.limits:
            steps |= {limit.rest[0], limit.rest[0] - 1} - {0} if limit.rest else set()
        for step in sorted(steps):
            yield f"{step} ms pass", later(self.case, moment, step)


def later(case: Case, moment: Moment, ms: int) -> Moment:
    """The same after so many milliseconds."""
    aged = ms if case.rate else 0  # a day does not ask how old an answer is
    workers = tuple(
        replace(worker, marks=tuple(mark if mark < 0 else mark + aged for mark in worker.marks))
        for worker in moment.workers
    )
    seen = tuple(age + ms for age in moment.seen if age + ms < case.horizon)
    return replace(moment, kept=moment.kept.later(ms), workers=workers, seen=seen, ticks=moment.ticks + 1)


def canonical(moment: Moment) -> Moment:
    """The same with its names in order: who is who matters to nobody."""
    kept = moment.kept
    in_hand: dict[str, tuple[object, ...]] = {}
    for which, limit in enumerate(kept.limits):
        for inc, *rest in limit.hand:
            in_hand[inc] = (*in_hand.get(inc, ()), which, *rest)

    def standing(worker: Worker) -> tuple[object, ...]:
        return repr(replace(worker, inc="")), in_hand.get(worker.inc, ()), worker.inc in kept.leases

    workers = sorted(moment.workers, key=standing)
    known = {worker.inc for worker in workers}
    others = sorted(
        {*kept.leases, *in_hand} - known, key=lambda inc: (in_hand.get(inc, ()), inc in kept.leases)
    )
    names = dict(zip([*(worker.inc for worker in workers), *others], NAMES, strict=False))
    limits = tuple(
        replace(limit, hand=tuple(sorted((names[inc], *rest) for inc, *rest in limit.hand)))
        for limit in kept.limits
    )
    kept = replace(kept, limits=limits, leases=tuple(sorted(names[inc] for inc in kept.leases)))
    renamed = tuple(replace(worker, inc=names[worker.inc]) for worker in workers)
    return replace(moment, kept=kept, workers=renamed)


def _with(moment: Moment, number: int, worker: Worker) -> Moment:
    workers = (*moment.workers[:number], worker, *moment.workers[number + 1 :])
    return replace(moment, workers=workers)


def _replaced(moment: Moment, number: int, worker: Worker) -> Moment:
    """Another incarnation goes on in its place."""
    taken = {*moment.kept.leases, *(inc for limit in moment.kept.limits for inc, _, _ in limit.hand)}
    taken |= {each.inc for each in moment.workers}
    inc = next(name for name in NAMES if name not in taken)
    kept = replace(moment.kept, leases=tuple(sorted({*moment.kept.leases, inc})))
    return _with(replace(moment, kept=kept), number, Worker(inc))


def _given_back(moment: Moment, worker: Worker) -> Moment:
    """Its piece is at the head of the queue again, unless the server may have it."""
    if not worker.piece:
        return moment
    if any(mark != TO_GO for mark in worker.marks):
        return replace(moment, served=tuple(sorted({*moment.served, worker.piece.split(b"\n")[1]})))
    return replace(moment, kept=replace(moment.kept, queue=(*moment.kept.queue, worker.piece)))


def _without_lease(moment: Moment, inc: str) -> Moment:
    leases = tuple(each for each in moment.kept.leases if each != inc)
    return replace(moment, kept=replace(moment.kept, leases=leases))
