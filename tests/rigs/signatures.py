"""Keys of example.com for DKIM, what its DNS says of them, and dkimpy's word on a signed mail."""

from __future__ import annotations

import base64
from functools import cache

import dkim
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

PrivateKey = rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
DER, RAW = serialization.Encoding.DER, serialization.Encoding.Raw


@cache
def keys() -> dict[str, rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey]:
    """One key of each kind, by selector."""
    return {
        "r1": rsa.generate_private_key(public_exponent=65537, key_size=2048),
        "e1": ed25519.Ed25519PrivateKey.generate(),
    }


def pem(key: PrivateKey, passphrase: bytes = b"") -> str:
    hidden = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, hidden).decode()


def records(name: bytes, timeout: float = 5) -> bytes | None:
    """What the DNS of example.com says."""
    selector = name.decode().removesuffix("._domainkey.example.com.")
    key = keys().get(selector)
    if isinstance(key, rsa.RSAPrivateKey):
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return b"v=DKIM1; k=rsa; p=" + base64.b64encode(key.public_key().public_bytes(DER, form))
    if isinstance(key, ed25519.Ed25519PrivateKey):
        raw = key.public_key().public_bytes(RAW, serialization.PublicFormat.Raw)
        return b"v=DKIM1; k=ed25519; p=" + base64.b64encode(raw)
    return None


def verdicts(content: bytes) -> list[bool]:
    """Whether each signature holds, in their order."""
    judge = dkim.DKIM(content)
    count = content.partition(b"\r\n\r\n")[0].count(b"DKIM-Signature:")
    return [_holds(judge, index) for index in range(count)]


def _holds(judge: dkim.DKIM, index: int) -> bool:
    try:
        return bool(judge.verify(idx=index, dnsfunc=records))
    except dkim.ValidationError:  # how it tells of a changed body
        return False
