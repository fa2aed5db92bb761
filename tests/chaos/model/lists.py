"""
The scripts that move jobs, each named as its file and doing what that does; each returns its script's answer.

A guard that the case lacks is left out: that is how ``planted`` makes its faults. Called by the worker, the
janitor and the adversary; none of them moves a job in another way.
"""

from __future__ import annotations

from chaos.model.names import retire
from chaos.model.state import LETTERS, TICKET, Incarnation, World, note, noted, put, without


def refused(world: World, inc: int) -> bool:
    """Whether a script refuses that incarnation, because its lease has lapsed."""
    return not world.incs[inc].lives and not world.lacks("no fencing")


def register(world: World, number: int) -> None:
    retire(world, number)
    world.incs = put(world.incs, number, Incarnation(lives=True, known="w"))
    world.arrivals = tuple(one for one in world.arrivals if world.incs[one].known)


def renew(world: World, inc: int) -> bool:
    if not world.incs[inc].lives and not world.lacks("a lapsed lease revived"):
        return False
    world.inc(inc, lives=True, known="w")
    return True


def take(world: World, inc: int) -> str:
    """BLMOVE, or the script where that is refused."""
    if not world.queue:
        return ""
    job = world.queue[0]
    world.queue = world.queue[1:]
    world.inc(inc, hand=(*world.incs[inc].hand, job))
    return job


def ack_and_take(world: World, inc: int, done: tuple[str, ...], most: int) -> tuple[str, tuple[str, ...]]:
    """The answer and the jobs in hand."""
    if refused(world, inc):
        return "lost", ()
    for job in world.incs[inc].hand if world.lacks("acked without being done") else done:
        if job in world.incs[inc].hand:
            world.inc(inc, hand=without(world.incs[inc].hand, job))
            forget_job(world, job)
    if not most or (world.incs[inc].hand and not world.lacks("more taken than is in hand")):
        return "ok", world.incs[inc].hand
    before = len(world.incs[inc].hand)
    registered = sum(one.known == "w" for one in world.incs)
    for n in range(max(1, min(most, len(world.queue) // max(1, registered)))):
        if not world.queue or (n and not is_short(world.queue[0])) or not is_short(take(world, inc)):
            break
    return "ok", world.incs[inc].hand[before:]


def is_short(payload: str) -> bool:
    """Whether it may be taken with others: a producer's, which are all short here."""
    return payload[:1] == "J"


def end(world: World, inc: int, job: str) -> str:
    """What every script begins with that ends a claim: the lease and the receipt."""
    if refused(world, inc):
        return "lost"
    hand = world.incs[inc].hand
    if job not in hand:
        return "ok" if world.lacks("no fencing") else "gone"
    world.inc(inc, hand=without(hand, job))
    return "ok"


def forget_job(world: World, job: str) -> None:
    if job[0] == "J":
        world.cursors = put(world.cursors, int(job[1]), 0)
    world.deaths = note(world.deaths, job, None)
    world.opened = note(world.opened, job, None)


def put_aside(world: World, payload: str) -> None:
    world.aside = tuple(sorted((*world.aside, payload)))


def finish(world: World, inc: int, job: str, rest: str) -> str:
    if (answer := end(world, inc, job)) == "ok":
        forget_job(world, job)
        if rest and not world.lacks("busy ones forgotten"):
            put_aside(world, rest)
    return answer


def give_back(world: World, inc: int, job: str) -> str:
    if (answer := end(world, inc, job)) == "ok":
        world.queue = (job, *world.queue)
        world.deaths = note(world.deaths, job, None)
        world.opened = note(world.opened, job, None)
    return answer


def park(world: World, inc: int, job: str) -> str:
    if (answer := end(world, inc, job)) == "ok":
        if world.halt == "paused" or world.lacks("parked without a second look"):
            world.parked = (job, *world.parked)
        else:
            world.queue = (job, *world.queue)
        world.deaths = note(world.deaths, job, None)
        world.opened = note(world.opened, job, None)
    return answer


def bury(world: World, inc: int, job: str) -> str:
    if (answer := end(world, inc, job)) == "ok":
        world.dead = (*world.dead, job)
        forget_job(world, job)
    return answer


def draw(world: World, inc: int) -> tuple[str, str]:
    """The answer and the slice."""
    if (answer := end(world, inc, TICKET)) != "ok":
        return answer, ""
    if world.halt == "paused":
        world.parked = (TICKET, *world.parked)
        return "empty", ""
    in_hand = world.counts[LETTERS.index("c")]
    if world.halt == "cancelled" and not in_hand:
        world.side = ()
    piece = world.side[0] if world.side else ""
    if piece:
        world.side = world.side[1:]
        world.inc(inc, hand=(*world.incs[inc].hand, piece))
    if world.side:
        world.queue = (*world.queue, TICKET)
    elif not world.lacks("the ticket's flag kept"):
        world.ticket = False
    return ("ok", piece) if piece else ("empty", "")


def leave(world: World, inc: int) -> bool:
    world.inc(inc, lives=False)
    if world.incs[inc].hand:
        return False
    world.inc(inc, known="" if world.lacks("no linger") else "g")
    return True


def reap(world: World, inc: int, *, counted: str) -> int:
    """
    ``counted``: as the job's fault (``died``), only if it had opened it (``unseen``), or not (``no``).

    That a job which has killed too many is buried here is not modelled: no case lets so many die.
    """
    if world.incs[inc].lives:
        return -1
    hand = world.incs[inc].hand
    for job in hand:
        if world.case.max_deaths and job != TICKET:
            _count_death(world, inc, job, counted, alone=len(hand) == 1)
        world.queue = (job, *world.queue)
    world.inc(inc, hand=(), known="" if world.lacks("no linger") else "g")
    return len(hand)


def _count_death(world: World, inc: int, job: str, counted: str, *, alone: bool) -> None:
    opened = noted(world.opened, job) == inc
    if counted == "no":
        if alone or opened:
            world.deaths = note(world.deaths, job, None)
    elif opened or (alone and counted == "died"):
        world.deaths = note(world.deaths, job, (noted(world.deaths, job) or 0) + 1)


def promote(world: World, payload: str) -> None:
    world.aside = without(world.aside, payload)
    world.queue = (*world.queue, payload)


def unpark(world: World) -> int:
    if world.halt == "paused":
        return 0
    unparked = len(world.parked)
    world.queue = (*reversed(world.parked), *world.queue)
    world.parked = ()
    return unparked


def revive(world: World, letter: str) -> None:
    world.dead = without(world.dead, letter)
    world.queue = (*world.queue, letter)
