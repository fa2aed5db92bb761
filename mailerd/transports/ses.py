"""
The transport ``ses``: raw mails through the API of Amazon SES v2, one request each.

Decides what a request came to, above all where it broke off: as long as the last of it was not given to the
connection SES cannot have taken the mail; after that, without an answer, nobody knows. Opened by
``open_transport``. SES writes a Message-ID of its own into every mail; what ties its events to our recipients
are the tags ``batch``, ``contact`` and ``client``.
"""

from __future__ import annotations

import base64
import hashlib
import io
import logging
import re
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from enum import IntEnum

from mailerd.clock import Clock, leave_signals_to_the_main_thread
from mailerd.config import Ses
from mailerd.message import Message
from mailerd.outcome import Allowance, Kind, Outcome
from mailerd.transports.ses_answers import Refusal, refused
from mailerd.transports.ses_client import Account, NoAnswer, SesClient, SesRefused, Withheld
from mailerd.transports.session import Begin, Session
from mailerd.transports.threads import Threads

log = logging.getLogger(__name__)

_ABORTED = Outcome(Kind.WITHHELD, "not handed over: told to stop before that")
_PLAIN_TAG = re.compile(r"(?!__)[A-Za-z0-9_-]{1,256}")
_LONGEST_TAG = 256


class Stage(IntEnum):
    """How far a hand-over got."""

    PREPARED = 1  # nothing was asked of the caller yet
    BEGUN = 2  # ``begin`` said yes; there is no connection
    CONNECTED = 3  # a part of the request may be on its way
    COMPLETE = 4  # all of it; from here on only the answer can tell


class SesTransport:
    """One account in one region. Raises ``ConfigurationError`` where AWS's settings cannot be used."""

    name = "ses"

    def __init__(self, settings: Ses, connections: int, clock: Clock) -> None:
        self._client = SesClient(settings, connections, clock)
        # Each request has a thread of its own beside the conversation's, which can leave it when told to
        # stop: boto3 has no way to end one.
        self._threads = ThreadPoolExecutor(connections, "ses", initializer=leave_signals_to_the_main_thread)

    def session(self, connections: int) -> Session:
        """See ``Transport``."""
        return Threads([self.conversation() for _ in range(connections)])

    def conversation(self) -> SesConversation:
        """One thread's way to SES."""
        return SesConversation(self)

    def troubles(self) -> dict[str, str]:
        """See ``Transport``."""
        return {}

    def trouble(self) -> str:
        """See ``Transport``; asks SES how it stands with the account."""
        account = self.account()
        if isinstance(account, str):
            return account
        return f"{self.where}: {account.trouble}" if account.trouble else ""

    @property
    def where(self) -> str:
        """The server as people know it."""
        return self._client.where

    def account(self) -> Account | str:
        """What SES says about the account, or why it says nothing."""
        try:
            return self._client.account()
        except NoAnswer as fault:
            return str(fault)
        except SesRefused as fault:
            return f"{self.where} refused us: {fault}"

    def allowance(self) -> Allowance | None:
        """What SES grants the account; None where it does not say."""
        account = self.account()
        if isinstance(account, str):
            log.warning(
                "SES does not say what it grants us; only [limits] hold: %s",
                account,
                extra={"event": "ses.mute"},
            )
            return None
        return Allowance(account.rate, max(0, int(account.day)), int(account.sent))

    def start(self, message: Message, hand_over: HandOver) -> Future[Outcome]:
        """Hand a mail over in a thread of its own; ``hand_over`` is told when it is over."""
        answer = self._threads.submit(self._hand_over, message, hand_over)
        answer.add_done_callback(lambda _: hand_over.over.set())
        return answer

    def _hand_over(self, message: Message, hand_over: HandOver) -> Outcome:
        try:
            given = self._client.send(message, tags_of(message), hand_over.begin)
        except Withheld:
            return _ABORTED
        except NoAnswer as fault:
            return hand_over.cut_off(str(fault))
        except SesRefused as fault:
            return self._refused(fault.refusal, message, hand_over)
        return Outcome(Kind.SENT, f"taken by Amazon SES as {given}", given)

    def _refused(self, refusal: Refusal, message: Message, hand_over: HandOver) -> Outcome:
        if hand_over.stage is Stage.PREPARED:
            # Nothing went to SES: it was whoever gives us credentials.
            return Outcome(Kind.REFUSED, f"no credentials for Amazon SES: {refusal}")
        return refused(refusal, message)


class SesConversation:
    """One thread's way to SES; the connections belong to all of them together."""

    def __init__(self, transport: SesTransport) -> None:
        self._transport = transport
        self._hand_over: HandOver | None = None
        self._aborted = False

    def deliver(self, message: Message, begin: Begin) -> Outcome:
        """See ``Conversation``."""
        hand_over = HandOver(begin)
        self._hand_over = hand_over  # before anything begins, so that ``abort`` finds it
        if self._aborted:
            return _ABORTED
        answer = self._transport.start(message, hand_over)
        hand_over.over.wait()
        return answer.result() if answer.done() else hand_over.cut_off("told to stop before SES answered")

    def close(self) -> None:
        """See ``Conversation``; kept connections need no goodbye, and the others may be using theirs."""

    def abort(self) -> None:
        """See ``Conversation``."""
        self._aborted = True
        if self._hand_over is not None:
            self._hand_over.abandon()


class HandOver:
    """
    One mail's way out, between the conversation's thread and the one that talks to SES.

    ``stage`` tells how far it got; ``over``, that there is an answer or it was abandoned, and then it gets no
    further.
    """

    def __init__(self, begin: Begin) -> None:
        self.stage = Stage.PREPARED
        self.over = threading.Event()
        self._ask = begin
        self._abandoned = False
        self._lock = threading.Lock()
        self._body = io.BytesIO()

    def begin(self, body: bytes) -> HandOver:
        """Called with the request that is about to go out; gives what the connection reads instead."""
        with self._lock:
            if self._abandoned or not self._ask():
                raise Withheld
            self.stage = Stage.BEGUN
            self._body = io.BytesIO(body)
        return self

    def read(self, size: int) -> bytes:
        """Called by the connection, once it stands, for the next piece of the request."""
        with self._lock:
            if self._abandoned and self.stage is not Stage.COMPLETE:
                raise Withheld
            piece = self._body.read(size)
            complete = self._body.tell() == len(self._body.getbuffer())
            self.stage = Stage.COMPLETE if complete else Stage.CONNECTED
            return piece

    def abandon(self) -> None:
        """Leave it; from any thread."""
        with self._lock:
            self._abandoned = True
        self.over.set()

    def cut_off(self, why: str) -> Outcome:
        """The outcome without an answer."""
        if self.stage is Stage.COMPLETE:
            return Outcome(Kind.UNKNOWN, f"handed over, and the answer is lost: {why}")
        if self._abandoned:
            return _ABORTED
        if self.stage is Stage.CONNECTED:
            # It may be because of this mail: it waits, and the others go on.
            return Outcome(Kind.DEFERRED, f"cut off before the mail was complete: {why}")
        return Outcome(Kind.BLOCKED, why)


def tags_of(message: Message) -> dict[str, str]:
    """What SES shall report with each event about this mail."""
    ids = {"batch": message.batch_id, "contact": message.contact_id, "client": message.client_id}
    return {name: tag_value(text) for name, text in ids.items()}


def tag_value(text: str) -> str:
    """
    ``text`` as the value of a tag, for which SES takes A-Z a-z 0-9 _ - only, up to 256 of them.

    What fits, and does not begin with ``__``, stays as it is. Anything else becomes ``__`` and its base64url
    (UTF-8, without padding), or, where that is too long, ``__sha256-`` and its SHA-256 in hex.
    """
    if _PLAIN_TAG.fullmatch(text):
        return text
    encoded = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
    if len(encoded) > _LONGEST_TAG - 2:
        return f"__sha256-{hashlib.sha256(text.encode()).hexdigest()}"
    return f"__{encoded}"
