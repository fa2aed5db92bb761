"""Under which domain's limit an address falls; the DNS is played by what its library calls."""

from __future__ import annotations

import dns.exception
import dns.name
import dns.resolver
import pytest

from mailerd.config import DomainLimit
from mailerd.transports.domains import LEFT_ALONE, Domains
from rigs.hand_clock import HandClock

GOOGLE = DomainLimit(domain="gmail.com", mx="google.com", per_second=5)
OTHER = DomainLimit(domain="other.test", per_second=1)


class Record:
    def __init__(self, name: str) -> None:
        self.exchange = dns.name.from_text(name)


def test_without_mx_nobody_asks_the_dns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A domain is known by its name alone, in whatever letters; what only ends like it is another one."""
    monkeypatch.setattr(dns.resolver, "resolve", lambda *_, **__: pytest.fail("the DNS was asked"))
    domains = Domains([OTHER])

    assert [domains.of(f"a@{name}") for name in ("Other.TEST", "an.other.test", "b.test")] == [
        "other.test",
        "",
        "",
    ]


def test_a_domain_falls_under_the_limit_of_its_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the end of their names, whole labels of it; each domain is asked for once in an hour."""
    servers = {"shop.test": "ASPMX.L.google.com.", "fake.test": "mx.notgoogle.com."}
    asked: list[str] = []

    def resolve(name: str, kind: str, **_: float) -> list[Record]:
        asked.append(name)
        if name not in servers:
            raise dns.resolver.NXDOMAIN
        return [Record(servers[name])]

    monkeypatch.setattr(dns.resolver, "resolve", resolve)
    domains = Domains([GOOGLE, OTHER], HandClock())
    found = [domains.of(f"{n}@{name}") for n in range(2) for name in (*servers, "gone.test", "gmail.com")]

    assert found == ["gmail.com", "", "", "gmail.com"] * 2
    assert asked == ["shop.test", "fake.test", "gone.test"]


def test_a_dns_that_does_not_answer_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is left alone for a minute, and addresses go by their domain; then it is asked again."""
    asked: list[str] = []

    def resolve(name: str, kind: str, **_: float) -> list[Record]:
        asked.append(name)
        raise dns.exception.Timeout

    monkeypatch.setattr(dns.resolver, "resolve", resolve)
    clock = HandClock()
    domains = Domains([GOOGLE], clock)

    assert [domains.of(f"a@{n}.test") for n in range(9)] == [""] * 9
    assert domains.of("a@gmail.com") == "gmail.com"
    assert asked == ["0.test"]
    clock.at += LEFT_ALONE
    assert domains.of("a@1.test") == ""
    assert asked == ["0.test", "1.test"]
