"""
What must hold at every moment, and what must hold where nothing more can happen. Pure; called by ``explore``.

Each returns what is wrong, '' when nothing is.
"""

from __future__ import annotations

from collections.abc import Iterator

from chaos.model.rows import lives
from chaos.model.state import LETTERS, OPEN, TICKET, Case, Moment, World

FINAL = "sfk"


def breach(case: Case, moment: Moment) -> str:
    """What is wrong at that moment."""
    world = World(case, moment)
    rows = mails(world) or doubts(world) or coverage(world) or hands(world)
    return conservation(world) or one_ticket(world) or rows


def conservation(world: World) -> str:
    """Counters, rows and promises agree, and the batch counts as finished when nobody is open."""
    counts = dict.fromkeys(LETTERS, 0)
    for row in world.rows:
        if row:
            counts[row[0].lower()] += 1
    counts["k" if world.halt == "cancelled" else "q"] += world.promised
    if tuple(counts.values()) != world.counts:
        return f"the counters {world.counts} are not the rows {world.rows}, promised {world.promised}"
    if sum(world.counts) != world.recipients:
        return f"{world.recipients} accepted, {sum(world.counts)} counted"
    unread = world.case.jobs[0][world.cursors[0] :] if any("J0" in name for name in _lists(world)) else ()
    if world.promised != len(unread) and not world.case.max_deaths:  # a revived job begins again, unpromised
        return f"{world.promised} recipients are promised, {len(unread)} are still to be admitted"
    if world.finished != (not any(counts[letter] for letter in OPEN)):
        return "finished with somebody open" if world.finished else "nobody open and not finished"
    return ""


def one_ticket(world: World) -> str:
    """A ticket goes round exactly while the batch's record says so."""
    tickets = sum(name.count(TICKET) for name in _lists(world))
    if tickets > 1:
        return f"{tickets} tickets of one batch"
    if world.ticket != (tickets == 1):
        return f"{tickets} tickets go round, and the batch's record says otherwise"
    return ""


def mails(world: World) -> str:
    """Nobody is mailed more often than there were doubts, under ``hold`` never twice; the rows tell of it."""
    for contact, mailed in enumerate(world.mailed):
        doubted = world.doubts[contact] if world.case.resend else 0
        if mailed > 1 + doubted:
            return f"{contact} was mailed {mailed} times, doubted {doubted} times"
        letter = world.rows[contact][:1].lower()
        comes_again = letter in ("q", "d") and world.doubted[contact]
        if mailed and letter and letter in "qdfk" and not comes_again:
            return f"{contact} has the mail and counts as {letter}"
        if not mailed and letter == "s":
            return f"{contact} counts as sent and was not mailed"
    return ""


def doubts(world: World) -> str:
    """Nobody becomes unknown by the hand of a worker that lives and has not begun."""
    for contact, row in enumerate(world.rows):
        # Of a host that is gone for good nobody knows.
        told_of = world.boards_lost and world.doubted[contact]
        may_have_it = world.begun[contact] or world.mailed[contact] or told_of
        if row[:1] == "u" and not may_have_it and (len(row) == 1 or lives(world, row[1])):
            return f"{contact} is unknown, its worker lives or has said so, and had not begun"
    return ""


def coverage(world: World) -> str:
    """Everybody who is open is in a job that somebody will come to."""
    covered = set(_covered(world))
    for contact, row in enumerate(world.rows):
        letter = row[:1]
        if letter and letter in "qcQ" and ("", contact) not in covered and ("R", contact) not in covered:
            if world.halt == "cancelled" and letter != "c" and _sweeping(world, "cancel"):
                continue
            return f"{contact} ({row}) is in no job that anybody will come to"
        if letter == "d" and ("R", contact) not in covered:
            if _sweeping(world, "cancel"):
                continue
            return f"{contact} (deferred) is in no small job"
    if world.promised and not any("J0" in name for name in _lists(world)):
        return "the enqueued job is nowhere, and not admitted"
    return ""


def hands(world: World) -> str:
    """Who is in the hand of a living worker is known to it: it settles them before it takes another job."""
    for n, me in enumerate(world.workers):
        idle = me.at == "take" and me.met and world.incs[n].lives
        if idle and f"c{n}" in world.rows:
            return f"{world.rows.index(f'c{n}')} is in the hand of a worker that has forgotten it"
    return ""


def _sweeping(world: World, word: str) -> bool:
    """Whether a sweep of the rows is still to come."""
    return any(one == word and stage < 2 for one, stage in world.sweeps)


def _lists(world: World) -> Iterator[tuple[str, ...]]:
    yield from (world.queue, world.parked, world.aside, world.dead)
    for inc in world.incs:
        yield inc.hand


def _covered(world: World) -> Iterator[tuple[str, int]]:
    """Kind of the job ('R' for a retry's, else '') and contact, of every job that somebody will come to."""
    coming = list(_coming(world))
    for payload in coming:
        yield from _contacts(world, payload)
    if TICKET in coming:
        for payload in world.side:
            yield from _contacts(world, payload)
    for payload in world.dead:
        for contact in world.case.contacts_of(payload):
            if world.rows[contact] == "Q":
                yield "", contact


def _coming(world: World) -> Iterator[str]:
    yield from world.queue
    yield from world.aside
    unparking = any(word in ("resume", "cancel") and stage == 0 for word, stage in world.sweeps)
    if world.halt == "paused" or unparking:
        yield from world.parked
    for number, inc in enumerate(world.incs):
        if inc.known or number < world.case.workers:
            yield from inc.hand


def _contacts(world: World, payload: str) -> Iterator[tuple[str, int]]:
    contacts = world.case.contacts_of(payload)
    if world.case.is_cut(payload):
        whole = len(contacts) <= world.case.rows_in_a_script
        contacts = contacts if whole else contacts[world.cursors[int(payload[1])] :]
    for contact in contacts:
        yield ("R" if payload[0] == "R" else ""), contact


def unfinished(case: Case, moment: Moment) -> str:
    """What is wrong where no more work is to be done: everybody must be settled."""
    world = World(case, moment)
    if world.words and world.words[0] in ("resume", "revive"):
        return ""
    for contact, row in enumerate(world.rows):
        letter = row[:1]
        # Under resend whoever is unknown is sent again, unless the answer to that was no.
        resent = case.resend and world.halt != "cancelled" and not world.doubted[contact]
        if not letter or letter not in (FINAL if resent else FINAL + "u"):
            return f"nothing more will happen, and {contact} is {row or 'not admitted'}"
        if letter == "u" and not world.begun[contact] and not world.boards_lost:
            return f"{contact} stays unknown, and its hand-over had not begun"
    if world.queue or world.parked or world.aside or world.side or world.sweeps:
        return "nothing more will happen, and jobs are left"
    return ""
