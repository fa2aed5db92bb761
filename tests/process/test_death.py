"""kill -9 in the middle of a batch: nobody lost, nobody twice, and only open hand-overs are unknown."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from rigs.daemon import Daemon
from rigs.project import Project, address, job, push
from rigs.redis_server import RedisServer
from rigs.sink import HandOver, Sink
from rigs.waiting import wait_until

Daemons = Callable[..., Daemon]
DELAY = 0.05
# Around the kill, commands and answers may be under way that one side has written and the other has not read.
SLACK = 0.1


class Kills:
    """Kills only while a hand-over is open, and counts those open: no more recipients may be unknown."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._kills: list[tuple[float, set[int]]] = []

    def wait_for_hand_over(self) -> int:
        """Wait until a hand-over begins; the port from which it comes."""
        before = len(self._sink.hand_overs())
        wait_until(lambda: len(self._sink.hand_overs()) > before, 20, "no hand-over begins")
        return self._sink.hand_overs()[-1].port

    def note(self, ports: set[int]) -> None:
        """Note that whoever had these ports has been killed just now; no ports mean everybody."""
        self._kills.append((time.monotonic(), ports))

    def open(self) -> int:
        """How many hand-overs were open at the kills: at each, at most one on each connection."""
        hand_overs, counted, total = self._sink.hand_overs(), set[int](), 0
        for moment, ports in self._kills:
            found = {
                one.port: number
                for number, one in enumerate(hand_overs)
                if number not in counted and _was_open(one, moment) and (not ports or one.port in ports)
            }
            counted |= set(found.values())
            total += len(found)
        return total


def _was_open(hand_over: HandOver, moment: float) -> bool:
    answered = hand_over.answered
    return hand_over.begun < moment + SLACK and (answered is None or answered > moment - SLACK)


def check(daemon: Daemon, sink: Sink, batch_id: str, contacts: Sequence[str], most_unknown: int) -> None:
    """The batch comes to its end: 0 lost, 0 twice, unknown never more than were open."""
    batch = daemon.wait_for_batch(batch_id, 60, ("done", "needs_attention"))
    counts, got = batch["counts"], sink.recipients()
    unknown = counts.get("unknown", 0)
    assert batch["recipients"] == sum(counts.values()) == len(contacts)
    assert set(counts) <= {"sent", "unknown"}, counts
    assert [recipient for recipient, times in got.items() if times > 1] == []
    assert counts["sent"] <= len(got), "somebody counts as sent whom the server never saw"
    assert len(contacts) - len(got) <= unknown, "lost: neither mailed nor unknown"
    assert set(got) <= set(map(address, contacts))
    print(f"unknown {unknown} of at most {most_unknown}, {len(got)} mailed of {len(contacts)}")
    assert unknown <= most_unknown


def begin(daemon: Daemon, redis: RedisServer, sink: Sink, project: Project, count: int) -> list[str]:
    """Push a batch of so many contacts, and return once its first mails have come."""
    contacts = [f"user{n}" for n in range(1, count + 1)]
    before = len(sink.mails())
    push(redis, job("mortal", contacts))
    sink.wait_for(before + 5, 10)
    return contacts


def rounds(few: int, many: int) -> pytest.MarkDecorator:
    """A few rounds by default, many in the gate."""
    return pytest.mark.parametrize("rounds", [few, pytest.param(many, marks=pytest.mark.slow)])


@rounds(3, 20)
@pytest.mark.covers("mail-1", "supervisor-12", "queues-1", "queues-36")
def test_kill_a_worker(
    daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project, rounds: int
) -> None:
    """A killed worker's slot is filled within a second, its neighbours stay, its job goes on at once."""
    project.contacts(200 * rounds)
    sink.behave(delay=DELAY)
    daemon = daemons(project.sections(valkey, sink)).start()
    contacts = begin(daemon, valkey, sink, project, 120 * rounds)
    kills = Kills(sink)
    for _ in range(rounds):
        before = pids(daemon)
        victim = daemon.worker_at(kills.wait_for_hand_over())
        ports = daemon.ports(victim)
        victim.kill()
        kills.note(ports)
        wait_until(lambda gone=victim.pid: len(pids(daemon) - {gone}) == 2, 1, daemon.tail)
        assert before - {victim.pid} <= pids(daemon)

    check(daemon, sink, "mortal", contacts, kills.open())
    assert daemon.term() == 0
    assert daemon.survivors() == []


def pids(daemon: Daemon) -> set[int]:
    """The workers' pids."""
    return {worker.pid for worker in daemon.workers()}


@rounds(3, 20)
def test_kill_the_supervisor(
    daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project, rounds: int
) -> None:
    """Without its supervisor the daemon finishes what is in hand and ends with 70; the next life goes on."""
    project.contacts(200 * rounds)
    sink.behave(delay=DELAY)
    daemon = daemons(project.sections(valkey, sink)).start()
    contacts = begin(daemon, valkey, sink, project, 100 * rounds)
    kills = Kills(sink)
    for _ in range(rounds):
        daemon.note_processes()
        kills.wait_for_hand_over()
        daemon.supervisor().kill()
        kills.note(set())
        assert daemon.wait(20) == 70
        assert daemon.survivors() == []
        daemon.start()

    check(daemon, sink, "mortal", contacts, kills.open())
    assert daemon.term() == 0


@rounds(3, 20)
@pytest.mark.covers("supervisor-23")
def test_kill_main(daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project, rounds: int) -> None:
    """After the death of main everything of it is gone within moments; the next life goes on at once."""
    project.contacts(200 * rounds)
    sink.behave(delay=DELAY)
    daemon = daemons(project.sections(valkey, sink)).start()
    contacts = begin(daemon, valkey, sink, project, 100 * rounds)
    kills = Kills(sink)
    for _ in range(rounds):
        kills.wait_for_hand_over()
        daemon.kill_main()
        kills.note(set())
        daemon.wait(5)
        daemon.start()
        assert len(daemon.workers()) == 2

    check(daemon, sink, "mortal", contacts, kills.open())
    assert daemon.term() == 0
    wait_until(lambda: daemon.survivors() == [], 5, lambda: str(daemon.survivors()))


def test_kill_everything_at_once(daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project) -> None:
    """A power cut: all processes die together, and the next life settles what the board tells."""
    project.contacts(200)
    sink.behave(delay=DELAY)
    daemon = daemons(project.sections(valkey, sink)).start()
    contacts = begin(daemon, valkey, sink, project, 150)
    kills = Kills(sink)
    kills.wait_for_hand_over()
    daemon.kill_everything()
    kills.note(set())
    daemon.wait(5)
    daemon.start()

    check(daemon, sink, "mortal", contacts, kills.open())
    assert daemon.term() == 0


def test_unknown_is_resent_where_that_is_wanted(
    daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project
) -> None:
    """With mail.unknown = "resend" nobody stays unknown, and a repeat bears the same Message-ID."""
    project.contacts(200)
    sink.behave(delay=DELAY)
    daemon = daemons(project.sections(valkey, sink, mail={"unknown": "resend"})).start()
    contacts = begin(daemon, valkey, sink, project, 150)
    daemon.worker_at(Kills(sink).wait_for_hand_over()).kill()
    batch = daemon.wait_for_batch("mortal", 30)

    assert batch["counts"] == {"sent": len(contacts)}
    assert set(sink.recipients()) == set(map(address, contacts))
    ids: dict[str, set[str]] = {}
    for mail in sink.mails():
        ids.setdefault(mail.recipient, set()).add(mail.message_id)
    assert Counter(map(len, ids.values())) == {1: len(contacts)}
    assert daemon.term() == 0
