"""
One connection's conversation: what is to be said next, and whose mail each reply belongs to.

Pure: bytes in, bytes out; knows no socket, no time and no other connection. With PIPELINING (RFC 2920) an
envelope goes out as one piece, and the next one together with the final dot of the mail before; otherwise,
and for a mail whose first try was cut off, each command waits for its reply. Each reply is the oldest due
one's; what cannot be that ends the conversation (``ConnectionCut``). Used by
``smtp_session.py``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum

from mailerd.message import Message
from mailerd.outcome import Kind, Outcome
from mailerd.transports.connection import ConnectionCut, reply_of
from mailerd.transports.replies import TRY_ELSEWHERE, At, Reply, ReplyTable, accepted, reason

ABORTED = Outcome(Kind.WITHHELD, "not handed over: told to stop before that")
_GO_AHEAD, _CLOSING = 354, 421
_LONGEST_REPLY = 32 * 1024


class Stage(IntEnum):
    """How far a hand-over got."""

    ENVELOPE = 1  # the server has not taken the sender
    RECIPIENT = 2  # it is asked about the recipient
    DATA = 3  # it has taken the recipient; nothing was asked of the caller yet
    BEGUN = 4  # ``begin`` said yes; the final dot is not sent
    DOT = 5  # the final dot is sent, or may be; from here on only the reply can tell


class Step(IntEnum):
    """What a reply is due for."""

    RESET = 1
    SENDER = 2
    RECIPIENT = 3
    DATA = 4
    MAIL = 5
    NOTHING = 6  # a lone dot, where DATA was let through after the recipient was refused


@dataclass(slots=True, eq=False)
class Mail:
    """A mail on its way. ``tries`` ended before it had begun; ``refusal`` waits for the replies behind it."""

    index: int
    message: Message
    stage: Stage = Stage.ENVELOPE
    tries: int = 0
    refusal: Outcome | None = None


class Dialogue:
    """
    The conversation; ``out`` is what is to be written, ``mails`` counts those that were tried.

    ``begin`` is asked right before a content goes out, ``behind`` for the mail to go out with its dot,
    ``answered`` is told each outcome.
    """

    def __init__(
        self,
        where: str,
        table: ReplyTable,
        begin: Callable[[Mail], bool],
        behind: Callable[[], Mail | None],
        answered: Callable[[Mail, Outcome], None],
        *,
        pipelining: bool,
    ) -> None:
        self.mails = 0
        self.heard = 0  # replies
        self.out = bytearray()
        self.in_hand: list[Mail] = []
        self._where = where
        self._table = table
        self._begin, self._behind, self._answered = begin, behind, answered
        self._pipelining = pipelining
        self._dirty = False  # reset it first
        self._due: deque[tuple[Step, Mail]] = deque()
        self._then: list[Step] = []  # step by step: what follows
        self._unread = bytearray()
        self._to_dot = 0  # bytes to be written until the dot is out
        self._hears = {
            Step.RESET: self._reset,
            Step.SENDER: self._sender,
            Step.RECIPIENT: self._recipient,
            Step.DATA: self._data,
            Step.MAIL: self._verdict,
            Step.NOTHING: self._nothing,
        }

    @property
    def handing_over(self) -> bool:
        """Whether a content goes out, or its reply is the next one due."""
        return bool(self._to_dot) or (bool(self._due) and self._due[0][0] is Step.MAIL)

    def start(self, mail: Mail) -> None:
        """Say a mail's envelope, or the first line of it."""
        steps = [Step.SENDER, Step.RECIPIENT, Step.DATA]
        if self._dirty:
            steps.insert(0, Step.RESET)
        self.mails += 1
        self.in_hand.append(mail)
        self._dirty = True
        mail.stage, mail.refusal = Stage.ENVELOPE, None
        self._then = steps
        if self._pipelining and not mail.tries:
            while self._then:
                self._go_on(mail)
        else:
            self._go_on(mail)

    def written(self, count: int) -> None:
        """So many bytes of ``out`` are with the system."""
        del self.out[:count]
        if self._to_dot:
            self._to_dot -= min(count, self._to_dot)
            if not self._to_dot:
                next(mail for step, mail in self._due if step is Step.MAIL).stage = Stage.DOT

    def receive(self, data: bytes) -> None:
        """Hear what the server says. Raises ``ConnectionCut``."""
        self._unread += data
        while (reply := self._next_reply()) is not None:
            if not self._due:
                raise ConnectionCut(f"it said what nobody asked for: {reply}")
            self.heard += 1
            step, mail = self._due.popleft()
            self._hears[step](mail, reply)
        if len(self._unread) > _LONGEST_REPLY:
            raise ConnectionCut("a reply without an end")

    def _next_reply(self) -> Reply | None:
        texts, start = [], 0
        while (end := self._unread.find(b"\n", start)) >= 0:
            line, start = self._unread[start:end], end + 1
            texts.append(bytes(line[4:]))
            if line[3:4] != b"-":
                del self._unread[:start]
                return reply_of(int(line[:3]) if line[:3].isdigit() else -1, b"\n".join(texts))
        return None

    def _go_on(self, mail: Mail) -> None:
        """Say the next line of an envelope."""
        step = self._then.pop(0)
        if step is Step.RESET:
            line = "RSET"
        elif step is Step.SENDER:
            line = f"MAIL FROM:<{mail.message.sender}>"
        else:
            line = "DATA" if step is Step.DATA else f"RCPT TO:<{mail.message.recipient}>"
        self._say(step, mail, f"{line}\r\n".encode("ascii"))

    def _say(self, step: Step, mail: Mail, line: bytes) -> None:
        self.out += line
        self._due.append((step, mail))

    def _reset(self, mail: Mail, reply: Reply) -> None:
        if not reply.positive:
            raise ConnectionCut(f"RSET was refused: {reply}")
        self._taken(mail, Stage.ENVELOPE)

    def _sender(self, mail: Mail, reply: Reply) -> None:
        if reply.positive:
            self._taken(mail, Stage.RECIPIENT)
            return
        no = self._table.refused(_usable(mail, reply), mail.message, At.SENDER)
        what = f"{self._where} refused the sender: {no.reason}; see mail.from and mail.envelope_from"
        self._refused(mail, replace(no, reason=what))

    def _recipient(self, mail: Mail, reply: Reply) -> None:
        if mail.refusal is not None:
            return  # of a mail whose sender was refused
        if reply.positive:
            self._taken(mail, Stage.DATA)
        else:
            self._refused(mail, self._no(mail, reply))

    def _taken(self, mail: Mail, stage: Stage) -> None:
        mail.stage = stage
        if self._then and not self._due:
            self._go_on(mail)

    def _refused(self, mail: Mail, outcome: Outcome) -> None:
        mail.refusal, self._then = outcome, []
        if not self._due:
            self._finish(mail, outcome)

    def _data(self, mail: Mail, reply: Reply) -> None:
        if mail.refusal is not None:
            self._data_after_refusal(mail, mail.refusal, reply)
        elif reply.code == _GO_AHEAD:
            self._go_ahead(mail)
        else:
            self._finish(mail, self._no(mail, reply))

    def _data_after_refusal(self, mail: Mail, refusal: Outcome, reply: Reply) -> None:
        if reply.code == _GO_AHEAD and mail.stage is Stage.RECIPIENT:
            self._say(Step.NOTHING, mail, b".\r\n")  # RFC 2920, 3.1: nobody is there to get it
        elif reply.negative:
            self._finish(mail, refusal)
            if reply.code == _CLOSING:
                raise ConnectionCut(str(reply))
        else:
            # No server says yes to this: what was taken for a refusal may have been another one's reply.
            mail.refusal = None
            raise ConnectionCut(f"its replies are out of step: {reply}")

    def _go_ahead(self, mail: Mail) -> None:
        if self._unread:
            raise ConnectionCut("it answers before it has heard the mail")
        if not self._begin(mail):
            self._finish(mail, ABORTED)
            raise ConnectionCut("nothing follows")  # there is no other way out of DATA
        mail.stage = Stage.BEGUN
        content = mail.message.content
        if b"\r\n." in content:  # seldom, and looking takes a tenth of replacing
            content = content.replace(b"\r\n.", b"\r\n..")
        if content.startswith(b"."):
            self.out += b"."
        self.out += content
        self._to_dot = len(self.out) + 1
        self._dirty = False  # the dot ends it
        self._say(Step.MAIL, mail, b".\r\n")
        if self._pipelining and (behind := self._behind()) is not None:
            self.start(behind)

    def _verdict(self, mail: Mail, reply: Reply) -> None:
        if reply.positive:
            self._finish(mail, accepted(reply, mail.message))
        elif reply.negative:
            self._finish(mail, self._table.refused(reply, mail.message, At.MAIL))
        else:
            raise ConnectionCut(f"no SMTP reply: {reply}")
        if reply.code in TRY_ELSEWHERE:
            raise ConnectionCut(reason(reply, mail.message))

    def _nothing(self, mail: Mail, reply: Reply) -> None:
        self._finish(mail, mail.refusal or ABORTED)
        if reply.code == _CLOSING:
            raise ConnectionCut(str(reply))

    def _no(self, mail: Mail, reply: Reply) -> Outcome:
        return self._table.refused(_usable(mail, reply), mail.message, At.RECIPIENT)

    def _finish(self, mail: Mail, outcome: Outcome) -> None:
        self.in_hand.remove(mail)
        self._answered(mail, outcome)


def _usable(mail: Mail, reply: Reply) -> Reply:
    if reply.code in TRY_ELSEWHERE:
        raise ConnectionCut(reason(reply, mail.message))
    if not reply.negative:
        raise ConnectionCut(f"no SMTP reply: {reason(reply, mail.message)}")
    return reply
