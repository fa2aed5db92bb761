"""
The model with one guard of the protocol taken out: what each stands for, where it shows, and as what.

The first eight are those that a chaos run must find as well (``tests/chaos/plants.py``). One that the model
did not find would be a guard that nobody needs, or a fault that the model cannot see.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from chaos.model.state import Case


@dataclass(frozen=True)
class Planted:
    """A guard, the case in which its absence shows, and words of the breach."""

    guard: str
    case: Case
    finds: str

    def as_case(self) -> Case:
        """The case without that guard."""
        return replace(self.case, name=self.guard, missing=self.guard)


def _case(*faults: str, most: int = 1, **more: Any) -> Case:
    return Case("", faults=faults, most_faults=most, **more)


# One recipient in both jobs, nothing is cut: where more would only take longer.
ALONE = ((0,), (0,))

TAKEN_OVER = _case("crash", "blocked", most=2, jobs=ALONE[:1], words=("cancel",), resend=True)
FORGOTTEN = _case("lag", "deferred", most=2, jobs=ALONE[:1])


PLANTED = [
    # A lapsed lease stops nobody, and no receipt is asked for.
    Planted("no fencing", _case("stall"), "are promised"),
    # Whoever asks for a recipient gets it.
    Planted("no ledger", _case(most=0), "was mailed 2 times"),
    # A BLMOVE whose answer was lost is sent again, and nobody looks into the own hand.
    Planted("client-side retries", _case("lose"), "nothing more will happen"),
    # A dead incarnation is not kept in the graves.
    Planted("no linger", _case("late"), "in no job that anybody will come to"),
    # A job is acked before its recipients are marked.
    Planted("ack before mark", _case(most=0), "in no job that anybody will come to"),
    # What a dead worker left on its board is not booked.
    Planted("board ignored", _case("crash", jobs=ALONE), "hand-over had not begun"),
    # Another's claim is taken over though its lease lives.
    Planted("BUSY taken for dead", _case(most=0, resend=True), "was mailed 2 times"),
    # A job's pieces are admitted wherever its cursor is.
    Planted("cursor not compared", _case("lose"), "recipients are promised"),
    # The draw that empties the side list leaves the record saying that a ticket goes round.
    Planted("the ticket's flag kept", _case(most=0), "the batch's record says otherwise"),
    # An admission pushes a ticket whether or not one goes round.
    Planted("a ticket for every slice", _case(most=0), "2 tickets"),
    # A claim is parked though the batch was resumed meanwhile.
    Planted("parked without a second look", _case(most=0, words=("pause", "resume")), "in no job"),
    # The script that takes acks whatever is in the own hand.
    Planted("acked without being done", _case("lose", jobs=((0,), (1,)), most_in_hand=2), "not admitted"),
    # It does not look into the own hand before it takes.
    Planted("more taken than is in hand", _case("lose", jobs=((0,), (1,)), most_in_hand=2), "not admitted"),
    # What a worker tells is booked whoever has the recipient now.
    Planted(
        "mark does not ask whose row it is",
        _case("blocked", "crash", most=2, jobs=ALONE, workers=1),
        "counts as q",
    ),
    # What was settled is booked anew.
    Planted(
        "mark opens what is final", _case("blocked", "crash", most=2, jobs=ALONE, workers=1), "counts as q"
    ),
    # Of whom a worker has said that no answer came, it may say later that it had never begun.
    Planted(
        "unknown ones may turn out never begun",
        _case("unanswered", jobs=ALONE, words=("cancel",)),
        "counts as k",
    ),
    # Whoever turns out never begun, after having been unknown, waits without a job.
    Planted(
        "released without a small job", _case("crash", jobs=ALONE), "in no job that anybody will come to"
    ),
    # A claim whose answer was lost is left as it is when the next try finds the batch halted.
    Planted(
        "released when halted",
        _case("lose", jobs=ALONE[:1], words=("pause", "resume")),
        "that has forgotten it",
    ),
    # Whoever is deferred or released after the batch was cancelled waits for a job that nobody works on.
    Planted("mark forgets the cancelling", _case("blocked", jobs=ALONE, words=("cancel",)), "in no job"),
    # A cancelling does not wait for whoever is in somebody's hand.
    Planted("cancelled in somebody's hand", _case(most=0, words=("cancel",)), "has the mail and counts as k"),
    # The board tells of a group only once it is claimed.
    Planted("group noted after the claim", _case("crash", jobs=ALONE), "hand-over had not begun"),
    # The board tells of a hand-over only once it is over.
    Planted("hand-over noted after DATA", _case("crash", jobs=ALONE), "has the mail and counts as q"),
    # After a failover a worker's own word that somebody has no mail does not help whom others took over.
    Planted("taken back from the unknown", FORGOTTEN, "hand-over had not begun"),
    # Such a one is queued, and its job may be over.
    Planted("taken back without a small job", FORGOTTEN, "in no job that anybody will come to"),
    # Whom another read to be in hand is told to be so although its worker has told all since.
    Planted("in hand though all is told", FORGOTTEN, "that has forgotten it"),
    # Whoever ends a job leaves to others whom they have in hand, though no job may be theirs any more.
    Planted(
        "in another's hand without a small job",
        _case("lag", jobs=ALONE[:1], words=("cancel",)),
        "in no job that anybody will come to",
    ),
    # Nobody waits until a claim has its copy.
    Planted("copies waited for", _case("lag", jobs=ALONE[:1]), "has the mail and counts as q"),
    # Whoever was to be sent again after a lost answer, and gets no mail any more, counts as one who got none.
    Planted(
        "an earlier hand-over in doubt",
        _case("unanswered", jobs=ALONE[:1], words=("cancel",), resend=True),
        "has the mail and counts as k",
    ),
    # Whoever is claimed from a dead one is not noted as one who may have the mail.
    Planted(
        "a doubt by taking over",
        TAKEN_OVER,
        "has the mail and counts as q",
    ),
    # A board's word that nobody was handed over does not help whom another has claimed since.
    Planted(
        "a doubt ended by a word",
        TAKEN_OVER,
        "and had not begun",
    ),
    # A lapsed lease is renewed, though others may have taken over.
    Planted("a lapsed lease revived", _case("stall", jobs=ALONE), "its worker lives or has said so"),
]
