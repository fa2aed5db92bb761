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
from mailerd.message import Composer, MailSettings, message_id_domain
from mailerd.outcome import RetryPolicy
from mailerd.queue.answers import OpenBatch
from mailerd.queue.ledger import Ledger
from mailerd.render import Template, TemplateFolder, TemplateSource

log = logging.getLogger(__name__)

KEPT = 64

T = TypeVar("T")


class Letters:
    """
    The letters of the batches that this worker met last.

    Raises ``ConfigurationError`` where an address of ``[mail]`` cannot stand in a mail.
    """

    def __init__(self, config: Config) -> None:
        self._mail = config.mail
        self._folder = TemplateFolder(config.templates.path)
        self._templates: OrderedDict[str, Template] = OrderedDict()
        self._letters: OrderedDict[str, Letter] = OrderedDict()
        if config.mail.transport != "none":
            self._look_at_what_all_need()

    def of(self, opened: OpenBatch, ledger: Ledger) -> Letter:
        """The batch's letter. Raises ``TemplateBroken``: then nobody of the batch can get it."""
        letter = self._letters.get(opened.batch.tag)
        if letter is None:
            letter = self._write(opened, *self._template(opened, ledger))
            _keep(self._letters, opened.batch.tag, letter)
        return letter

    def _look_at_what_all_need(self) -> None:
        """What no mail can go without is looked at before the first job."""
        Composer(self._mail, MailSettings(), client_id="", batch_id="", template_id="")
        try:
            self._folder.names()
        except TemplateBroken as fault:
            # It may still be put there: templates are read when they are wanted.
            log.warning("No mail can be made: %s", fault, extra={"event": "templates.missing"})

    def _template(self, opened: OpenBatch, ledger: Ledger) -> tuple[Template, str]:
        """The template and the policy for unknown outcomes that the batch is pinned to."""
        if opened.pinned:
            kept = self._templates.get(opened.pinned)
            template = kept or self._unpacked(opened.pinned, ledger.pinned_template(opened.pinned))
            return template, opened.policy
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
        )
        policy = RetryPolicy(self._mail.retry_delays, self._mail.max_age, unknown == "resend")
        return Letter(template, composer, variables_of(opened.variables_json), policy, batch)


def _keep(kept: OrderedDict[str, T], name: str, value: T) -> None:
    kept[name] = value
    if len(kept) > KEPT:
        kept.popitem(last=False)
