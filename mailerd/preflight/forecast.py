"""
How long a batch will take under ``[limits]``, if nothing else is sent. Pure; called by ``examine.py``.

The slowest holds up the rest. The limits of a domain count the mails to just that domain: which other domains
its mail servers serve is not looked up. A day's budget counts as unused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mailerd.config import Config, Limit

_DAY = 86_400.0
_WHOLE = 100  # mails a second from which fractions of one say nothing


@dataclass(frozen=True, slots=True)
class Load:
    """What is to be sent: ``mails`` in all and to each domain; ``speed``: as many a second can be sent."""

    client_id: str
    mails: float
    domains: Mapping[str, float]
    speed: float
    whose_speed: str


@dataclass(frozen=True, slots=True)
class Forecast:
    """So many mails take so many ``seconds``, because of ``held_by``."""

    mails: int
    seconds: float
    held_by: str

    def to_json(self) -> dict[str, Any]:
        """As programs are told."""
        return {"mails": self.mails, "seconds": round(self.seconds, 1), "held_by": self.held_by}


def forecast(load: Load, config: Config) -> Forecast:
    """How long it will take, and what holds it up."""
    ways = [(load.whose_speed, load.mails, Limit(per_second=load.speed)), *_limits(load, config)]
    name, mails, limit = max(ways, key=lambda way: _seconds(way[1], way[2]))
    return Forecast(round(load.mails), _seconds(mails, limit), f"{name}: {_figures(limit)}")


def _limits(load: Load, config: Config) -> Iterator[tuple[str, float, Limit]]:
    limits = config.limits
    yield "[limits]", load.mails, limits
    for client in limits.clients:
        if client.client_id == load.client_id:
            yield f"[[limits.clients]] {client.client_id}", load.mails, client
    for domain in limits.domains:
        yield f"[[limits.domains]] {domain.domain}", load.domains.get(domain.domain, 0), domain


def _seconds(mails: float, limit: Limit) -> float:
    days = 0.0
    if limit.per_day and mails:
        days, mails = divmod(max(0.0, mails - 1), limit.per_day)
        mails += 1
    return days * _DAY + (mails / limit.per_second if limit.per_second else 0.0)


def _number(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= _WHOLE else f"{rate:.3g}"


def _figures(limit: Limit) -> str:
    figures = (
        (f"{_number(limit.per_second)} a second", limit.per_second),
        (f"{limit.per_day:,} a day", limit.per_day),
    )
    return ", ".join(words for words, number in figures if number)
