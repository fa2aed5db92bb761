"""
One SMTP connection: opened, secured, logged in; then its socket is ``wire.py``'s, until it says goodbye.

smtplib speaks; this sets the time-out of every phase, verifies certificates and translates smtplib's and the
socket's errors into two: ``RouteDown`` (no usable connection came about) and ``ConnectionCut`` (it ended,
and with it whatever was asked on it). Knows no mail and no policy. Opened by
``relays.py``, spoken on by ``wire.py``.
"""

from __future__ import annotations

import base64
import smtplib
import socket
import ssl
from contextlib import suppress
from functools import lru_cache

from mailerd.config import Smtp
from mailerd.transports.replies import Reply

_QUIT_TIMEOUT = 3.0  # seconds; politeness has its limits
_MORE, _LOGGED_IN = 334, 235  # RFC 4954


class RouteDown(Exception):
    """No connection to the server came about; says where and why."""


class LoginRefused(RouteDown):
    """The server does not take our name and password; each further try may lock the account."""


class ConnectionCut(Exception):
    """The connection ended or makes no sense any more; nothing more can be learnt from it."""


class Connection:
    """
    One connection; ``was_cut``, from our side. ``step``: so long (seconds) a reply may take until it is open.

    Made without touching the network, so that ``cut`` has something to cut from the first moment on.
    """

    def __init__(self, settings: Smtp, tls: ssl.SSLContext, step: float) -> None:
        self._settings = settings
        self._step = step
        self._tls = tls
        self._patience = settings.connect_timeout  # seconds that the phase at hand may take
        self.was_cut = False
        # A second handle on the socket for ``cut``: TLS objects do not bear other threads.
        self._handle: socket.socket | None = None
        self._client = smtplib.SMTP(local_hostname=settings.helo_name or _own_name())

    @property
    def where(self) -> str:
        """The server as people know it."""
        return f"{self._settings.host}:{self._settings.port}"

    def open(self) -> None:
        """Connect, secure and log in. Raises ``RouteDown``, of which ``LoginRefused`` is one."""
        try:
            self._connect()
        except (OSError, UnicodeError, ConnectionCut) as error:
            self.close()
            why = self.why(error)
            raise RouteDown(f"cannot connect to {self.where}: {why}; see smtp.host and smtp.port") from None
        try:
            if self._settings.tls == "implicit":
                self._secure()
            self._within(self._step)
            self._expect(self._read(), "greeting")
            self._hello()
            if self._settings.tls == "starttls":
                self._start_tls()
            if self._settings.username:
                self._log_in()
        except (OSError, smtplib.SMTPException, UnicodeError, ConnectionCut) as error:
            self.close()
            raise RouteDown(f"{self.where}: {self.why(error)}") from None
        except RouteDown:
            self.close()
            raise

    def _ask(self, command: str) -> Reply:
        """Send a command and read its reply. Raises ``ConnectionCut``."""
        try:
            self._client.putcmd(command)
        except (OSError, smtplib.SMTPException) as error:
            raise ConnectionCut(self.why(error)) from None
        return self._read()

    @property
    def pipelining(self) -> bool:
        """Whether the server takes several commands at once (RFC 2920)."""
        return self._client.has_extn("pipelining")

    def patience(self, *, handing_over: bool) -> float:
        """How long the server may take to say something (seconds): to a mail, or to a command."""
        return self._settings.data_timeout if handing_over else self._settings.command_timeout

    def unblocked(self) -> socket.socket:
        """The socket of the open connection, which from now on waits for nothing."""
        self._socket.setblocking(False)
        return self._socket

    def quit(self) -> None:
        """Say goodbye, briefly, and close."""
        with suppress(OSError, smtplib.SMTPException):
            self._within(_QUIT_TIMEOUT)
            self._client.docmd("QUIT")
        self.close()

    def close(self) -> None:
        """Close without a word; any number of times."""
        self._client.close()
        if self._handle is not None:
            self._handle.close()

    def cut(self) -> None:
        """End whatever waits on this connection, from another thread; the waiter still has to close it."""
        self.was_cut = True
        if self._handle is not None:
            with suppress(OSError):  # closed in this very moment
                self._handle.shutdown(socket.SHUT_RDWR)

    @property
    def _socket(self) -> socket.socket:
        if self._client.sock is None:  # smtplib closes it when the server hangs up
            raise ConnectionResetError("the connection is closed")
        return self._client.sock

    def _connect(self) -> None:
        address = (self._settings.host, self._settings.port)
        connected = socket.create_connection(address, self._patience)
        self._client.sock = connected
        # A mail's last packet is a small one: it must not wait for the others' acknowledgement.
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._handle = connected.dup()
        if self.was_cut:
            raise ConnectionCut("told to stop")

    def _secure(self) -> None:
        plain = self._socket
        self._within(self._settings.connect_timeout)
        # A fresh client: what a stranger may have put into the plain stream is not carried over.
        self._client = smtplib.SMTP(local_hostname=self._client.local_hostname)
        self._client.sock = plain
        self._client.sock = self._tls.wrap_socket(plain, server_hostname=self._settings.host)
        self._within(self._step)

    def _hello(self) -> None:
        if not 200 <= self._client.ehlo()[0] < 300:  # noqa: PLR2004 - RFC 5321 4.2.1
            self._expect(reply_of(*self._client.helo()), "HELO")

    def _start_tls(self) -> None:
        if not self._client.has_extn("starttls"):
            raise RouteDown(
                f"{self.where} does not offer STARTTLS; smtp.tls says otherwise "
                '("implicit" for TLS from the start, "none" to send unencrypted)'
            )
        self._expect(self._ask("STARTTLS"), "STARTTLS")
        self._secure()
        self._hello()

    def _log_in(self) -> None:
        offered = self._client.esmtp_features.get("auth", "").upper().split()
        user = self._settings.username
        password = self._settings.password.get_secret_value()
        if "PLAIN" in offered:
            reply = self._ask("AUTH PLAIN " + _base64(f"\0{user}\0{password}"))
        elif "LOGIN" in offered:
            reply = self._ask("AUTH LOGIN")
            for answer in (user, password):
                if reply.code == _MORE:
                    reply = self._ask(_base64(answer))
        else:
            raise RouteDown(
                f"{self.where} offers no login that mailerd knows (AUTH PLAIN, AUTH LOGIN); "
                "leave out smtp.username, or see smtp.tls: many offer it over TLS only"
            )
        if reply.code != _LOGGED_IN:
            raise LoginRefused(
                f"{self.where} refused the login: {reply}; see smtp.username and smtp.password"
            )

    def _expect(self, reply: Reply, what: str) -> None:
        if not reply.positive:
            raise RouteDown(f"{self.where} refused the {what}: {reply}")

    def _read(self) -> Reply:
        try:
            return reply_of(*self._client.getreply())
        except (OSError, smtplib.SMTPException) as error:
            raise ConnectionCut(self.why(error)) from None

    def _within(self, seconds: float) -> None:
        self._patience = seconds
        self._socket.settimeout(seconds)

    def why(self, error: Exception) -> str:
        """An error of the network's, or of smtplib's, in words that help."""
        if isinstance(error, ssl.SSLCertVerificationError):
            words = f"its certificate is not trusted: {error.verify_message}"
            return f"{words}; see smtp.host, or have smtp.ca_file name the authority's certificate"
        if isinstance(error, TimeoutError) or "timed out" in str(error):
            return f"no answer within {self._patience:g} s"
        if isinstance(error, ssl.SSLError) and error.reason == "WRONG_VERSION_NUMBER":
            return 'TLS failed: it speaks none from the start; smtp.tls = "starttls" may be what it wants'
        if isinstance(error, ssl.SSLError):
            return f"TLS failed: {error.reason or error}"
        if isinstance(error, OSError) and error.strerror:
            return error.strerror
        return str(error)


@lru_cache(maxsize=16)  # of a mail's four replies three are always the same
def reply_of(code: int, text: bytes) -> Reply:
    """A reply as it stands on the wire, its lines in one."""
    words = " ".join(text.decode("utf-8", "replace").split())
    return Reply(code, words if words.isprintable() else "".join(filter(str.isprintable, words)))


def _own_name() -> str:
    # smtplib would ask the DNS for it, which can take long. Without a full name: RFC 5321 4.1.3.
    name = socket.gethostname()
    return name if "." in name else "[127.0.0.1]"


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
