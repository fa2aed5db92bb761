"""
What ``mailerd check --online`` tries: whatever the daemon will need, as far as it can be tried unharmed.

Sends no mail, takes no job, and leaves nothing behind but the mark of its layout in Redis. Every check runs,
whatever the others find.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from mailerd.cli.output import counted
from mailerd.cli.queue import CONNECT_TIMEOUT, TIMEOUT, reached
from mailerd.clock import SystemClock
from mailerd.config import Config, Ses, Smtp, scrub
from mailerd.errors import EXIT_CLEAN, EXIT_CONFIGURATION, EXIT_REDIS, MailerdError, RedisNotReachable

_PATIENCE = 10.0  # seconds that a mail server has for each answer
# Contacts that nobody has: one of them can be compared with a key of any type.
_NOBODY = ("0", "00000000-0000-0000-0000-000000000000")


class Grade(StrEnum):
    """How it stands with one thing."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check came to; ``code`` is the exit code that a problem asks for."""

    about: str
    grade: Grade
    text: str
    code: int = EXIT_CONFIGURATION


def exit_code(found: Iterable[Finding]) -> int:
    """78 where anything must be mended here, 69 where only Redis is out of reach; pure."""
    codes = {finding.code for finding in found if finding.grade is Grade.PROBLEM}
    return max(codes, default=EXIT_CLEAN)


def findings(config: Config) -> Iterator[Finding]:
    """Try everything; what is found, as it is found."""
    checks = {"redis": _redis, "mail": _mail, "dkim": _dkim, "contacts": _contacts, "templates": _templates}
    for about, check in checks.items():
        try:
            for grade, text in check(config):
                yield Finding(about, grade, text)
        except RedisNotReachable as fault:
            yield Finding(about, Grade.PROBLEM, str(fault), EXIT_REDIS)
        except MailerdError as fault:
            yield Finding(about, Grade.PROBLEM, str(fault))


Graded = Iterator[tuple[Grade, str]]


def _redis(config: Config) -> Graded:
    from mailerd.queue.connection import connect
    from mailerd.queue.probe import describe, examine, named

    config = reached(config)
    client = connect(config.redis, timeout=TIMEOUT, connect_timeout=CONNECT_TIMEOUT)
    with named(config):
        kind, warnings = describe(client), examine(client, config)
    yield Grade.OK, f"{kind} at {scrub(config.redis.url.get_secret_value())}"
    yield from ((Grade.WARNING, warning) for warning in warnings)


def _mail(config: Config) -> Graded:
    from mailerd.transports import open_transport

    if config.mail.transport == "ses":
        yield from _ses(config)
        return
    if config.mail.transport == "smtp" and config.smtp:
        yield from _smtp(config.smtp)
        return
    transport = open_transport(config)
    if transport is None:
        yield Grade.OK, "transport none: nothing is sent, there is nothing to reach"
        return
    trouble = transport.trouble()
    yield (Grade.PROBLEM, trouble) if trouble else (Grade.OK, f"mails can be written to {config.outbox}")


def _smtp(smtp: Smtp) -> Graded:
    from mailerd.transports.relays import Relays

    patience = {
        "connect_timeout": min(_PATIENCE, smtp.connect_timeout),
        "command_timeout": min(_PATIENCE, smtp.command_timeout),
    }
    relays = Relays(smtp.model_copy(update=patience), SystemClock()).all
    troubles = [relay.trouble() for relay in relays]
    # As long as one of several takes mail, nobody waits.
    bad = Grade.PROBLEM if all(troubles) else Grade.WARNING
    for relay, trouble in zip(relays, troubles, strict=True):
        yield (bad, trouble) if trouble else (Grade.OK, _takes_mail(relay.settings))


def _ses(config: Config) -> Graded:
    from mailerd.transports import open_ses

    ses = config.ses or Ses()
    patience = {
        "connect_timeout": min(_PATIENCE, ses.connect_timeout),
        "read_timeout": min(_PATIENCE, ses.read_timeout),
    }
    transport = open_ses(config.model_copy(update={"ses": ses.model_copy(update=patience)}))
    account = transport.account()
    if isinstance(account, str):
        yield Grade.PROBLEM, account
        return
    trouble = account.trouble
    quota = "any number" if account.day < 0 else f"{account.day:.0f}"
    said = f"{account.sent:.0f} of {quota} mails sent in 24 hours, at most {account.rate:g} a second"
    if trouble:
        yield Grade.PROBLEM, f"{transport.where}: {trouble}"
    else:
        yield Grade.OK, f"{transport.where} takes mail ({said})"
    yield from ((Grade.WARNING, warning) for warning in account.warnings())


def _dkim(config: Config) -> Graded:
    from mailerd.message import Signer

    for key in Signer.of(config.mail).keys:
        settings = key.settings
        yield (
            Grade.OK,
            f"mail from {settings.domain} is signed ({key.algorithm}, selector {settings.selector})",
        )


def _takes_mail(smtp: Smtp) -> str:
    login = f"login of {smtp.username} accepted" if smtp.username else "no login"
    secured = "not encrypted" if smtp.tls == "none" else f"{smtp.tls}, certificate verified"
    return f"{smtp.host}:{smtp.port} takes mail ({secured}, {login})"


def _contacts(config: Config) -> Graded:
    from mailerd.contacts import open_contacts

    source = open_contacts(config)
    if config.contacts is None:
        yield Grade.OK, "no [contacts]: a contact id must be an address"
        return
    try:
        source.lookup(_NOBODY)
    finally:
        source.close()
    yield Grade.OK, f"the query runs at {scrub(config.contacts.url.get_secret_value())}"


def _templates(config: Config) -> Graded:
    from mailerd.errors import TemplateBroken
    from mailerd.render import Template, TemplateFolder

    # Without a transport nothing is rendered.
    bad = Grade.WARNING if config.mail.transport == "none" else Grade.PROBLEM
    folder = TemplateFolder(config.templates.path)
    good = 0
    try:
        names = folder.names()
    except TemplateBroken as fault:
        yield bad, str(fault)
        return
    for name in names:
        try:
            Template(folder.load(name))
            good += 1
        except TemplateBroken as fault:
            yield bad, str(fault)
    if not names:
        yield Grade.WARNING, f"there are none in {config.templates.path}"
    elif good:
        yield Grade.OK, f"{counted(good, 'template')} in {config.templates.path} can be used"
