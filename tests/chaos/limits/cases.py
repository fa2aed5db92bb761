"""The small worlds of limits, and the faults that are planted in the scripts: pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from chaos.limits.moves import Case
from chaos.limits.world import SLOT

CASES = (
    Case("one permit", rate=1, ticks=2, steps=(400,), faults=("die", "stall", "lose")),
    Case("two permits", rate=2, sizes=(2,), ticks=2, faults=("die",)),
    Case("a fraction", rate=0.7, ticks=2, steps=(500,), faults=("die", "lose")),
    Case("throttled", rate=2, sizes=(2,), ticks=2, faults=("throttle",)),
    Case("a day", day=1, ticks=3, steps=(95 * SLOT, SLOT - 1), faults=("die", "lose")),
    Case("two limits", rate=2, other=(0.7, 0), sizes=(2,), ticks=2, faults=("die",)),
    Case("a rate and a day", rate=1, other=(0.0, 2), ticks=2, faults=("die",)),
    Case("an account", rate=1, account=True, ticks=2, steps=(15_001,), faults=("die",)),
    Case("a line", rate=1, ticks=2, faults=("die",), pieces=2),
    Case("a longer line", rate=1, ticks=2, faults=(), pieces=3),
)


def larger(case: Case, ticks: int) -> Case:
    """The same for so many more steps of time."""
    return replace(case, ticks=case.ticks + ticks)


@dataclass(frozen=True)
class Planted:
    """A fault in a script, the case that shows it, and words of the breach."""

    fault: str
    case: Case
    edits: Mapping[str, str]
    finds: str


ONE, TWO, FRACTION, THROTTLED, DAY, BOTH, _, ACCOUNT, LINE, _ = CASES
PLANTED = (
    Planted(
        "a permit rests a few milliseconds too short",
        ONE,
        {"limit.now + 1 - math.floor(age)": "limit.now - 3 - math.floor(age)"},
        "mails within",
    ),
    Planted(
        "an answer's age counts twice",
        ONE,
        {"- math.floor(age)": "- 2 * math.floor(age)"},
        "mails within",
    ),
    Planted(
        "a fraction rests a second",
        FRACTION,
        {"math.ceil(1000 * math.ceil(rate) / rate)": "1000"},
        "mails within",
    ),
    Planted(
        "the dead's permits do not rest",
        TWO,
        {
            "limit.key .. ':hand', inc)\n      rest(limit, n, 0)": "limit.key .. ':hand', inc)",
        },
        "mails within",
    ),
    Planted(
        "the dead's permits stay in hand",
        ONE,
        {"if redis.call('EXISTS', lease_prefix .. inc) == 0 then": "if false then"},
        "never come back",
    ),
    Planted(
        "those in hand are free",
        ONE,
        {"redis.call('ZCARD', limit.key .. ':rest') + held": "redis.call('ZCARD', limit.key .. ':rest')"},
        "are in use",
    ),
    Planted(
        "throttling is not heard",
        THROTTLED,
        {
            "local permits = limit.permits - in_use": "local permits = math.ceil(limit.base) - in_use",
        },
        "permits are in use",
    ),
    Planted(
        "a mail of the day is forgotten a quarter of an hour early",
        DAY,
        {"if tonumber(all[i]) < slot - SLOTS then": "if tonumber(all[i]) <= slot - SLOTS then"},
        "mails within",
    ),
    Planted(
        "mails in hand count for no day",
        DAY,
        {"return total + held + limit.foreign": "return total + limit.foreign"},
        "mails within",
    ),
    Planted(
        "what the dead had in hand counts for no day",
        DAY,
        {"rest(limit, n, 0)\n      count_today(limit, n)": "rest(limit, n, 0)"},
        "mails within",
    ),
    Planted(
        "what the dead had in hand is used for ever",
        DAY,
        {"  if limit.day > 0 then\n    free_the_dead(limit, ARGV[3])": "  if limit.day > 0 then"},
        "never come back",
    ),
    Planted(
        "only the first of two limits is asked",
        BOTH,
        {"granted = math.min(granted, limits[i].free)": "granted = math.min(granted, limits[1].free)"},
        "are in use",
    ),
    Planted(
        "nobody waits for what the account grants",
        ACCOUNT,
        {"and i == 1 and not limit.seeded then": "and false then"},
        "before the account has said",
    ),
    Planted(
        "who was to ask the account and died is the last who did",
        ACCOUNT,
        {"inc, 'NX', 'PX', 15000)": "inc, 'NX', 'PX', 15000000)"},
        "never come back",
    ),
    Planted(
        "new ones pass the line",
        LINE,
        {"if not asked.called and redis.call": "if false and redis.call"},
        "passes",
    ),
    Planted(
        "nobody is called up", LINE, {"while free - sum >= 1 do": "while free - sum >= 2 do"}, "still wait"
    ),
)
