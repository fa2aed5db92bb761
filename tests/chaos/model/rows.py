"""
The scripts that move recipients, each named as its file, doing what that does and returning its answer.

As in ``lists``: a guard that the case lacks is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from chaos.model.lists import put_aside, refused
from chaos.model.state import FORGOTTEN, LETTERS, TICKET, Contacts, Word, World, note, noted, payload_of, put


class Booking(NamedTuple):
    """What one recipient came to; ``doubtful``: a deferral because the answer was lost."""

    contact: int
    letter: str
    doubtful: bool = False


def open_(world: World, inc: int, job: str, further: tuple[str, ...] = ()) -> tuple[str, int]:
    """``lost``, or ``ok`` and how many are open; what else the script answers is read from the batch."""
    if refused(world, inc):
        return "lost", 0
    jobs = [job]
    for one in () if deaths_of(world, job) else further:
        if deaths_of(world, one):
            break
        jobs.append(one)
    if world.case.max_deaths:
        for one in jobs:
            world.opened = note(world.opened, one, inc)
    return "ok", len(jobs)


def admit(
    world: World, inc: int, job: str, at: int, contacts: Contacts, size: int, *, hopeless: bool
) -> tuple[str, int]:
    if refused(world, inc):
        return "lost", 0
    number = int(job[1])
    if world.cursors[number] != at and not world.lacks("cursor not compared"):
        return "moved", world.cursors[number]
    fresh = "k" if world.halt == "cancelled" else "f" if hopeless else "q"
    mine, delta, opened = [], Counter[str](), 0
    for contact in contacts:
        if world.rows[contact] in ("", "Q"):
            opened += world.rows[contact] == "Q"
            world.rows = put(world.rows, contact, fresh)
            mine.append(contact)
    world.cursors = put(world.cursors, number, at + len(contacts))
    counted = min(len(contacts), world.promised) if number == 0 else 0
    world.promised -= counted
    delta[fresh] += len(mine)
    delta["q"] -= opened
    delta["k" if world.halt == "cancelled" else "q"] -= counted
    world.recipients += len(mine) - opened - counted
    world.book(delta)
    if size and fresh == "q":
        _push_slices(world, mine, size)
    return "ok", len(mine)


def _push_slices(world: World, contacts: Sequence[int], size: int) -> None:
    if not contacts:
        return
    pieces = [contacts[at : at + size] for at in range(0, len(contacts), size)]
    world.side = (*world.side, *(payload_of("S", piece) for piece in pieces))
    if not world.ticket or world.lacks("a ticket for every slice"):
        world.ticket = True
        world.queue = (*world.queue, TICKET)


def lives(world: World, name: str) -> bool:
    """Whether the incarnation that a row names has its lease."""
    return name != FORGOTTEN and world.incs[int(name)].lives


def claim(world: World, inc: int, contacts: Contacts, *, retry: bool) -> tuple[str, list[str]]:
    if refused(world, inc):
        return "lost", []
    if world.halt:
        return world.halt, []
    delta = Counter[str]()
    # What a failover has forgotten is missing, and its job comes back.
    answers = [
        _claim_one(world, inc, contact, delta, retry=retry) if world.rows[contact] else "missing"
        for contact in contacts
    ]
    world.book(delta)
    return "ok", answers


def _claim_one(world: World, inc: int, contact: int, delta: Counter[str], *, retry: bool) -> str:
    row, resend = world.rows[contact], world.case.resend
    letter = row[0].lower()
    if letter == "c" and row[1] != str(inc):
        if lives(world, row[1]) and not world.lacks("BUSY taken for dead"):
            return "busy"
        _doubt(world, contact, really=not lives(world, row[1]))
        if not resend:
            return _become(world, contact, "u" + row[1], delta, "unknown")
    if letter == "u" and not resend:
        return "unknown"
    if letter == "d" and not retry:
        return "deferred"
    if letter in "cu" and row[1:] != str(inc) and not world.lacks("a doubt by taking over"):
        world.doubted = put(world.doubted, contact, _in_doubt(world.doubted[contact], row[1:]))
    if letter in "qdcu" or world.lacks("no ledger"):
        return _become(world, contact, f"c{inc}", delta, "claimed")
    return "settled"


def _in_doubt(doubt: str, inc: str) -> str:
    """The doubt of one who was in that incarnation's hand, or ('') whose answer was lost."""
    return f"?{inc}" if doubt in ("", f"?{inc}") else "?"


def _settled_doubt(world: World, contact: int, inc: int, *, is_lost: bool) -> str:
    """What a doubt comes to by that incarnation's word."""
    doubt = world.doubted[contact]
    if doubt != f"?{inc}" or world.lacks("a doubt ended by a word"):
        return doubt
    return "?" if is_lost else ""


def _write(world: World, contact: int, to: str, doubt: str, delta: Counter[str]) -> None:
    """Write a row; whoever is in doubt and would get no mail any more is unknown."""
    if to in ("f", "k") and doubt and not world.lacks("an earlier hand-over in doubt"):
        to = "u" + doubt[1:]
    elif to in ("s", "f", "k", "u"):
        doubt = ""
    delta[world.rows[contact][0].lower()] -= 1
    delta[to[0]] += 1
    world.rows = put(world.rows, contact, to)
    world.doubted = put(world.doubted, contact, doubt)


def _become(world: World, contact: int, row: str, delta: Counter[str], answer: str) -> str:
    delta[world.rows[contact][0].lower()] -= 1
    delta[row[0]] += 1
    world.rows = put(world.rows, contact, row)
    return answer


def _doubt(world: World, contact: int, *, really: bool = True) -> None:
    """A recipient counts as one who may have the mail: the only ones who may get another."""
    if really:
        world.doubts = put(world.doubts, contact, world.doubts[contact] + 1)


def mark(world: World, inc: int, bookings: Sequence[Booking], job: str = "") -> int:
    """Book what recipients came to, for the incarnation that had them; how many rows that changed."""
    delta, became = Counter[str](), set[tuple[str, str]]()
    changed, reopened, in_hand = 0, list[int](), list[int]()
    for booking in bookings:
        row = world.rows[booking.contact]
        to = _becomes(world, row, inc, booking.letter)
        doubt = _doubt_after(world, inc, booking)
        if to in ("q", "d") and world.halt == "cancelled" and not world.lacks("mark forgets the cancelling"):
            to = "k"
        if to:
            if to == "u" or booking.doubtful:
                _doubt(world, booking.contact)
            new, doubt = _unknown(world, row, inc) if to == "u" else to, "?" if booking.doubtful else doubt
            _write(world, booking.contact, new, doubt, delta)
            became.add((row[0], to))
            changed += 1
            reopened += [booking.contact] if (row[0], to) == ("u", "q") else []
        else:
            in_hand += [booking.contact] if row[:1] == "c" and row[1:] != str(inc) else []
            world.doubted = put(world.doubted, booking.contact, doubt)
    if any(to == "d" for _, to in became):
        put_aside(world, payload_of("R", [one.contact for one in bookings if one.letter == "d"]))
    if in_hand and world.incs[inc].lives and not world.lacks("in another's hand without a small job"):
        put_aside(world, payload_of("S", in_hand))
    if reopened and not world.lacks("released without a small job"):
        put_aside(world, payload_of("S", reopened))
    if changed:
        world.book(delta)
        if job:
            world.deaths = note(world.deaths, job, None)
    return changed


def _doubt_after(world: World, inc: int, booking: Booking) -> str:
    if booking.letter == "s":
        return world.doubted[booking.contact]
    is_lost = booking.doubtful or booking.letter == "u"
    return _settled_doubt(world, booking.contact, inc, is_lost=is_lost)


def _unknown(world: World, row: str, inc: int) -> str:
    """Whose it was is kept only while that incarnation may know better."""
    known_by_itself = row[1] == str(inc) and not world.lacks("unknown ones may turn out never begun")
    return "u" if known_by_itself else "u" + row[1]


def _becomes(world: World, row: str, inc: int, to: str) -> str:
    """The letter that the row gets, or ''."""
    if not row:
        return ""
    letter = row[0].lower()
    held, waits = letter in ("c", "u"), letter in ("q", "d")
    alive = world.incs[inc].lives
    if to == "s":
        return to if held or waits or world.lacks("mark opens what is final") else ""
    if world.lacks("mark opens what is final") and letter in "sfk":
        return to
    if held and (row[1:] == str(inc) or world.lacks("mark does not ask whose row it is")):
        return to if letter != to else ""
    if letter == "c" and alive and not lives(world, row[1]):
        return "u"
    return to if waits and alive and letter != to and to not in ("q", "u") else ""


def replay(world: World, words: Sequence[Word]) -> int:
    """Tell what claims came to, in the order in which that was said; how many that was news of."""
    doubted = {word[:2] for word in words if word[2] in "uc"}
    none, delta, news, reopened = set[int](), Counter[str](), 0, False
    for inc, contact, letter in words:
        if letter == "r" and (inc, contact) in doubted:
            continue
        none |= {contact} if letter == "r" else set()
        row, doubt = world.rows[contact], world.doubted[contact]
        arrived = inc in world.arrivals and not world.lacks("in hand though all is told")
        if letter in ("r", "u"):
            doubt = _settled_doubt(world, contact, inc, is_lost=letter == "u")
        if (letter == "c" and arrived) or not _is_news(world, contact, inc, letter):
            world.doubted = put(world.doubted, contact, doubt)
            continue
        to = ("k" if world.halt == "cancelled" else "q") if letter == "r" else letter
        if to == "u":
            _doubt(world, contact)
        _write(world, contact, f"c{inc}" if to == "c" else to, doubt, delta)
        reopened |= to == "q" and row[0] == "u"
        news += 1
    if reopened and not world.lacks("taken back without a small job"):
        put_aside(world, payload_of("S", list(none)))
    if news:
        world.book(delta)
    return news


def _is_news(world: World, contact: int, inc: int, letter: str) -> bool:
    row = world.rows[contact]
    if not row:
        return False
    held, waits = row[0] in "cu", row[0] in "qdQ"
    if letter == "s":
        return held or waits
    if held and row[1:] == str(inc):
        return letter != "c" and (row[0] == "c" or not world.lacks("taken back from the unknown"))
    if letter == "u" and world.doubted[contact]:
        return False
    return waits and letter != "r"


def arrive(world: World, inc: int) -> None:
    """It has told all, and is registered."""
    world.inc(inc, known="w")
    world.arrivals = tuple(sorted({*world.arrivals, inc}))


def act(world: World, word: str) -> str:
    """An operator's word on the batch."""
    counts = dict(zip(LETTERS, world.counts, strict=True))
    still_open = counts["q"] + counts["c"] + counts["d"]
    if word == "pause":
        if world.halt or not still_open:
            return "nothing"
        world.halt = "paused"
        return "done"
    if word == "resume":
        if world.halt != "paused":
            return "nothing"
        world.halt = ""
    if word == "retry" and (world.halt == "cancelled" or not counts["f"]):
        return "nothing"
    if word == "cancel":
        if world.halt == "cancelled" or not still_open:
            return "nothing"
        world.halt = "cancelled"
        world.book({"q": -world.promised, "k": world.promised})
    world.sweeps = (*world.sweeps, (word, 0))
    return "done"


def sweep(world: World, word: str) -> int:
    cancel = word == "cancel"
    if cancel != (world.halt == "cancelled"):
        return 0
    wanted, fresh = ("qd", "k") if cancel else ("f", "q")
    if world.lacks("cancelled in somebody's hand"):
        wanted += "c"
    delta, opened = Counter[str](), []
    for contact, row in enumerate(world.rows):
        if row and row[0].lower() in wanted:
            _write(world, contact, fresh, world.doubted[contact], delta)
            opened.append(contact)
    if opened and not cancel:
        _push_slices(world, opened, world.case.slice)
    world.book(delta)
    return len(opened)


def resolve(world: World, letter: str) -> int:
    """Open again whom a dead letter's burial failed; its own job will take them along."""
    if world.halt == "cancelled":
        return 0
    contacts = [contact for contact in world.case.contacts_of(letter) if world.rows[contact] == "f"]
    for contact in contacts:
        world.rows = put(world.rows, contact, "Q")
    if contacts:
        world.book({"f": -len(contacts), "q": len(contacts)})
    return len(contacts)


def deaths_of(world: World, job: str) -> int:
    """How many workers in a row died with the job and got nobody settled."""
    return noted(world.deaths, job) or 0
