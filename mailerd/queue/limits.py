"""
The limits of the configuration by name, and what a wait for one of them is to people; pure.

A limit holds for the whole fleet: for the route, for a client or for a recipient's domain. Used by the
limiter and by whoever shows limits.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from mailerd.config import Limits

ROUTE = "route"
# Above this (seconds) a wait is told with its date.
_TODAY = 3600.0


def limit_of_client(client_id: str) -> str:
    """The name of a client's limit."""
    return f"client:{client_id}"


@dataclass(frozen=True, slots=True)
class LimitOf:
    """What the configuration says of one limit; ``who`` is whom it holds for."""

    name: str
    who: str
    per_second: float = 0.0
    per_day: int = 0

    def at_once(self, most: int) -> int:
        """How many it lets through at once, at most so many."""
        return min(most, max(1, int(self.per_second))) if self.per_second else most


@dataclass(frozen=True, slots=True)
class Wait:
    """Why a recipient is not handed over now, and when it is worth asking again (in seconds)."""

    seconds: float
    limit: str
    reason: str


class Table:
    """Every limit of a configuration."""

    def __init__(self, limits: Limits) -> None:
        self.route = LimitOf(ROUTE, "the route", limits.per_second, limits.per_day)
        self.clients = {
            one.client_id: LimitOf(
                limit_of_client(one.client_id), f"client {one.client_id}", one.per_second, one.per_day
            )
            for one in limits.clients
        }
        self.domains = {
            one.domain: LimitOf(f"domain:{one.domain}", one.domain, one.per_second, one.per_day)
            for one in limits.domains
        }

    def of(self, name: str) -> LimitOf:
        """The one with this name; what the configuration does not name limits nothing."""
        return next((limit for limit in self.all() if limit.name == name), LimitOf(name, name))

    def all(self) -> list[LimitOf]:
        """Each of them, the route's first."""
        return [self.route, *self.clients.values(), *self.domains.values()]


def words_of(limit: LimitOf, why: str, rate: float, day: int, said: str, until: float, now: float) -> str:
    """What is waited for and until when (``until`` and ``now`` in seconds since 1970), in a sentence."""
    at = moment(until, now)
    match why:
        case "rate":
            return f"{limit.who} gets {rate:.3g} mails a second; the next at {at}"
        case "day":
            used = f"the {day:,} mails that {limit.who} gets in 24 hours are used up"
            return f"{used}; the next by {at} at the latest"
        case "line":
            return f"others stand in line for {limit.who}"
        case "pause":
            return f"{said}; the next try by {at}"
        case _:
            return "asking Amazon SES what the account may send"


def moment(at: float, now: float) -> str:
    """A moment to come, for people."""
    form = "%H:%M:%S UTC" if at - now < _TODAY else "%Y-%m-%d %H:%M UTC"
    return datetime.fromtimestamp(at, UTC).strftime(form)
