"""
The verdict, pure: what producers were told, what the ledger says, what the mail server saw.

Nobody lost, nobody twice, and nobody in doubt but those whose hand-over was cut.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from chaos.jobs import address, known
from chaos.stage import Kill, Pause
from rigs.sink import HandOver, Mail


@dataclass(frozen=True)
class Evidence:
    """Everything that a run leaves; ``ledger``: contact to state; ``hand_overs`` by their number."""

    accepted: Mapping[str, AbstractSet[str]]
    tried: Mapping[str, AbstractSet[str]]
    cancelled: AbstractSet[str]
    ledger: Mapping[str, Mapping[str, str]]
    mails: Sequence[Mail]
    hand_overs: Sequence[HandOver]
    kills: Sequence[Kill]
    resend: bool
    pauses: Sequence[Pause] = ()  # where "resend" sends again though the answer may still come
    lost: Mapping[str, int] = field(default_factory=dict)  # how often the ledger took an answer for lost
    again: Mapping[str, int] = field(default_factory=dict)  # how often a hand-over was due again for that
    ended: AbstractSet[str] = frozenset()  # unknown, and not sent again since a later try came to no
    brpop: bool = False  # a job may be gone between pop and record


@dataclass
class Verdict:
    """What came out; ``breaches`` empty is what must be."""

    breaches: list[str] = field(default_factory=list)
    states: Counter[str] = field(default_factory=Counter)
    accepted: int = 0
    mailed: int = 0
    repeats: int = 0
    again: int = 0  # how often somebody was due again for a lost answer
    cut_off: int = 0
    unknown: int = 0  # marked so; whom it is sent again, too
    not_begun: int = 0  # of these, where DATA had not begun
    popped: int = 0  # recipients of jobs that fetch = "brpop" may lose


def judge(evidence: Evidence) -> Verdict:
    """Reconcile it all."""
    verdict = Verdict(accepted=sum(map(len, evidence.accepted.values())))
    got: dict[str, list[Mail]] = defaultdict(list)
    for mail in evidence.mails:
        got[mail.recipient].append(mail)
    lost = _cut_off(evidence.hand_overs, evidence.kills)
    cut = _by_recipient(evidence.hand_overs, lost)
    excused = _by_recipient(evidence.hand_overs, lost | _held_up(evidence.hand_overs, evidence.pauses))
    verdict.mailed, verdict.cut_off = len(got), sum(cut.values())
    begun = {one.recipient for one in evidence.hand_overs}
    for batch_id, contacts in evidence.tried.items():
        _judge_batch(verdict, evidence, batch_id, contacts, got, (cut, excused))
        _count_unknown(verdict, evidence, batch_id, contacts, begun)
    if verdict.unknown > verdict.cut_off:
        verdict.breaches.append(f"{verdict.unknown} marked unknown, {verdict.cut_off} hand-overs were cut")
    strangers = set(got) - {address(each) for contacts in evidence.tried.values() for each in contacts}
    _report(verdict, "mailed without any job", strangers)
    return verdict


def _judge_batch(
    verdict: Verdict,
    evidence: Evidence,
    batch_id: str,
    contacts: AbstractSet[str],
    got: Mapping[str, Sequence[Mail]],
    cuts: tuple[Mapping[str, int], Mapping[str, int]],
) -> None:
    rows = evidence.ledger.get(batch_id, {})
    verdict.states.update(rows.values())
    missing = evidence.accepted.get(batch_id, set()) - set(rows)
    if evidence.brpop:
        waiting = {contact for contact, state in rows.items() if state in ("queued", "deferred")}
        verdict.popped += len(missing | waiting)
    else:
        _report(verdict, f"lost: {batch_id} has no row for", missing)
    _report(verdict, f"{batch_id} has rows for strangers", set(rows) - contacts)
    wrong: dict[str, set[str]] = defaultdict(set)
    for contact, state in rows.items():
        mails = got.get(address(contact), ())
        cut, excused = (counts.get(address(contact), 0) for counts in cuts)
        for what in _wrongs(contact, state, mails, (cut, excused), evidence):
            wrong[what].add(contact)
        if state == "cancelled" and batch_id not in evidence.cancelled:
            wrong["cancelled by nobody"].add(contact)
        excused_from_again = batch_id in evidence.cancelled or contact in evidence.ended
        if state == "unknown" and evidence.resend and not excused_from_again:
            wrong["unknown, and not sent again"].add(contact)
        verdict.repeats += max(0, len(mails) - 1)
        verdict.again += evidence.again.get(contact, 0)
    for what, who in wrong.items():
        _report(verdict, f"{batch_id}: {what}", who)


def _wrongs(
    contact: str, state: str, mails: Sequence[Mail], cuts: tuple[int, int], evidence: Evidence
) -> Iterable[str]:
    cut, excused = cuts
    if state == "sending" or (state in ("queued", "deferred") and not evidence.brpop):
        yield f"lost: still {state} and nothing moves"
    yield from _wrong_repeats(contact, mails, cuts, evidence)
    if state == "sent" and not mails:
        yield "sent, and the mail server never saw it"
    waits = evidence.brpop and evidence.resend and state in ("queued", "deferred")
    if mails and state not in ("sent", "unknown") and not (waits and excused):
        yield f"mailed, and the ledger says {state}"
    if state == "unknown" and not cut:
        yield "unknown, and no hand-over of it was cut"
    if state == "invalid" and known(contact):
        yield "invalid, and the database has it"


def _wrong_repeats(
    contact: str, mails: Sequence[Mail], cuts: tuple[int, int], evidence: Evidence
) -> Iterable[str]:
    cut, excused = cuts
    again, lost = evidence.again.get(contact, 0), evidence.lost.get(contact, 0)
    if len(mails) > 1 and not evidence.resend:
        yield "mailed twice"
    if len(mails) > 1 + excused:
        yield f"mailed {len(mails)} times, and {excused} hand-overs were cut"
    if evidence.resend and len(mails) > 1 + again:
        yield f"mailed {len(mails)} times, and it was due again {again} times"
    if lost > cut:
        yield f"{lost} answers taken for lost, and {cut} hand-overs were cut"
    if len({mail.message_id for mail in mails}) > 1:
        yield "mailed twice with different Message-IDs"


def _count_unknown(
    verdict: Verdict, evidence: Evidence, batch_id: str, contacts: AbstractSet[str], begun: AbstractSet[str]
) -> None:
    rows = evidence.ledger.get(batch_id, {})
    marked = {each: evidence.lost.get(each, 0) or int(rows.get(each) == "unknown") for each in contacts}
    verdict.unknown += sum(marked.values())
    early = {each for each, times in marked.items() if times and address(each) not in begun}
    verdict.not_begun += len(early)
    _report(verdict, f"{batch_id}: unknown, and DATA had not begun", early)


def _cut_off(hand_overs: Sequence[HandOver], kills: Sequence[Kill]) -> set[int]:
    """
    The hand-overs that got no answer, and those whose answer a killed worker had not noted.

    It had begun them by then, since it notes each after the server has let it begin: so of several of one
    recipient it is the last one before the kill, by the order in which the server itself met them.
    """
    lost = {number for number, one in enumerate(hand_overs) if one.answered is None}
    of: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, one in enumerate(hand_overs):
        of[one.helo, one.recipient].append(number)
    for kill in kills:
        for recipient in kill.recipients:
            before = [number for number in of[kill.helo, recipient] if hand_overs[number].begun <= kill.at]
            lost |= set(before[-1:])
    return lost


def _held_up(hand_overs: Sequence[HandOver], pauses: Sequence[Pause]) -> set[int]:
    """The hand-overs that were under way while their lease may have lapsed."""
    return {
        number
        for number, one in enumerate(hand_overs)
        for pause in pauses
        if one.begun < pause.ended and (one.answered or pause.ended) > pause.begun
    }


def _by_recipient(hand_overs: Sequence[HandOver], numbers: AbstractSet[int]) -> Counter[str]:
    return Counter(hand_overs[number].recipient for number in numbers)


def _report(verdict: Verdict, what: str, who: AbstractSet[str]) -> None:
    if who:
        some = ", ".join(sorted(who)[:3])
        verdict.breaches.append(f"{what}: {len(who)} ({some}{', …' if len(who) > 3 else ''})")
