"""One SMTP conversation, said and heard as bytes: whose reply each is, and what is never sent."""

from __future__ import annotations

import pytest

from mailerd.message import Message
from mailerd.outcome import Kind, Outcome
from mailerd.transports.connection import ConnectionCut
from mailerd.transports.dialogue import Dialogue, Mail, Stage
from mailerd.transports.replies import ReplyTable

ENVELOPE = b"MAIL FROM:<news@example.com>\r\nRCPT TO:<u%d@example.org>\r\nDATA\r\n"
YES = b"250 ok\r\n250 ok\r\n354 go\r\n"


def mail(index: int, content: bytes = b"x\r\n") -> Mail:
    message = Message("news@example.com", f"u{index}@example.org", content, f"<{index}@x>", "b1")
    return Mail(index, message)


class Talk:
    """A dialogue with a server that a test plays; ``following`` go out behind the first one."""

    def __init__(self, *following: Mail, pipelining: bool = True, begin: bool = True) -> None:
        self.following = list(following)
        self.begun: list[int] = []
        self.outcomes: dict[int, Outcome] = {}
        self.may_begin = begin
        self.dialogue = Dialogue(
            "server", ReplyTable(), self.begin, self.behind, self.answered, pipelining=pipelining
        )

    def begin(self, one: Mail) -> bool:
        self.begun.append(one.index)
        return self.may_begin

    def behind(self) -> Mail | None:
        return self.following.pop(0) if self.following else None

    def answered(self, one: Mail, outcome: Outcome) -> None:
        self.outcomes[one.index] = outcome

    def said(self) -> bytes:
        said = bytes(self.dialogue.out)
        self.dialogue.written(len(said))
        return said

    def kinds(self) -> dict[int, Kind]:
        return {index: outcome.kind for index, outcome in self.outcomes.items()}


def test_an_envelope_is_one_piece_and_the_next_goes_out_with_the_dot() -> None:
    """One round trip a mail; each outcome is its own mail's."""
    talk = Talk(mail(2), mail(3))
    talk.dialogue.start(mail(1))
    assert talk.said() == ENVELOPE % 1
    talk.dialogue.receive(YES)
    assert talk.said() == b"x\r\n.\r\n" + ENVELOPE % 2
    talk.dialogue.receive(b"550 5.7.1 spam\r\n" + YES)
    assert talk.said() == b"x\r\n.\r\n" + ENVELOPE % 3
    talk.dialogue.receive(b"250 ok\r\n" + YES)
    talk.said()
    talk.dialogue.receive(b"452 4.3.1 full\r\n")

    assert talk.kinds() == {1: Kind.FAILED, 2: Kind.SENT, 3: Kind.DEFERRED}
    assert talk.begun == [1, 2, 3]


def test_replies_may_come_in_any_pieces() -> None:
    """Byte by byte, over several lines, it is the same conversation."""
    talk = Talk()
    talk.dialogue.start(mail(1))
    talk.said()
    for byte in b"250-a\r\n250-b\r\n250 c\r\n250\r\n354 go\r\n":
        talk.dialogue.receive(bytes([byte]))
    assert talk.said() == b"x\r\n.\r\n"
    talk.dialogue.receive(b"250-2.0.0 one\r\n250 two\r\n")

    assert talk.outcomes[1].reason == "250 2.0.0 one two"


def test_a_mail_whose_recipient_was_refused_is_never_sent() -> None:
    """Where DATA is let through all the same, a lone dot follows, and the next mail begins with RSET."""
    talk = Talk()
    talk.dialogue.start(mail(1))
    talk.said()
    talk.dialogue.receive(b"250 ok\r\n550 5.1.1 no such user\r\n354 go\r\n")
    assert (talk.said(), talk.begun, talk.outcomes) == (b".\r\n", [], {})
    talk.dialogue.receive(b"554 no valid recipients\r\n")
    assert talk.kinds() == {1: Kind.FAILED}
    assert "no such user" in talk.outcomes[1].reason

    talk.dialogue.start(mail(2))

    assert talk.said() == b"RSET\r\n" + ENVELOPE % 2


def test_a_refused_sender_answers_the_replies_behind_it() -> None:
    """503 to RCPT and DATA of a refused sender is nobody's trouble."""
    talk = Talk()
    talk.dialogue.start(mail(1))
    talk.said()
    talk.dialogue.receive(b"550 5.7.1 not yours\r\n503 need MAIL\r\n503 need RCPT\r\n")

    assert talk.kinds() == {1: Kind.REFUSED}
    assert talk.dialogue.in_hand == []


@pytest.mark.parametrize(
    "replies",
    [
        b"250 extra\r\n250 ok\r\n250 ok\r\n354 go\r\n",  # one too many, before
        b"550 late\r\n250 ok\r\n250 ok\r\n354 go\r\n",  # somebody else's refusal
        b"250 ok\r\n550 late\r\n250 ok\r\n354 go\r\n",
        b"250 ok\r\n250 ok\r\n354 go\r\n250 ok\r\n",  # the verdict before the mail
        b"250 ok\r\n250 ok\r\n250 ok\r\n",
        b"nonsense\r\n",
        b"250-" + b"x" * 40_000,
    ],
)
@pytest.mark.covers("mail-29")
def test_replies_out_of_step_are_nobodys(replies: bytes) -> None:
    """A reply too many, too early or too late ends the conversation; nothing is booked, nothing begun."""
    talk = Talk()
    first = mail(1)
    talk.dialogue.start(first)
    talk.said()

    with pytest.raises(ConnectionCut):
        talk.dialogue.receive(replies)

    assert (talk.outcomes, talk.begun, talk.dialogue.in_hand) == ({}, [], [first])
    assert first.refusal is None


@pytest.mark.covers("mail-29")
def test_a_late_reply_to_nobody_ends_the_conversation() -> None:
    """An idle connection on which the server speaks is not used again."""
    talk = Talk()

    with pytest.raises(ConnectionCut, match="nobody asked"):
        talk.dialogue.receive(b"421 4.4.2 idle for too long\r\n")


@pytest.mark.parametrize("written", ["nothing", "all but the dot", "the dot"])
def test_only_a_mail_whose_dot_may_be_out_is_unknown(written: str) -> None:
    """The stage says whether the server can have taken it; the mail behind it has not begun."""
    talk = Talk(mail(2))
    first = mail(1)
    talk.dialogue.start(first)
    talk.said()
    talk.dialogue.receive(YES)

    talk.dialogue.written({"nothing": 0, "all but the dot": 3, "the dot": 4}[written])

    second = talk.dialogue.in_hand[1]
    assert first.stage is (Stage.DOT if written == "the dot" else Stage.BEGUN)
    assert second.stage is Stage.ENVELOPE


def test_a_mail_that_may_not_begin_leaves_no_trace() -> None:
    """Without a mail to follow there is no way out of DATA but to hang up."""
    talk = Talk(begin=False)
    talk.dialogue.start(mail(1))
    talk.said()

    with pytest.raises(ConnectionCut):
        talk.dialogue.receive(YES)

    assert (talk.kinds(), talk.said()) == ({1: Kind.WITHHELD}, b"")


@pytest.mark.parametrize("tries", [0, 1])
def test_step_by_step_each_command_waits_for_its_reply(tries: int) -> None:
    """Without PIPELINING, and for a mail whose first try was cut off."""
    talk = Talk(mail(2), pipelining=tries > 0)
    one = mail(1)
    one.tries = tries
    talk.dialogue.start(one)
    said = [talk.said()]
    for reply in (b"250 ok\r\n", b"250 ok\r\n"):
        talk.dialogue.receive(reply)
        said.append(talk.said())

    assert b"".join(said) == ENVELOPE % 1
    assert [line.count(b"\r\n") for line in said] == [1, 1, 1]


def test_dots_are_stuffed() -> None:
    """A line that begins with a dot gets another one."""
    talk = Talk()
    talk.dialogue.start(mail(1, b".a\r\n..\r\nb.\r\n.\r\n"))
    talk.said()
    talk.dialogue.receive(YES)

    assert talk.said() == b"..a\r\n...\r\nb.\r\n..\r\n.\r\n"
