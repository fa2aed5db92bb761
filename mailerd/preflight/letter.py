"""
The mail that one contact would get, or all the reasons why there is none. Called by ``examine.py``.

Renders and composes as the workers do; pure but for the template's own code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from mailerd.contacts import Contact
from mailerd.errors import RenderFailed, VariableMissing
from mailerd.job import EmailJob
from mailerd.message import Composer, Rendered
from mailerd.preflight import mails
from mailerd.preflight.findings import Remark, Severity
from mailerd.render import Template, TemplateSource, variables_of_texts

_MOST_MISSING = 20


@dataclass(frozen=True, slots=True)
class Words:
    """What a template made of a contact, which variables were ``missing`` on the way, or its ``failure``."""

    rendered: Rendered | None
    missing: tuple[str, ...] = ()
    failure: str = ""


@dataclass(slots=True)
class Letter:
    """What the batch sends; without a sender there is no ``composer``, and no size."""

    job: EmailJob
    source: TemplateSource
    template: Template
    composer: Composer | None
    by_ses: bool
    _names: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        """Look once which variables the template asks for."""
        files = (text for name, text in self.source.files.items() if not name.endswith(".toml"))
        self._names = variables_of_texts([*files, *self.template.settings.varying.values()])

    def rendered(self, contact: Contact) -> Words:
        """Its words. Where a variable is missing it goes on without, to find the others as well."""
        given = contact.variables(self.job.variables or {}, self.job.client_id, self.job.batch_id)
        missing: list[str] = []
        while len(missing) < _MOST_MISSING:
            try:
                return Words(self.template.render(given), tuple(missing))
            except VariableMissing as fault:
                if fault.name in given:  # it is the template's own name for something, which it never set
                    return Words(None, tuple(missing), str(fault))
                missing.append(fault.name)
                given[fault.name] = ""
            except RenderFailed as fault:
                # With a variable missing, what fails after it may fail for that.
                return Words(None, tuple(missing), "" if missing else str(fault))
        return Words(None, tuple(missing))

    def size(self, contact: Contact, words: Words, now: float) -> int:
        """Bytes of the whole mail; 0 where there is none."""
        if not words.rendered or not self.composer:
            return 0
        return len(self.composer.compose(contact.id, contact.email, words.rendered, now).content)

    def remarks(self, contact: Contact, words: Words, size: int) -> dict[Remark, str]:
        """What there is to say of its mail, with the piece that is meant."""
        found = {_missing(name): "" for name in words.missing}
        if words.failure:
            found[_failure(words.failure)] = ""
        found |= {_empty(name): "" for name in self._empty_fields(contact)}
        if words.rendered and not words.missing:
            settings, has_text = self.template.settings, "body.txt" in self.source.files
            found |= mails.remarks_on(words.rendered, settings, size, has_text=has_text, by_ses=self.by_ses)
        return found

    def _empty_fields(self, contact: Contact) -> Iterator[str]:
        for name, value in contact.fields.items():
            if name in self._names and (value is None or value == ""):
                yield name


def _missing(name: str) -> Remark:
    return Remark(
        Severity.PROBLEM,
        "variable.missing",
        f"the template needs the variable {name}, which nobody gives: it cannot be rendered",
        f"give it as a column of contacts.query or in the job's variables, or ask first: "
        f"{{% if {name} is defined %}}",
    )


def _failure(reason: str) -> Remark:
    return Remark(
        Severity.PROBLEM, "template.raises", reason, "mend the template, or the value that it is given"
    )


def _empty(name: str) -> Remark:
    return Remark(
        Severity.NOTE,
        "variable.empty",
        f"the variable {name}, which the template uses, is empty",
        f"see that the mail reads well without: {{% if {name} %}}",
    )
