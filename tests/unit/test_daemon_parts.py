"""The daemon's small parts: the fork and the line between main and the supervisor."""

from __future__ import annotations

import os
import signal
import threading
from signal import Signals

import pytest

from mailerd.config import Config
from mailerd.daemon import forking, signals
from mailerd.daemon.channel import Channel
from mailerd.errors import MailerdError
from mailerd.work.worker import LONGEST_STEP, longest_hand_over


@pytest.mark.covers("supervisor-1", "supervisor-24")
@pytest.mark.parametrize("forker", ["main thread", "other thread"])
def test_nobody_forks_beside_another_thread(forker: str) -> None:
    """Neither with a second thread about, whose locks would stay held, nor from one that ends sooner."""
    faults: list[MailerdError] = []
    over = threading.Event()

    def fork() -> None:
        try:
            forking.fork(lambda: 0)
        except MailerdError as fault:
            faults.append(fault)

    thread = threading.Thread(target=over.wait if forker == "main thread" else fork)
    thread.start()
    if forker == "main thread":
        fork()
    over.set()
    thread.join()

    assert "refusing to fork" in str(faults[0])


@pytest.mark.covers("supervisor-6")
def test_a_signal_that_comes_in_its_own_handler_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """However fast the same signal comes, handlers do not pile up; each that waits is heard in its turn."""
    inbox, write = signals.Inbox(), os.write

    def write_and_be_told_again(descriptor: int, content: bytes) -> int:
        signal.raise_signal(Signals.SIGTERM)
        return write(descriptor, content)

    before = signal.signal(Signals.SIGTERM, inbox.record)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", write_and_be_told_again)
            signal.raise_signal(Signals.SIGTERM)
            for _ in range(3):
                assert inbox.take() == [Signals.SIGTERM]
        assert inbox.take() == [Signals.SIGTERM]
        assert inbox.take() == [Signals.SIGTERM]
        assert inbox.take() == []
    finally:
        signal.signal(Signals.SIGTERM, before)
    assert Signals.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    inbox.close()


@pytest.mark.covers("supervisor-19")
@pytest.mark.timeout(5)
def test_a_full_line_holds_nobody_up() -> None:
    """Whoever sends to one that does not read goes on at once, and nothing is lost or out of order."""
    one, other = Channel.pair()
    for number in range(5000):
        one.send((number, "x" * 200))
    assert one.unsent

    heard: list[tuple[int, str]] = []
    while one.unsent:
        heard += other.receive()
        one.flush()
    heard += other.receive()

    assert [number for number, _ in heard] == list(range(5000))
    one.close()
    other.close()


@pytest.mark.covers("supervisor-14")
def test_a_hand_over_may_take_as_long_as_its_own_time_outs_let_it() -> None:
    """Twice up to DATA, then the mail, its dot and the verdict, then a look whether the server is there."""
    smtp = {"host": "mail.example", "connect_timeout": 7, "command_timeout": 1000, "data_timeout": 20_000}
    config = Config.model_validate({"mail": {"transport": "smtp", "from": "a@example.com"}, "smtp": smtp})

    opening = 2 * 7 + 7 * 1000  # connect, greeting, EHLO, STARTTLS, TLS, EHLO, AUTH LOGIN in three steps
    until_data = opening + 4 * 1000  # RSET, MAIL, RCPT, DATA

    assert LONGEST_STEP + longest_hand_over(config) > 2 * until_data + 3 * 20_000 + opening


def test_a_request_to_ses_may_take_as_long_as_its_own_time_outs_let_it() -> None:
    """To connect to one of several addresses, to write, and to wait for the answer."""
    ses = {"connect_timeout": 100, "read_timeout": 1000}
    mail = {"transport": "ses", "from": "a@example.com"}

    assert longest_hand_over(Config.model_validate({"mail": mail, "ses": ses})) > 2 * 100 + 1000
    assert longest_hand_over(Config.model_validate({"mail": mail})) > 0
