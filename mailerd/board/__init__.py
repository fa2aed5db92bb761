"""
The board: what every worker is doing, in a mapped file that outlives the worker and the daemon.

One slot per worker, written by the worker's own code, read by the supervisor (is it alive?), by main (what
had it done?) and by the daemon's next life. It is the only truth about both. Knows no Redis and starts no
process.
"""

from mailerd.board.file import Board
from mailerd.board.slot import Slot, room_for
from mailerd.board.tally import Event, Histogram, Tally
from mailerd.board.values import (
    Answered,
    Death,
    Group,
    GroupRemains,
    Phase,
    RecipientRemains,
    Remains,
    SlotState,
)

__all__ = [
    "Answered",
    "Board",
    "Death",
    "Event",
    "Group",
    "GroupRemains",
    "Histogram",
    "Phase",
    "RecipientRemains",
    "Remains",
    "Slot",
    "SlotState",
    "Tally",
    "room_for",
]
