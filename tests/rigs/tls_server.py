"""A mail server that takes nothing without TLS and the right password."""

from __future__ import annotations

import ssl

import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from rigs.ports import free_port


class TlsServer:
    """Runs in a thread from ``start`` to ``stop``; ``recipients`` of the mails that it took."""

    password = "open-sesame"

    def __init__(self) -> None:
        self.recipients: list[str] = []
        self._authority = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert("127.0.0.1").configure_cert(context)
        self.port = free_port()
        self._controller = Controller(
            self,
            hostname="127.0.0.1",
            port=self.port,
            tls_context=context,
            require_starttls=True,
            auth_required=True,
            authenticator=self._knows,
        )
        self.start, self.stop = self._controller.start, self._controller.stop

    @property
    def authority(self) -> str:
        """The certificate of whoever vouches for it."""
        return self._authority.cert_pem.bytes().decode()

    def _knows(self, *said: object) -> AuthResult:
        password: bytes = said[-1].password  # type: ignore[attr-defined]
        return AuthResult(success=password.decode() == self.password, handled=False)

    async def handle_DATA(self, _: SMTP, __: Session, envelope: Envelope) -> str:  # noqa: N802 # aiosmtpd's name
        """See aiosmtpd."""
        self.recipients += envelope.rcpt_tos
        return "250 OK"
