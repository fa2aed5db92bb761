"""
Goes through a batch as the workers would, up to the hand-over that there is none of.

Reads contacts and template, asks the pure rooms beside it what they think of each mail, and counts. Knows no
Redis, no transport and no terminal. Called by ``mailerd preflight`` and by ``apart.py``.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mailerd.clock import Clock
from mailerd.config import Config
from mailerd.contacts import NO_SUCH_CONTACT, Contact, ContactSource, open_contacts
from mailerd.errors import ConfigurationError, ContactsUnavailable, TemplateBroken
from mailerd.job import EmailJob
from mailerd.message import Composer, Signer
from mailerd.outcome import Outcome
from mailerd.preflight import sender
from mailerd.preflight.bounds import Bounds
from mailerd.preflight.findings import Findings, Remark, Severity
from mailerd.preflight.forecast import Forecast, Load, forecast
from mailerd.preflight.letter import Letter
from mailerd.preflight.report import Report
from mailerd.render import Template, TemplateFolder

_AT_ONCE = 100  # contacts looked up together, between two looks at the clock

TWICE = Remark(
    Severity.NOTE,
    "contact.twice",
    "contacts are named more than once, and get one mail",
    "nothing: it is safe",
)
SAME_ADDRESS = Remark(
    Severity.WARNING,
    "address.twice",
    "several contacts have one address: whoever reads it gets the mail more than once",
    "leave one of them in the batch",
)
SUPPRESSED = Remark(
    Severity.NOTE, "contact.suppressed", "suppressed: gets no mail", "nothing: that is what suppressed is for"
)
EXPIRED = Remark(
    Severity.PROBLEM, "expired", "expires_at has passed: nobody would get a mail", "give a later expires_at"
)
TOO_LATE = Remark(
    Severity.WARNING,
    "expires",
    "expires_at comes before the last mail can be sent: the rest would expire",
    "give a later expires_at, raise the limits, or send fewer",
)


def examine(
    config: Config, job: EmailJob, clock: Clock, bounds: Bounds, progress: Callable[[int], None]
) -> Report:
    """Look at the batch; ``progress`` is told how many recipients were looked at. Raises nothing."""
    examination = _Examination(config, job, clock, bounds)
    try:
        examination.run(progress)
    except ConfigurationError as fault:
        examination.stopped(
            "configuration", str(fault), "mend the configuration; mailerd check names all of it"
        )
    except ContactsUnavailable as fault:
        examination.stopped("contacts", str(fault), "mend that; mailerd check --online tries the query")
    return examination.report()


@dataclass(slots=True)
class _Examination:
    """One look at one batch."""

    config: Config
    job: EmailJob
    clock: Clock
    bounds: Bounds
    findings: Findings = field(default_factory=Findings)
    examined: int = 0
    domains: Counter[str] = field(default_factory=Counter)
    owners: dict[int, str] = field(
        default_factory=dict
    )  # by the hash of an address, of which there may be millions
    making: float = 0.0  # seconds that the mails took to make
    made: int = 0

    def run(self, progress: Callable[[int], None]) -> None:
        """All of it. Raises what ends it early."""
        recipients = self.job.distinct()
        self._named_twice(recipients)
        for remark, value in sender.remarks_on_settings(self.config):
            self.findings.of_batch(remark, value)
        letter = self._letter(len(recipients))
        contacts = open_contacts(self.config)
        try:
            self._recipients(recipients[: self.bounds.contacts or None], letter, contacts, progress)
        finally:
            contacts.close()

    def stopped(self, about: str, what: str, advice: str) -> None:
        """Note why it goes no further."""
        self.findings.of_batch(Remark(Severity.PROBLEM, about, what, advice))

    def report(self) -> Report:
        """What it came to."""
        recipients = len(self.job.distinct())
        tried = self.examined and (self.made or not self.domains)
        foreseen = self._forecast(recipients) if tried else None
        expires = self.job.expires_at and self.job.expires_at.timestamp()
        now = self.clock.now()
        if expires and expires <= now:
            self.findings.of_batch(EXPIRED)
        elif expires and foreseen and now + foreseen.seconds > expires:
            self.findings.of_batch(TOO_LATE)
        return Report(recipients, self.examined, self.findings.worst_first(), foreseen)

    def _named_twice(self, recipients: Sequence[str]) -> None:
        if len(recipients) < len(self.job.contact_ids):
            for contact_id, number in Counter(self.job.contact_ids).items():
                if number > 1:
                    self.findings.of_recipient(TWICE, contact_id)

    def _letter(self, recipients: int) -> Letter | None:
        """What is to be sent; None where the template is broken: then the contacts alone are looked at."""
        try:
            return self._prepared(recipients)
        except TemplateBroken as fault:
            advice = "mend the template; mailerd check --online tries them all"
            self.stopped("template", str(fault), advice)
            return None

    def _prepared(self, recipients: int) -> Letter:
        source = TemplateFolder(self.config.templates.path).load(self.job.template_id)
        template = Template(source)
        for remark, example in sender.remarks_on(self.config, source, template.settings, recipients):
            self.findings.of_batch(remark, example)
        mail = self.config.mail
        composer = None
        if template.settings.from_ or mail.from_:
            composer = Composer(
                mail,
                template.settings,
                client_id=self.job.client_id,
                batch_id=self.job.batch_id,
                template_id=self.job.template_id,
                signer=Signer.of(mail),
            )
        return Letter(self.job, source, template, composer, by_ses=mail.transport == "ses")

    def _recipients(
        self,
        recipients: Sequence[str],
        letter: Letter | None,
        contacts: ContactSource,
        progress: Callable[[int], None],
    ) -> None:
        deadline = self.clock.monotonic() + self.bounds.seconds
        for start in range(0, len(recipients), _AT_ONCE):
            asked = recipients[start : start + _AT_ONCE]
            known = contacts.lookup(asked)
            for contact_id in asked:
                if self.bounds.seconds and self.clock.monotonic() >= deadline:
                    return
                self._recipient(contact_id, known[contact_id], letter)
                self.examined += 1
            progress(self.examined)

    def _recipient(self, contact_id: str, contact: Contact | Outcome, letter: Letter | None) -> None:
        if isinstance(contact, Outcome):
            self.findings.of_recipient(_no_contact(contact.reason), contact_id)
        elif contact.suppressed:
            self.findings.of_recipient(SUPPRESSED, contact_id)
        else:
            self._address(contact, letter)

    def _address(self, contact: Contact, letter: Letter | None) -> None:
        owner = self.owners.setdefault(hash(contact.email.lower()), contact.id)
        if owner != contact.id:
            self.findings.of_recipient(SAME_ADDRESS, f"{contact.id} as {owner}")
        self.domains[contact.email.rpartition("@")[2].lower()] += 1
        if letter:
            self._mail(contact, letter)

    def _mail(self, contact: Contact, letter: Letter) -> None:
        began = self.clock.monotonic()
        rendered = letter.rendered(contact)
        size = letter.size(contact, rendered, self.clock.now())
        self.making += self.clock.monotonic() - began
        self.made += 1
        for remark, piece in letter.remarks(contact, rendered, size).items():
            self.findings.of_recipient(remark, f"{contact.id}: {piece}" if piece else contact.id)

    def _forecast(self, recipients: int) -> Forecast:
        scale = recipients / self.examined
        cores = min(self.config.workers.processes or 1, os.cpu_count() or 1)
        speed = self.bounds.speed or (self.made * cores / self.making if self.making else 0.0)
        making = f"making them, {cores} at a time; the mail server may be slower"
        whose = "--speed" if self.bounds.speed else making
        domains = {domain: number * scale for domain, number in self.domains.items()}
        load = Load(self.job.client_id, self.domains.total() * scale, domains, speed, whose)
        return forecast(load, self.config)


def _no_contact(reason: str) -> Remark:
    if reason.startswith(NO_SUCH_CONTACT):
        return Remark(Severity.PROBLEM, "contact.unknown", reason, "leave it out, or add it to the contacts")
    return Remark(Severity.PROBLEM, "address.bad", reason, "mend the address, or leave the contact out")
