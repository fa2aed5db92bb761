"""The judge is judged: what a run's evidence must come to, and what the append-only file tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from chaos import journal, schedule
from chaos.jobs import address
from chaos.stage import Kill
from chaos.verdict import Evidence, judge
from rigs.sink import HandOver, Mail

BATCH, ROWS = b"{email_queue}:batch:c0/b1", b"{email_queue}:rows:c0/b1:3"


def mail(contact: str, message_id: str = "<1@x>") -> Mail:
    return Mail(1, "a@b", (address(contact),), f"Message-ID: {message_id}\r\n\r\n".encode(), 0.0)


def evidence(
    states: Mapping[str, str], mails: list[Mail], hand_overs: list[HandOver], **more: object
) -> Evidence:
    contacts = {"b1": {"u1", "u2"}}
    given = {"kills": (), "resend": False, **more}
    return Evidence(contacts, contacts, set(), {"b1": states}, mails, hand_overs, **given)  # type: ignore[arg-type] # mixed


def handed(contact: str, *, answered: bool = True) -> HandOver:
    return HandOver(address(contact), 1, 1.0, "host0.test", 2.0 if answered else None)


def test_everybody_sent_once_is_no_breach() -> None:
    """The plain good end."""
    verdict = judge(
        evidence({"u1": "sent", "u2": "sent"}, [mail("u1"), mail("u2")], [handed("u1"), handed("u2")])
    )
    assert (verdict.breaches, verdict.mailed, verdict.unknown) == ([], 2, 0)


def test_who_is_nowhere_is_lost_unless_brpop_may_have_lost_the_job() -> None:
    """No row, or open for ever: lost; the fetch that promises less is asked for no more than it promises."""
    open_ones = evidence({"u1": "queued"}, [], [])
    assert len(judge(open_ones).breaches) == 2
    exempt = judge(evidence({"u1": "queued"}, [], [], brpop=True))
    assert (exempt.breaches, exempt.popped) == ([], 2)
    assert judge(evidence({"u1": "sending"}, [], [], brpop=True)).breaches != []


def test_unknown_needs_a_hand_over_that_was_cut() -> None:
    """Answered, or never begun: neither can be unknown."""
    cut = evidence(
        {"u1": "unknown", "u2": "sent"}, [mail("u2")], [handed("u1", answered=False), handed("u2")]
    )
    assert (judge(cut).breaches, judge(cut).unknown) == ([], 1)
    for hand_overs in ([handed("u2")], [handed("u1"), handed("u2")]):
        verdict = judge(evidence({"u1": "unknown", "u2": "sent"}, [mail("u2")], hand_overs))
        assert len(verdict.breaches) > 1
        assert verdict.not_begun == 2 - len(hand_overs)


def test_an_answered_hand_over_is_cut_only_by_a_kill_before_its_answer_was_noted() -> None:
    """By the board at the kill, however long before the server had answered; the last one before it."""
    states, mails = {"u1": "unknown", "u2": "sent"}, [mail("u1"), mail("u2")]
    answered = [handed("u1"), handed("u2")]
    kill = Kill("host0.test", 900.0, frozenset({address("u1")}))
    assert judge(evidence(states, mails, answered, kills=[kill])).breaches == []
    for other in (
        replace(kill, recipients=frozenset()),
        replace(kill, helo="host1.test"),
        replace(kill, at=0.5),
    ):
        assert judge(evidence(states, mails, answered, kills=[other])).breaches != []


def test_a_repeat_needs_a_mark_and_the_same_message_id() -> None:
    """Under resend: one more mail for each time that it was due again, under the same Message-ID."""
    twice = [handed("u1", answered=False), handed("u1"), handed("u2")]
    states = {"u1": "sent", "u2": "sent"}
    marked = {"resend": True, "lost": {"u1": 1}, "again": {"u1": 1}}
    assert judge(evidence(states, [mail("u1"), mail("u1"), mail("u2")], twice, **marked)).breaches == []
    for mails, more in (
        ([mail("u1"), mail("u1"), mail("u2")], {"resend": True}),
        ([mail("u1"), mail("u1", "<2@x>"), mail("u2")], marked),
        ([mail("u1"), mail("u1"), mail("u2")], {"resend": False}),
    ):
        assert len(judge(evidence(states, mails, twice, **more)).breaches) == 1


def test_under_resend_nobody_stays_unknown_without_a_later_no() -> None:
    """Who can be sent again is; the mail of who cannot be is never denied."""
    hand_overs = [handed("u1", answered=False), handed("u2")]
    more = {"resend": True, "lost": {"u1": 1}, "again": {"u1": 1}}
    unknown = {"u1": "unknown", "u2": "sent"}
    mails = [mail("u1"), mail("u2")]
    assert judge(evidence(unknown, mails, hand_overs, ended={"u1"}, **more)).breaches == []
    assert len(judge(evidence(unknown, mails, hand_overs, **more)).breaches) == 1
    for state in ("cancelled", "failed", "expired"):
        verdict = judge(evidence({"u1": state, "u2": "sent"}, mails, hand_overs, **more))
        assert any(f"the ledger says {state}" in breach for breach in verdict.breaches)


def test_the_append_only_file_tells_who_was_marked(tmp_path: Path) -> None:
    """Unknown, deferred because of it (both: one answer), or taken over from a dead one; no other change."""
    commands = [
        [b"SELECT", b"0"],
        [b"HSET", ROWS, b"u1", b"q", b"u2", b"q"],
        [b"HSET", BATCH, b"why:450 later", b"1", b"why:sent again, as mail.unknown says: lost", b"2"],
        [b"HSET", ROWS, b"u1", b"c1,7,0,"],
        [b"HSET", ROWS, b"u1", b"d1,1,1,1"],
        [b"HSET", ROWS, b"u1", b"c2,7,1,1"],
        [b"HSET", ROWS, b"u1", b"d2,2,2,1"],
        [b"HSET", ROWS, b"u1", b"u3,,2,1"],
        [b"HSET", BATCH, b":u3", b"c1,7,0,", b"created", b"c1,8"],
        [b"HSET", BATCH, b":u3", b"c3,8,0,"],
        [b"HSET", BATCH, b":u3", b"u4,8,0,"],
        [b"HSET", BATCH, b":u3", b"s5"],
        [b"HSET", BATCH, b":u4", b"c6,7,0,"],
        [b"HSET", BATCH, b":u4", b"d7,2,1,7?"],
        [b"HSET", BATCH, b":u4", b"c8,8,1,7?"],
        [b"HSET", BATCH, b":u4", b"u9,,1,7?"],
        [b"HSET", BATCH, b":u5", b"d7,2,1,7?"],
        [b"HSET", BATCH, b":u5", b"c8,8,1,7?"],
        [b"HSET", BATCH, b":u5", b"u8,,1,7"],
    ]
    file = tmp_path / "appendonlydir" / "appendonly.aof.1.incr.aof"
    file.parent.mkdir()
    with file.open("wb") as stream:
        for command in commands:
            stream.write(b"*%d\r\n" % len(command))
            stream.writelines(b"$%d\r\n%s\r\n" % (len(word), word) for word in command)

    told = journal.marks(journal.commands(tmp_path))

    assert +told.lost == {"u1": 1, "u3": 1, "u4": 1, "u5": 1}
    assert +told.again == {"u1": 1, "u3": 2, "u4": 1, "u5": 2}
    assert told.ended == {"u4"}


def test_the_same_seed_plays_the_same_faults_and_all_kinds_soon() -> None:
    """Pure: two runs agree, another seed differs, and 150 rounds bring every kind."""
    names = schedule.played(sentinels=False)

    def first(seed: int) -> list[schedule.Round]:
        return [faults for faults, _ in zip(schedule.rounds(seed, names), range(150), strict=False)]

    assert first(1) == first(1) != first(2)
    assert {fault.name for faults in first(1) for fault in faults} == set(names)
