"""
Letters: which template a batch is sent with, compiled once and kept for the batches in hand.

A batch is pinned to its template at its first claim, on every host: the packed template lies in the ledger
beside it. Called by the worker; knows the template folder and the ledger, sends nothing.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import TypeVar

from mailerd.config import Config
from mailerd.delivery import Letter, variables_of
from mailerd.errors import TemplateBroken
from mailerd.message import Composer, MailSettings, Signer, message_id_domain
from mailerd.outcome import RetryPolicy
from mailerd.queue.answers import OpenBatch
from mailerd.queue.ledger import Ledger
from mailerd.render import Template, TemplateFolder, TemplateSource

log = logging.getLogger(__name__)

KEPT = 64

K = TypeVar("K")
T = TypeVar("T")


class Letters:
    """
    The letters of the batches that this worker met last.

    Raises ``ConfigurationError`` where an address of ``[mail]`` cannot stand in a mail, or a key of
    ``mail.dkim`` cannot sign.
    """

    def __init__(self, config: Config) -> None:
        self._mail = config.mail
        self._signer = Signer.of(config.mail)
        self._folder = TemplateFolder(config.templates.path)
        self._templates: OrderedDict[str, Template] = OrderedDict()
        self._letters: OrderedDict[tuple[str, ...], Letter] = OrderedDict()
        if config.mail.transport != "none":
            self._look_at_what_all_need()

    def of(self, opened: OpenBatch, ledger: Ledger) -> Letter:
        """The batch's letter. Raises ``TemplateBroken``: then nobody of the batch can get it."""
        if not opened.pinned:
            return self._write(opened, *self._pin(opened, ledger))
        # Everything that a letter is made of: after a flush of Redis the same name may be another batch.
        known = (opened.batch.tag, opened.template_id, opened.pinned, opened.policy, opened.variables_json)
        letter = self._letters.get(known)
        if letter is None:
            letter = self._write(opened, self._pinned(opened.pinned, ledger), opened.policy)
            _keep(self._letters, known, letter)
        return letter

    def _look_at_what_all_need(self) -> None:
        """What no mail can go without is looked at before the first job."""
        Composer(self._mail, MailSettings(), client_id="", batch_id="", template_id="")
        try:
            self._folder.names()
        except TemplateBroken as fault:
            # It may still be put there: templates are read when they are wanted.
            log.warning("No mail can be made: %s", fault, extra={"event": "templates.missing"})

    def _pinned(self, digest: str, ledger: Ledger) -> Template:
        return self._templates.get(digest) or self._unpacked(digest, ledger.pinned_template(digest))

    def _pin(self, opened: OpenBatch, ledger: Ledger) -> tuple[Template, str]:
        """Pin the batch; the template and the policy for unknown outcomes that it has from now on."""
        source = self._folder.load(opened.template_id)
        template = self._templates.get(source.digest) or Template(source)
        unknown = template.settings.unknown or self._mail.unknown
        domain = message_id_domain(self._mail, template.settings)
        digest, packed, policy = ledger.pin(opened.batch, source.digest, source.pack(), unknown, domain)
        if digest == source.digest:
            _keep(self._templates, digest, template)
            return template, policy
        return self._templates.get(digest) or self._unpacked(digest, packed), policy

    def _unpacked(self, digest: str, packed: bytes | None) -> Template:
        if packed is None:
            raise TemplateBroken("the template that the batch is pinned to is no longer in Redis")
        template = Template(TemplateSource.unpack(packed))
        _keep(self._templates, digest, template)
        return template

    def _write(self, opened: OpenBatch, template: Template, unknown: str) -> Letter:
        batch = opened.batch
        composer = Composer(
            self._mail,
            template.settings,
            client_id=batch.client_id,
            batch_id=batch.batch_id,
            template_id=opened.template_id,
            signer=self._signer,
        )
        policy = RetryPolicy(self._mail.retry_delays, self._mail.max_age, unknown == "resend")
        return Letter(template, composer, variables_of(opened.variables_json), policy, batch)


def _keep(kept: OrderedDict[K, T], name: K, value: T) -> None:
    kept[name] = value
    if len(kept) > KEPT:
        kept.popitem(last=False)
