"""
A worker's steps, one command or one write to its board each, in the order of ``work`` and ``delivery``.

``STEPS`` maps where a worker is to what it does next: the world is changed and the step's words are returned,
'' when it waits. Those of a group are ``hand_over``'s. Called by ``moves`` alone.
"""

from __future__ import annotations

from collections.abc import Callable

from chaos.model import hand_over, lists, rows
from chaos.model.hand_over import RELEASED
from chaos.model.names import bury_process
from chaos.model.rows import Booking
from chaos.model.state import TICKET, World, payload_of

Step = Callable[[World, int], str]


def register(world: World, n: int) -> str:
    lists.register(world, n)
    world.worker(n, at="take", sure=True, more=True)
    return "register"


def take(world: World, n: int) -> str:
    """Look into the own hand and take the next job, in one write."""
    if world.case.most_in_hand > 1:
        return _take_several(world, n)
    me, held = world.workers[n], world.incs[n].hand
    if me.stop:
        world.worker(n, at="leave")
        return "hears its stop"
    if not me.sure:
        return renew(world, n)
    if held and me.more and not world.lacks("client-side retries"):
        return _got(world, n, held[0])
    moved = lists.take(world, n)
    if not held and not moved:
        return ""
    world.worker(n, more=bool(held))
    return _got(world, n, held[0] if held and not world.lacks("client-side retries") else moved)


def _take_several(world: World, n: int) -> str:
    """Ack what is done and take several short jobs, in one script."""
    me = world.workers[n]
    if me.stop and not me.done:
        world.worker(n, at="leave")
        return "hears its stop"
    if not me.sure:
        return renew(world, n)
    answer, jobs = lists.ack_and_take(world, n, me.done, 0 if me.stop else world.case.most_in_hand)
    if answer == "lost":
        return _lost(world, n, "ack_and_take")
    world.worker(n, done=())
    if me.stop or not jobs:
        return f"ack: {me.done}" if me.done else ""
    world.worker(n, others=jobs[1:])
    return _got(world, n, jobs[0])


def _got(world: World, n: int, job: str) -> str:
    if not job:
        return ""
    world.worker(
        n, at="draw" if job == TICKET else "open", job=job, cursor=0, added=False, busy=(), old=False
    )
    return f"take: {job}"


def renew(world: World, n: int) -> str:
    alive = lists.renew(world, n)
    at = world.workers[n].at
    world.worker(n, sure=alive, at="rejoin" if at == "take" and not alive else at)
    return f"renew: {'it lives' if alive else 'it has lapsed'}"


def draw(world: World, n: int) -> str:
    if world.workers[n].stop:
        return _to(world, n, "give_back", "hears its stop")
    answer, piece = lists.draw(world, n)
    if answer == "lost":
        return _lost(world, n, "draw")
    if piece:
        world.worker(n, at="open", job=piece)
    else:
        _free(world, n)
    return f"draw: {piece or answer}"


def open_(world: World, n: int) -> str:
    me, case = world.workers[n], world.case
    if me.stop:
        return _to(world, n, "give_back", "hears its stop")
    together = _together(world, n)
    answer, jobs = rows.open_(world, n, me.job, together)
    if answer == "lost":
        return _lost(world, n, "open")
    bunch = together[: jobs - 1]
    deaths = rows.deaths_of(world, me.job)
    poison = bool(case.max_deaths) and deaths >= case.max_deaths
    world.worker(n, halted=world.halt, poison=poison, bunch=bunch, others=me.others[len(bunch) :])
    words = f"open {' '.join(bunch)}: {world.halt or 'ok'}{', poison' if poison else ''}"
    if deaths and me.done:
        return _to(world, n, "settle", words)
    return _opened(world, n, words)


def _opened(world: World, n: int, words: str) -> str:
    me = world.workers[n]
    if me.halted == "paused":
        world.worker(n, at="park")
    elif me.job[0] == "J":
        world.worker(n, at="admit")
    else:
        _deliver(world, n)
    return words


def _together(world: World, n: int) -> tuple[str, ...]:
    """The jobs behind the one in hand that are worked off with it: a slice in all."""
    me, case = world.workers[n], world.case
    recipients, taken = len(case.contacts_of(me.job)), 0
    for one in me.others if me.job[0] == "J" else ():
        recipients += len(case.contacts_of(one))
        if recipients > case.slice or one[0] != "J":
            break
        taken += 1
    return me.others[:taken]


def settle(world: World, n: int) -> str:
    """Ack what is done before a job during which somebody has died is worked off."""
    answer, _ = lists.ack_and_take(world, n, world.workers[n].done, 0)
    if answer == "lost":
        return _lost(world, n, "ack_and_take")
    world.worker(n, done=())
    return _opened(world, n, "ack what is done")


def admit(world: World, n: int) -> str:
    """Admit the whole job, or the next piece of one that is cut."""
    me, case = world.workers[n], world.case
    contacts, cut = case.contacts_of(me.job), case.is_cut(me.job)
    if cut and me.stop:
        return _to(world, n, "give_back", "hears its stop")
    piece = contacts[me.cursor : me.cursor + case.rows_in_a_script] if cut else contacts
    hopeless = cut and me.poison and me.halted != "cancelled"
    size = case.slice if cut else 0
    answer, number = rows.admit(world, n, me.job, me.cursor, piece, size, hopeless=hopeless)
    if answer == "lost":
        return _lost(world, n, "admit")
    cursor = number if answer == "moved" else me.cursor + len(piece)
    added = me.added or (answer == "ok" and number > 0)
    for one in me.bunch:
        rows.admit(world, n, one, 0, case.contacts_of(one), 0, hopeless=False)
    world.worker(n, cursor=cursor, added=added)
    if not cut:
        _deliver(world, n)
    elif cursor >= len(contacts):
        if hopeless:
            world.worker(n, at="give_up")
        elif not added and len(contacts) <= case.rows_in_a_script:
            _deliver(world, n)
        else:
            world.worker(n, at="finish")
    return f"admit {piece}: {answer}, {number}"


def _deliver(world: World, n: int) -> None:
    me = world.workers[n]
    if me.halted == "cancelled":
        world.worker(n, at="close")
    elif me.poison:
        world.worker(n, at="give_up")
    else:
        world.worker(n, at="group", rest=_everybody(world, n))


def _everybody(world: World, n: int) -> tuple[int, ...]:
    me = world.workers[n]
    return world.case.contacts_of_all((me.job, *me.bunch))


def close(world: World, n: int) -> str:
    """End a job of a cancelled batch: whom a dead worker had in hand becomes unknown here."""
    contacts = _everybody(world, n)
    rows.mark(world, n, [Booking(one, RELEASED) for one in contacts])
    world.worker(n, busy=())
    return _to(world, n, "finish", f"mark {contacts}: withheld, since cancelled")


def give_up(world: World, n: int) -> str:
    contacts = _everybody(world, n)
    rows.mark(world, n, [Booking(one, "f") for one in contacts])
    return _to(world, n, "bury", f"mark {contacts}: failed, since poison")


def finish(world: World, n: int) -> str:
    me = world.workers[n]
    if me.old:  # what was booked meanwhile may be forgotten
        return give_back(world, n)
    rest = payload_of("S", me.busy)
    if world.case.most_in_hand == 1:
        return _ended(world, n, "finish", lists.finish(world, n, me.job, rest))
    if rest:
        answer = lists.finish(world, n, me.job, rest)
        if answer == "lost":
            return _lost(world, n, "finish")
    done = me.bunch if rest else (me.job, *me.bunch)
    world.worker(n, done=(*me.done, *done), bunch=())
    _free(world, n)
    return f"done: {' '.join(done)}"


def give_back(world: World, n: int) -> str:
    return _ended(world, n, "give_back", lists.give_back(world, n, world.workers[n].job))


def park(world: World, n: int) -> str:
    return _ended(world, n, "park", lists.park(world, n, world.workers[n].job))


def bury(world: World, n: int) -> str:
    if world.workers[n].old:
        return give_back(world, n)
    return _ended(world, n, "bury", lists.bury(world, n, world.workers[n].job))


def rejoin(world: World, n: int) -> str:
    """Return what the lost incarnation held; then become another one."""
    lists.reap(world, n, counted="no")
    world.worker(n, bunch=(), others=(), done=())
    _free(world, n)
    return _to(world, n, "register", "reap: its own lost incarnation")


def leave(world: World, n: int) -> str:
    lists.leave(world, n)
    bury_process(world, n, board=True)
    return "leave; another process takes its place"


def _to(world: World, n: int, at: str, words: str) -> str:
    world.worker(n, at=at)
    return words


def _lost(world: World, n: int, words: str) -> str:
    return _to(world, n, "rejoin", f"{words}: lost")


def _ended(world: World, n: int, words: str, answer: str) -> str:
    if answer == "lost":
        return _lost(world, n, words)
    me = world.workers[n]
    if me.bunch:
        world.worker(n, job=me.bunch[0], bunch=me.bunch[1:])
    else:
        _free(world, n)
    return f"{words} {me.job}: {answer}"


def _free(world: World, n: int) -> None:
    world.worker(
        n, at="take", job="", halted="", poison=False, cursor=0, added=False, rest=(), busy=(), group=()
    )
    if others := world.workers[n].others:
        world.worker(n, others=others[1:])
        _got(world, n, others[0])


STEPS: dict[str, Step] = {
    "register": register,
    "take": take,
    "draw": draw,
    "open": open_,
    "settle": settle,
    "admit": admit,
    "group": hand_over.group,
    "claim": hand_over.claim,
    "note": hand_over.note_late,
    "release": hand_over.release,
    "mark": hand_over.mark,
    "clear": hand_over.clear,
    "close": close,
    "give_up": give_up,
    "finish": finish,
    "give_back": give_back,
    "park": park,
    "bury": bury,
    "rejoin": rejoin,
    "leave": leave,
}
# Steps that are a write to the own board and nothing else.
ON_THE_BOARD = frozenset({"group", "note", "clear"})
# Steps that are one script, repeated until its answer is heard.
REPEATED = frozenset(STEPS) - ON_THE_BOARD - {"register", "leave"}
