"""
The limits of a run with ``--limits``, and the most that the mail server got under each in a sliding second.

Pure: the mail server's own record, against what the configuration allows, whatever died meanwhile.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from chaos.jobs import SLOW_DOMAIN
from rigs.sink import Mail

# Each of them binds: a third of the batches is this client's, a seventh of the contacts has this domain.
LIMITS: Mapping[str, Any] = {
    "per_second": 60,
    "clients": [{"client_id": "c0", "per_second": 15}],
    "domains": [{"domain": SLOW_DOMAIN, "per_second": 7}],
}


def most_in_a_second(mails: Iterable[Mail], client_of: Mapping[str, str]) -> dict[str, int]:
    """By the name of each limit; ``client_of``: whose batch an address is in."""
    times = defaultdict(list)
    for mail in mails:
        for name in ("route", client_of.get(mail.recipient, ""), mail.recipient.rpartition("@")[2]):
            times[name].append(mail.time)
    return {name: _most(sorted(times[name])) for name in _allowed()}


def too_many(most: Mapping[str, int]) -> list[str]:
    """Where a limit was passed."""
    return [
        f"{most[name]} mails in a second for {name}, which gets {allowed}"
        for name, allowed in _allowed().items()
        if most[name] > allowed
    ]


def _allowed() -> dict[str, int]:
    clients = {each["client_id"]: each["per_second"] for each in LIMITS["clients"]}
    domains = {each["domain"]: each["per_second"] for each in LIMITS["domains"]}
    return {"route": LIMITS["per_second"], **clients, **domains}


def _most(times: list[float]) -> int:
    return max((bisect_left(times, begin + 1) - n for n, begin in enumerate(times)), default=0)
