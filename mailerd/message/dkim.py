"""
Signs mails (DKIM: RFC 6376, RFC 8463), with every key that belongs to the domain of the From.

The room of cryptography, which is imported only where a key is configured. Both canonicalisations are
``relaxed``; the body is hashed once, whatever the number of keys. Every header it signs it names once more
than it occurs, so that nobody on the way can add a second From or Subject. Called by ``composer.py``; the
keys are read at start by ``work``.
"""

from __future__ import annotations

import base64
import hashlib
import textwrap
from collections.abc import Callable
from dataclasses import dataclass

from mailerd.config import Dkim, Mail
from mailerd.errors import ConfigurationError, Problem

_SIGNED = frozenset(
    b"from to subject date message-id reply-to mime-version content-type content-transfer-encoding"
    b" auto-submitted feedback-id list-id list-unsubscribe list-unsubscribe-post".split()
)
_LEAST_BITS = 1024  # RFC 8301: with less nobody accepts a signature
_LINE = 72
# SES signs by itself, and writes Date and Message-ID anew, which would break a signature of ours.
_TRANSPORTS = frozenset({"smtp", "outbox"})

Sign = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class _Key:
    """One key as configured, its algorithm, and how it signs."""

    settings: Dkim
    algorithm: str
    sign: Sign

    @property
    def opening(self) -> str:
        """How the header of its signatures begins."""
        where = f"d={self.settings.domain};\r\n s={self.settings.selector};"
        return f"v=1; a={self.algorithm}; c=relaxed/relaxed; {where}"


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs with each of its keys; with none it writes nothing."""

    keys: tuple[_Key, ...] = ()

    @classmethod
    def of(cls, mail: Mail) -> Signer:
        """
        The signer with every key of ``mail.dkim``.

        Raises ``ConfigurationError`` that names each key that cannot be used.
        """
        keys, problems = [], []
        for number, each in enumerate(mail.dkim if mail.transport in _TRANSPORTS else ()):
            try:
                keys.append(_Key(each, *_loaded(_pem(each))))
            except ValueError as error:
                problems.append(Problem(f"mail.dkim.{number}", str(error)))
        if problems:
            raise ConfigurationError(problems)
        return cls(tuple(keys))

    def on_behalf_of(self, address: str) -> Signer:
        """The signer with those keys only that are for mail from this address."""
        return Signer(tuple(key for key in self.keys if key.settings.covers(address)))

    def signatures(self, head: bytes, body: bytes, now: float) -> bytes:
        """The headers to put before ``head``, one for each key, with their line ends."""
        if not self.keys:
            return b""
        names, canonical = _canonical_headers(head)
        digest = base64.b64encode(hashlib.sha256(_canonical_body(body)).digest()).decode()
        signed = f" t={int(now)};\r\n h={names};\r\n bh={digest};\r\n b="
        return b"".join([_signature(key, key.opening + signed, canonical) for key in self.keys])


def _signature(key: _Key, unsigned: str, canonical: bytes) -> bytes:
    itself = b"dkim-signature:" + " ".join(unsigned.split()).encode()
    encoded = base64.b64encode(key.sign(canonical + itself)).decode()
    lines = "\r\n ".join(textwrap.wrap(encoded, _LINE))
    return f"DKIM-Signature: {unsigned}{lines}\r\n".encode()


def _pem(configured: Dkim) -> bytes:
    if configured.key_file is None:
        return configured.key.get_secret_value().encode()
    try:
        return configured.key_file.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read {configured.key_file}: {error.strerror}") from None


def _loaded(pem: bytes) -> tuple[str, Sign]:
    try:
        from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - see the module's docstring
        from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415 - the same
        from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa  # noqa: PLC0415 - the same
    except ModuleNotFoundError:
        raise ValueError("needs one more package: pip install 'mailerd[dkim]'") from None

    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except TypeError:
        raise ValueError("the key is encrypted, and mailerd knows no passphrase") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("the key is no private key in PEM") from None
    if isinstance(key, ed25519.Ed25519PrivateKey):
        # RFC 8463: what is signed is the digest.
        return "ed25519-sha256", lambda data: key.sign(hashlib.sha256(data).digest())
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError("the key must be RSA or Ed25519")  # noqa: TRY004 - it was a wrong key in a file
    if key.key_size < _LEAST_BITS:
        raise ValueError(f"an RSA key of {key.key_size} bits is too short; 2048 are usual")
    return "rsa-sha256", lambda data: key.sign(data, padding.PKCS1v15(), hashes.SHA256())


def _canonical_headers(head: bytes) -> tuple[str, bytes]:
    """The names for ``h=``, each once more than it occurs, and the signed headers in that order."""
    names: list[bytes] = []
    lines: list[bytes] = []
    for line in head.replace(b"\r\n ", b" ").replace(b"\r\n\t", b" ").split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() in _SIGNED:
            names.append(name)
            lines.append(name.lower() + b":" + b" ".join(value.split()) + b"\r\n")
    once = b":".join(names)
    return (once + b":\r\n " + once).decode(), b"".join(lines)


def _canonical_body(body: bytes) -> bytes:
    squeezed = body.replace(b"\t", b" ")
    while b"  " in squeezed:
        squeezed = squeezed.replace(b"  ", b" ")
    kept = squeezed.replace(b" \r\n", b"\r\n").rstrip(b"\r\n")
    return kept + b"\r\n" if kept else b""
