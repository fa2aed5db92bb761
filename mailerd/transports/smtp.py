"""
The transport ``smtp``: one kept connection per session, one mail after the other.

Decides what a mail's conversation came to, above all where it broke off: before the final dot was sent the
mail was certainly not delivered; after it, without an answer, nobody knows. Opened by ``open_transport``.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from enum import IntEnum

from mailerd.clock import Clock
from mailerd.config import Smtp
from mailerd.message import Message
from mailerd.outcome import Kind, Outcome
from mailerd.transports.connection import Connection, ConnectionCut, LoginRefused, RouteDown
from mailerd.transports.relays import Relay, Relays
from mailerd.transports.replies import TRY_ELSEWHERE, At, Reply, ReplyTable, accepted, reason
from mailerd.transports.session import Begin, Session
from mailerd.transports.threads import Threads

log = logging.getLogger(__name__)

_GO_AHEAD = 354
_OUT_OF_ORDER = frozenset({Kind.BLOCKED, Kind.REFUSED})
_ABORTED = Outcome(Kind.WITHHELD, "not handed over: told to stop before that")


def _elsewhere(why: str) -> Outcome:
    """Nobody's attempt, and no trouble of the route's as long as another relay takes mail."""
    return Outcome(Kind.WITHHELD, f"not handed over, goes to another relay: {why}")


class Stage(IntEnum):
    """How far a hand-over got."""

    ENVELOPE = 1  # nothing was asked of the caller yet
    RECIPIENT = 2  # the same, but the server has been told the recipient
    BEGUN = 3  # ``begin`` said yes; the final dot is not sent
    DOT = 4  # the final dot is sent; from here on only the reply can tell


class SmtpTransport:
    """One server, or several. Raises ``ConfigurationError`` where a ``ca_file`` holds no certificates."""

    name = "smtp"

    def __init__(self, settings: Smtp, clock: Clock) -> None:
        self._settings = settings
        self._relays = Relays(settings, clock)
        self._table = ReplyTable(settings.replies)
        self._suspects: set[str] = set()

    def session(self, connections: int) -> Session:
        """See ``Transport``."""
        return Threads([self.conversation() for _ in range(connections)])

    def conversation(self) -> SmtpConversation:
        """One thread's conversation."""
        return SmtpConversation(
            self._settings.mails_per_connection, self._relays, self._table, self._suspects
        )

    def troubles(self) -> dict[str, str]:
        """See ``Transport``."""
        return self._relays.troubles()

    def trouble(self) -> str:
        """See ``Transport``: mails go out as long as one server lets us in."""
        troubles = [relay.trouble() for relay in self._relays.all]
        return "; ".join(troubles) if all(troubles) else ""


class SmtpConversation:
    """
    One thread's conversation with the server.

    ``longest``: so many mails on one connection. ``suspects``: the mails, by Message-ID, at whose recipient
    the server ended the connection, twice, in an earlier try; shared by all sessions of the transport.
    """

    def __init__(self, longest: int, relays: Relays, table: ReplyTable, suspects: set[str]) -> None:
        self._longest = longest
        self._relays = relays
        self._relay = relays.all[0]
        self._table = table
        self._suspects = suspects
        self._connection: Connection | None = None
        self._aborted = False

    def deliver(self, message: Message, begin: Begin) -> Outcome:
        """
        See ``Conversation``.

        A connection that ends before ``begin`` was asked, such as a kept one that the server gave up, is
        replaced once, and once for each further relay.
        """
        for _ in range(1 + len(self._relays.all)):
            outcome, cut_at = self._attempt(message, begin)
            if cut_at is None:
                return outcome
        return self._suspected(message, outcome) if cut_at is Stage.RECIPIENT else outcome

    def close(self) -> None:
        """See ``Conversation``."""
        if self._connection is not None:
            self._connection.quit()
            self._connection = None

    def abort(self) -> None:
        """See ``Conversation``."""
        self._aborted = True
        connection = self._connection
        if connection is not None:
            connection.cut()

    def _suspected(self, message: Message, outcome: Outcome) -> Outcome:
        # The first time it may be the route; the next time it is this recipient, who must not block it.
        if message.message_id not in self._suspects:
            self._suspects.add(message.message_id)
            return outcome
        self._suspects.discard(message.message_id)
        return Outcome(Kind.DEFERRED, f"the server hangs up at this recipient: {outcome.reason}")

    def _attempt(self, message: Message, begin: Begin) -> tuple[Outcome, Stage | None]:
        """The outcome, and where it ended if so early that a new connection may do better."""
        try:
            connection = self._connected()
        except RouteDown as error:
            return self._down(error), None
        relay, hand_over = self._relay, HandOver(connection, message, self._table)
        try:
            outcome = hand_over.run(begin)
        except ConnectionCut as cut:
            self._drop()
            why = f"{connection.where}: {cut}"
            early = hand_over.stage < Stage.BEGUN and not self._aborted
            if early and connection.mails == 1:
                self._relays.failed(relay, Kind.BLOCKED, why)
            return self._after_cut(hand_over.stage, why), hand_over.stage if early else None
        if hand_over.closing:
            self._drop()
        return self._answered(relay, hand_over.stage, outcome)

    def _answered(self, relay: Relay, stage: Stage, outcome: Outcome) -> tuple[Outcome, Stage | None]:
        if outcome.kind is Kind.SENT:
            self._relays.worked(relay)
        if outcome.kind not in _OUT_OF_ORDER:
            return outcome, None
        self._relays.failed(relay, outcome.kind, outcome.reason)
        if not self._relays.have_other_than(relay):
            return outcome, None
        self.close()
        # ``begin`` holds for one try: whoever has begun is tried again by whoever hands mails to us.
        begun = stage >= Stage.BEGUN
        return (_elsewhere(outcome.reason), None) if begun else (outcome, stage)

    def _after_cut(self, stage: Stage, why: str) -> Outcome:
        if stage is Stage.DOT:
            return Outcome(Kind.UNKNOWN, f"handed over, and the answer is lost: {why}")
        if self._aborted:
            return _ABORTED
        if stage < Stage.BEGUN:
            return Outcome(Kind.BLOCKED, why)
        # ``begin`` holds for one try. A server that still takes connections may have cut this one because of
        # this mail: the recipient waits and the others go on. One that does not is a route out of order.
        relay = self._relay
        try:
            self._connected()
        except RouteDown as error:
            return self._down(error)
        if self._relay is not relay:
            return _elsewhere(why)
        return Outcome(Kind.DEFERRED, f"cut off before the mail was complete: {why}")

    def _down(self, error: RouteDown) -> Outcome:
        kind = Kind.REFUSED if isinstance(error, LoginRefused) else Kind.BLOCKED
        return _ABORTED if self._aborted else Outcome(kind, str(error))

    def _connected(self) -> Connection:
        if self._aborted:
            raise RouteDown("told to stop")
        kept = self._connection
        if kept and kept.mails < self._longest and not self._relays.have_better_than(self._relay):
            return kept
        self.close()
        try:
            self._relay, connection = self._relays.open(self._announced)
        except RouteDown:
            self._connection = None
            raise
        log.debug("connected to %s", connection.where, extra={"event": "smtp.connected"})
        return connection

    def _announced(self, connection: Connection) -> None:
        self._connection = connection  # before it opens, so that ``abort`` finds it
        if self._aborted:
            connection.cut()

    def _drop(self) -> None:
        # Never used again: a late answer on it would be taken for the next mail's.
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class HandOver:
    """One mail's conversation. ``stage`` tells how far it got; ``closing``, that the server ends it there."""

    def __init__(self, connection: Connection, message: Message, table: ReplyTable) -> None:
        self.stage = Stage.ENVELOPE
        self.closing = False
        self._connection = connection
        self._message = message
        self._table = table

    def run(self, begin: Begin) -> Outcome:
        """Envelope, ``begin``, mail. Raises ``ConnectionCut``."""
        no = self._envelope()
        if no is not None:
            return no
        if not begin():
            return _ABORTED
        self.stage = Stage.BEGUN
        go_ahead = self._connection.ask("DATA")
        if go_ahead.code != _GO_AHEAD:
            return self._refused(go_ahead)
        return self._mail()

    def _envelope(self) -> Outcome | None:
        connection = self._connection
        if connection.dirty and not connection.ask("RSET").positive:
            raise ConnectionCut("RSET was refused")
        connection.dirty = True
        connection.mails += 1
        sender = connection.ask(f"MAIL FROM:<{self._message.sender}>")
        if not sender.positive:
            no = self._table.refused(self._usable(sender), self._message, At.SENDER)
            what = f"{connection.where} refused the sender: {no.reason}; see mail.from and mail.envelope_from"
            return replace(no, reason=what)
        self.stage = Stage.RECIPIENT
        recipient = connection.ask(f"RCPT TO:<{self._message.recipient}>")
        return None if recipient.positive else self._refused(recipient)

    def _mail(self) -> Outcome:
        content = self._message.content
        if b"\r\n." in content:  # seldom, and looking takes a tenth of replacing
            content = content.replace(b"\r\n.", b"\r\n..")
        self._connection.send(b"." + content if content.startswith(b".") else content)
        # By itself: as long as it is not written, the server cannot have taken the mail.
        self._connection.send(b".\r\n")
        self.stage = Stage.DOT
        reply = self._connection.verdict()
        self.closing = reply.code in TRY_ELSEWHERE
        self._connection.dirty = False
        if reply.positive:
            return accepted(reply, self._message)
        if not reply.negative:
            raise ConnectionCut(f"no SMTP reply: {reply}")
        return self._table.refused(reply, self._message, At.MAIL)

    def _refused(self, reply: Reply) -> Outcome:
        return self._table.refused(self._usable(reply), self._message, At.RECIPIENT)

    def _usable(self, reply: Reply) -> Reply:
        if reply.code in TRY_ELSEWHERE:
            raise ConnectionCut(reason(reply, self._message))
        if not reply.negative:
            raise ConnectionCut(f"no SMTP reply: {reason(reply, self._message)}")
        return reply
