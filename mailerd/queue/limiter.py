"""
The limiter: how fast the whole fleet may hand over, kept in Redis and asked before each group.

One script takes permits under all limits that a group falls under and gives back those of the group before;
where nothing limits, nothing is asked. It knows no transport: what an account grants and which domain's limit
an address falls under it is told by functions, what became of a hand-over by its caller, who also does the
waiting. Belongs to one incarnation; what a dead one had in hand comes back by itself once its lease is over.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import redis

from mailerd.clock import Clock
from mailerd.config import Limits
from mailerd.errors import LeaseLost
from mailerd.outcome import SLOWER, Allowance, Kind, Outcome
from mailerd.queue.connection import Patience
from mailerd.queue.keys import Keys
from mailerd.queue.lease import Lease
from mailerd.queue.limits import ROUTE, LimitOf, Table, Wait, words_of
from mailerd.queue.scripts import run

log = logging.getLogger(__name__)

# An account is asked once in this time (seconds) by whoever comes first.
ACCOUNT_EVERY = 60.0
# So long (seconds) nobody tries a route that says its day is used up, unless its account says otherwise.
QUOTA_PAUSE = 600.0
# Mails that count for a day: taken, or perhaps taken.
_COUNTED = frozenset({Kind.SENT, Kind.UNKNOWN})
# A worker's own speed is that of the last so many seconds.
_SPEED_OVER = 2.0


@dataclass(slots=True)
class _Owed:
    """What is to be told about the permits of one limit."""

    answered_at: list[float] = field(default_factory=list)
    refund: int = 0
    slow: float = 0.0
    why: str = ""


@dataclass(slots=True)
class _Share:
    """What was granted to one kind of recipients, and what the others of them wait for."""

    granted: int
    seconds: float
    limit: LimitOf
    why: str

    @classmethod
    def of(cls, said: Any, limits: list[LimitOf]) -> _Share:
        granted, wait, number, why = said
        return cls(granted, wait / 1000, limits[number - 1], why.decode())


@dataclass(frozen=True, slots=True)
class _State:
    """How one limit stands, as the script says."""

    rate: float
    day: int
    changed: int
    words: str
    is_open: bool

    @classmethod
    def of(cls, said: Any) -> _State:
        rate, day, changed, words, is_open = said
        return cls(float(rate), day, changed, words.decode(), bool(is_open))


@dataclass(frozen=True, slots=True)
class Outside:
    """
    What the limiter has to ask others.

    ``account``: what it grants; None where there is none. ``domain_of``: the domain with a limit that an
    address falls under, or ''.
    """

    account: Callable[[], Allowance | None] | None = None
    domain_of: Callable[[str], str] = lambda _: ""


class Limiter:
    """The fleet's limits as one incarnation meets them; ``answered`` may be called from any thread."""

    def __init__(
        self,
        client: redis.Redis,
        keys: Keys,
        lease: Lease,
        limits: Limits,
        outside: Outside,
        patience: Patience,
        clock: Clock,
    ) -> None:
        self._client = client
        self._keys = keys
        self._lease = lease
        self._table = Table(limits)
        self._outside = outside
        self._patience = patience
        self._clock = clock
        self._limits_the_route = bool(limits.per_second or limits.per_day)
        self._route_open = not (self._limits_the_route or outside.account)
        self._held: list[tuple[LimitOf, ...]] = []
        self._answers: list[tuple[int, Outcome, float]] = []
        self._owed: dict[LimitOf, _Owed] = {}
        self._call = 0
        self._ask_account = False
        self._counting_since = clock.monotonic()
        self._counted = 0

    def limits(self, client_id: str) -> bool:
        """Whether a limit may hold for some mail of this client's."""
        return not self._route_open or client_id in self._table.clients or bool(self._table.domains)

    def take(self, client_id: str, addresses: Sequence[str], *, called: bool = False) -> list[Wait | None]:
        """
        For each recipient None, which is leave to hand over now, or what it waits for.

        ``called``: they stood in line for a limit, which nobody else may pass.

        Whoever has leave is told of by ``answered``, or has not been handed over. Raises ``LeaseLost``, and
        what ``Patience`` raises.
        """
        self._digest()
        whose = [self._limits_of(client_id, address) for address in addresses]
        if not any(whose) and not any(self._held) and not self._owed:
            self._held = whose
            return [None] * len(whose)
        if self._ask_account:
            self._grant()
        waits = self._ask(whose, called=called)
        if self._ask_account and any(wait and wait.limit == ROUTE for wait in waits):
            self._grant()
            waits = self._ask(whose, called=called)
        return waits

    def answered(self, index: int, outcome: Outcome) -> None:
        """What a hand-over came to, now; ``index`` counts those who got leave from the last ``take``."""
        if outcome.kind is not Kind.WITHHELD:
            self._answers.append((index, outcome, self._clock.monotonic()))

    def settle(self) -> None:
        """Give back all permits, since no group follows for now. Raises as ``take`` does."""
        self._digest()
        if self._owed or any(self._held):
            self._ask([], called=False)

    def _digest(self) -> None:
        """Note under each limit what came of the last group."""
        answers, self._answers = self._answers, []
        now = self._clock.monotonic()
        if now - self._counting_since > _SPEED_OVER:
            self._counting_since, self._counted = now, 0
        self._counted += len(answers)
        for index, outcome, at in answers:
            for limit in self._held[index]:
                owed = self._owed.setdefault(limit, _Owed())
                owed.answered_at.append(at)
                owed.refund += outcome.kind not in _COUNTED
            if outcome.kind in SLOWER:
                self._slow_down(outcome, now)

    def _slow_down(self, outcome: Outcome, now: float) -> None:
        self._route_open = False
        owed = self._owed.setdefault(self._table.route, _Owed())
        if outcome.kind is Kind.OVER_QUOTA:
            owed.why = outcome.reason
        else:
            owed.slow = self._counted / max(1.0, now - self._counting_since)

    def _limits_of(self, client_id: str, address: str) -> tuple[LimitOf, ...]:
        found = [] if self._route_open else [self._table.route]
        if client := self._table.clients.get(client_id):
            found.append(client)
        if self._table.domains and (domain := self._table.domains.get(self._outside.domain_of(address))):
            found.append(domain)
        return tuple(found)

    def _ask(self, whose: list[tuple[LimitOf, ...]], *, called: bool) -> list[Wait | None]:
        kinds = Counter(filter(None, whose))
        limits = self._involved(kinds)
        _, ask, granted, said = self._run(limits, kinds, called=called)
        self._owed, self._ask_account = {}, bool(ask)
        states = dict(zip(limits, (_State.of(each) for each in said), strict=True))
        for limit, state in states.items():
            self._tell(limit, state)
        left = {kind: _Share.of(share, limits) for kind, share in zip(kinds, granted, strict=True)}
        waits = [self._leave(left.get(of), states) for of in whose]
        self._held = [of for of, wait in zip(whose, waits, strict=True) if wait is None]
        return waits

    def _leave(self, share: _Share | None, states: dict[LimitOf, _State]) -> Wait | None:
        """One permit out of what was granted to this kind of recipient, or why there is none."""
        if share is None or share.granted:
            if share is not None:
                share.granted -= 1
            return None
        state, now = states[share.limit], self._clock.now()
        words = words_of(share.limit, share.why, state.rate, state.day, state.words, now + share.seconds, now)
        return Wait(share.seconds, share.limit.name, words)

    def _tell(self, limit: LimitOf, state: _State) -> None:
        if limit is self._table.route and self._outside.account is None and not self._limits_the_route:
            self._route_open = state.is_open
        if state.changed > 0:
            words = state.words or f"the {state.day:,} mails that {limit.who} gets in 24 hours are used up"
            log.error("Mails wait: %s", words, extra={"event": "limit.reached", "limit": limit.name})
        elif state.changed < 0:
            log.warning(
                "Mails go again for %s", limit.who, extra={"event": "limit.open", "limit": limit.name}
            )

    def _grant(self) -> None:
        """Ask what the account grants, for the whole fleet."""
        account, self._ask_account = self._outside.account, False
        granted = (account() if account else None) or Allowance()
        keys = [self._keys.lease(self._lease.incarnation), self._keys.account, self._keys.limit(ROUTE)]
        arguments: list[str | bytes | int] = [self._lease.milliseconds, int(ACCOUNT_EVERY * 1000)]
        arguments += [str(granted.per_second), granted.per_day, granted.sent]
        self._patience.call(lambda: run(self._client, "grant", keys, arguments))

    def _involved(self, kinds: Counter[tuple[LimitOf, ...]]) -> list[LimitOf]:
        before = [limit for limits in self._held for limit in limits]
        wanted = [limit for limits in kinds for limit in limits]
        found = dict.fromkeys([*before, *self._owed, *wanted])
        # The account's grant is the first limit's.
        return sorted(found, key=lambda limit: limit is not self._table.route)

    def _run(self, limits: list[LimitOf], kinds: Counter[tuple[LimitOf, ...]], *, called: bool) -> Any:
        self._call += 1
        numbers = {limit: number for number, limit in enumerate(limits, 1)}
        asked = {
            "account": self._outside.account is not None and self._table.route in numbers,
            "called": called,
            "limits": [self._told(limit) for limit in limits],
            "kinds": [{"n": n, "of": [numbers[limit] for limit in of]} for of, n in kinds.items()],
        }
        own = [self._keys.lease(self._lease.incarnation), self._keys.account]
        keys = own + [self._keys.limit(limit.name) for limit in limits]
        arguments: list[str | bytes | int] = [self._lease.milliseconds, self._lease.incarnation]
        arguments += [self._keys.lease_prefix, self._call, json.dumps(asked)]
        answer = self._patience.call(lambda: run(self._client, "permit", keys, arguments))
        if answer[0] == b"lost":
            raise LeaseLost
        return answer

    def _told(self, limit: LimitOf) -> dict[str, object]:
        owed, now = self._owed.get(limit, _Owed()), self._clock.monotonic()
        return {
            "rate": limit.per_second,
            "day": limit.per_day,
            "ages": [int((now - at) * 1000) for at in owed.answered_at],
            "refund": owed.refund,
            "slow": owed.slow,
            "pause": int(QUOTA_PAUSE * 1000) if owed.why else 0,
            "why": owed.why,
        }
