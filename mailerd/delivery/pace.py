"""
How many recipients make a group: pure policy.

A group costs Redis two commands however large it is; but a pause, a cancellation and a stop are heard between
two groups. So its size follows from how long the last one took. Asked by ``delivery.py``.
"""

from __future__ import annotations

from math import ceil

# A group is what the server takes in so many seconds: a host that loses its power leaves all of it in doubt.
IN_DOUBT = 0.05
# The same where limits hold: whoever waits within a group has a permit that nobody else can use meanwhile.
LIMITED_IN_DOUBT = 0.02
# What a group's hand-overs may take (seconds) before nobody else of it is handed over.
LONGEST_GROUP = 0.5


def seconds_each(took: float, answered: int, connections: int) -> float:
    """How long one hand-over took, where a group of so many ran on so many connections."""
    return took / ceil(answered / connections)


def group_size(connections: int, room: int, each: float | None, longest: float) -> int:
    """
    How many are taken in hand together, at most what the board has ``room`` for.

    ``longest``: what it may take (seconds); each connection gets one, though that take longer.
    ``each``: how long a hand-over took lately (seconds); None: nobody knows, and each connection gets one.
    """
    rounds = 1 if each is None else int(min(longest / max(each, 1e-6), room))
    return min(room, connections * max(rounds, 1))
