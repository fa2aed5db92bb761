"""
A template ready to render: compiled once, its CSS inlined, its text part derived where it has none.

Templates run in Jinja's sandbox with strict undefined variables; HTML is escaped. What is wrong with the
template itself shows when it is compiled (``TemplateBroken``), what one contact's values do to it when it is
rendered (``RenderFailed``). Knows no contact and no files.
"""

from __future__ import annotations

import re
import tomllib
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any

import jinja2
import jinja2.meta
import jinja2.nodes

from mailerd.errors import RenderFailed, TemplateBroken, VariableMissing
from mailerd.message import MailSettings, Rendered, fits
from mailerd.render.css import inline_css
from mailerd.render.plaintext import derive_text, tidy
from mailerd.render.sandbox import Sandbox
from mailerd.render.source import TemplateSource

_MAX_CHARACTERS = 10 * 1024 * 1024
_SOME = 256  # pieces between two looks at the size
_MOST_NAMES = 20
_HEADER = "mail.toml headers."
_REFERENCES = re.compile(r"\b(extends|include|import)\b")
_UNDEFINED = re.compile("'(.+)' is undefined")
_TAG = re.compile(r"\{[{%#]")
_SETTINGS = {"from": str, "reply_to": str, "headers": dict, "unknown": str}

# A template's variables, with what Jinja itself lends to each.
Known = dict[str, Any]
# What it came to, whole and in the pieces in which it was written.
Written = tuple[str, list[str]]
Change = Callable[[str, jinja2.Environment], str]


class Template:
    """A compiled template and its ``settings``. Raises ``TemplateBroken`` naming file and line."""

    def __init__(self, source: TemplateSource) -> None:
        self._id = source.template_id
        files = {name: text for name, text in source.files.items() if name != "mail.toml"}
        self.settings = _settings(source)
        if "subject.txt" not in files or not {"body.html", "body.txt"} & files.keys():
            raise TemplateBroken(f"template {self._id} needs subject.txt, and body.html or body.txt")
        written = self._compiled(self._each_html(files, inline_css))
        self._subject = written.get_template("subject.txt")
        self._html = written.get_template("body.html") if "body.html" in files else None
        self._text = self._text_of(files, written)
        varying = self._compiled({f"{_HEADER}{name}": text for name, text in self.settings.varying.items()})
        self._headers = {name: varying.get_template(f"{_HEADER}{name}") for name in self.settings.varying}

    def render(self, variables: Mapping[str, Any]) -> Rendered:
        """The mail's words for one contact. Raises ``RenderFailed`` naming file and line."""
        known = {**self._subject.globals, **variables}  # once for all files
        subject = self._one_line(self._subject, known)
        if not subject:
            raise RenderFailed(f"template {self._id}/subject.txt: the subject is empty for this contact")
        html, pieces = self._written(self._html, known) if self._html else (None, [])
        text, _ = self._written(self._text, known)
        headers = {name: self._header(name, known) for name in self._headers} if self._headers else {}
        return Rendered(subject, tidy(text) if self._derived else text, html, headers, pieces)

    def _header(self, name: str, known: Known) -> str:
        value = self._one_line(self._headers[name], known)
        if not fits(name, value):
            raise RenderFailed(f"template {self._id}/{_HEADER}{name}: it is too long for one line")
        return value

    def _one_line(self, template: jinja2.Template, known: Known) -> str:
        return " ".join(self._written(template, known)[0].split())

    @property
    def _derived(self) -> bool:
        return self._text.name == "body.html"

    def _compiled(self, files: Mapping[str, str], *, escape: bool = True) -> jinja2.Environment:
        """An environment in which every one of the files is compiled."""

        def load(name: str) -> tuple[str, str, None] | None:
            # The second is the file's name in tracebacks, by which the line at fault is found.
            return (files[name], f"{self._id}/{name}", None) if name in files else None

        loader = jinja2.FunctionLoader(load)
        environment = Sandbox(loader, lambda name: escape and (name or "").endswith(".html"))
        for name, text in files.items():
            with self._naming(name):
                environment.get_template(name)
                if _REFERENCES.search(text):
                    self._check_references(environment.parse(text), name, files)
        return environment

    def _check_references(self, tree: jinja2.nodes.Template, name: str, files: Mapping[str, str]) -> None:
        for other in jinja2.meta.find_referenced_templates(tree):
            if other is not None and other not in files:
                raise TemplateBroken(f"template {self._id}/{name} needs {other}, which its folder lacks")

    def _each_html(self, files: Mapping[str, str], change: Change) -> dict[str, str]:
        environment = jinja2.Environment(autoescape=True, keep_trailing_newline=True)
        changed = dict(files)
        for name, text in files.items():
            if name.endswith(".html"):
                with self._naming(name):
                    changed[name] = change(text, environment)
        return changed

    def _text_of(self, files: Mapping[str, str], written: jinja2.Environment) -> jinja2.Template:
        if "body.txt" in files:
            return written.get_template("body.txt")
        try:
            derived = self._compiled(self._each_html(files, derive_text), escape=False)
        except TemplateBroken as error:
            raise TemplateBroken(
                f"no text could be derived from the HTML, write a body.txt ({error})"
            ) from None
        return derived.get_template("body.html")

    @contextmanager
    def _naming(self, name: str) -> Iterator[None]:
        try:
            yield
        except jinja2.TemplateSyntaxError as error:
            raise TemplateBroken(f"template {self._id}/{name} line {error.lineno}: {error.message}") from None
        except ValueError as error:
            raise TemplateBroken(f"template {self._id}/{name}: its CSS cannot be inlined: {error}") from None

    def _written(self, template: jinja2.Template, known: Known) -> Written:
        try:
            written = _write(template, known)
        except jinja2.UndefinedError as error:
            usable = _several(sorted(known.keys() - template.globals.keys()))
            words = f"template {self._place(error, template)}: {error}; it may use {usable}"
            name = _UNDEFINED.fullmatch(str(error))
            raise (VariableMissing(words, name[1]) if name else RenderFailed(words)) from None
        except Exception as error:  # noqa: BLE001 - a template can raise whatever its values do
            raise RenderFailed(f"template {self._place(error, template)}: {error}") from None
        if written is None:
            raise RenderFailed(f"template {self._id}/{template.name} makes more than 10 MB for this contact")
        return written

    def _place(self, error: Exception, template: jinja2.Template) -> str:
        own = f"{self._id}/"
        for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
            if frame.f_code.co_filename.startswith(own):
                return f"{frame.f_code.co_filename} line {line}"
        return f"{own}{template.name}"


def _write(template: jinja2.Template, known: Known) -> Written | None:
    """What one of its files comes to; None where that is too much."""
    pieces: list[str] = []
    whole = ""
    try:
        stream = template.root_render_func(template.new_context(known, shared=True))
        while some := list(islice(stream, _SOME)):
            pieces += some
            whole += "".join(some)
            if len(whole) > _MAX_CHARACTERS:
                return None
    except Exception:  # noqa: BLE001 - it is raised again, its lines those of the template
        template.environment.handle_exception()
    return whole, pieces


def _several(names: list[str]) -> str:
    return ", ".join(names[:_MOST_NAMES]) + (" and more" if len(names) > _MOST_NAMES else "")


def _settings(source: TemplateSource) -> MailSettings:
    try:
        found = tomllib.loads(source.files.get("mail.toml", ""))
        wrong = _problem(found)
        settings = None if wrong else MailSettings(**_arguments(found))
    except ValueError as error:  # tomllib's error is one
        wrong, settings = str(error), None
    if settings is None:
        raise TemplateBroken(f"template {source.template_id}/mail.toml: {wrong}")
    return settings


def _problem(found: Mapping[str, Any]) -> str:
    for key, value in found.items():
        if key not in _SETTINGS:
            return f"unknown key {key}; it may hold {', '.join(_SETTINGS)}"
        if not isinstance(value, _SETTINGS[key]):
            return f"{key} must be {'a table' if key == 'headers' else 'a string'}"
    if found.get("unknown", "hold") not in ("hold", "resend"):
        return 'unknown must be "hold" or "resend"'
    if not all(isinstance(value, str) for value in found.get("headers", {}).values()):
        return "headers: every value must be a string"
    return ""


def _arguments(found: Mapping[str, Any]) -> dict[str, Any]:
    # Python keeps ``from`` to itself.
    arguments = {"from_" if key == "from" else key: value for key, value in found.items()}
    headers = arguments.pop("headers", {})
    varying = {name: value for name, value in headers.items() if _TAG.search(value)}
    fixed = {name: value for name, value in headers.items() if name not in varying}
    return {**arguments, "headers": fixed, "varying": varying}
