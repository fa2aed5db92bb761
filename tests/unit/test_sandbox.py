"""The sandbox: cheaper code, and exactly what Jinja's own gives and refuses."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import jinja2
import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from mailerd.render.sandbox import Sandbox

PARTS = {
    "frame.html": "<{% block a %}A{{ d.name }}{% endblock %}{% block b %}B{{ name }}{% endblock %}>",
    "part.html": "[{{ d.name }}{{ name }}]",
    "macros.html": "{% macro says(thing, of) %}{{ thing.name }}{{ of }}{{ caller() }}{% endmacro %}",
}
VARIABLES: dict[str, Any] = {
    "name": "<A> & 'B'", "none": None, "number": 7, "minus": -0.0, "yes": True, "real": 7.0,
    "safe": Markup("<b>x</b>"), "flag": False, "items_of": [1, "<", None],
    "d": {"name": "<d>", "none": None, "items": "of a dict", "get": 1, "deep": {"er": "&"},
          "__class__": "mine", "type": {"a": "T"}, "format": "{0.__class__}", "": "nothing"},
    "sub": OrderedDict(name="<o>", move_to_end=1), "list": [{"name": "<1>"}, {"name": "2", "n": 2}, {}, None],
    "text": "{0.__class__.__mro__}",
}  # fmt: skip


def environment(ours: bool, name: str, text: str) -> jinja2.Environment:
    loader = jinja2.DictLoader({**PARTS, name: text})

    def escapes(file: str | None) -> bool:
        return (file or "").endswith(".html")

    if ours:
        return Sandbox(loader, escapes)
    return ImmutableSandboxedEnvironment(
        loader=loader,
        undefined=jinja2.StrictUndefined,
        autoescape=escapes,
        finalize=lambda value: "" if value is None else value,
        keep_trailing_newline=True,
        auto_reload=False,
    )


def written(ours: bool, name: str, text: str) -> str:
    """What a template comes to, or how it ends."""
    try:
        return environment(ours, name, text).get_template(name).render(VARIABLES)
    except Exception as error:  # noqa: BLE001 - whatever it is, it must be the same
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("name", ["t.html", "t.txt"])
@pytest.mark.parametrize(
    "text",
    [
        "{{ name }}{{ none }}{{ number }}{{ minus }}{{ yes }}", "{{ real }}{{ safe }}{{ items_of }}{{ d }}",
        "{{ missing }}", "{{ missing.a }}", "{{ d.missing }}", "{{ d.none.a }}", "{{ none.a }}",
        "{{ d.name }}{{ d.none }}{{ d.deep.er }}{{ d['name'] }}{{ d.type.a }}{{ sub.name }}",
        "{{ d.items }}", "{{ d.items() }}", "{{ d.get }}", "{{ d.get('name') }}", "{{ sub.move_to_end }}",
        "{{ d.__class__ }}", "{{ d['__class__'] }}", "{{ name.__class__ }}", "{{ d|attr('__class__') }}",
        "{{ d.format(name) }}", "{{ text.format(d) }}", "{{ text.format_map(d) }}", "{{ d.update({}) }}",
        "{{ range(9999999) }}", "{{ name.a }}", "{{ name.__init__.__globals__ }}", "{{ safe.__class__ }}",
        "{{ d.copy.__self__ }}",
        "{% for type in list %}{{ type.name }}{{ loop.index }}{{ loop.last }},{% endfor %}",
        "{% for dict in list[:2] %}{{ dict.name }}{{ dict.n is defined }}{% endfor %}",
        "{% set escaped = name %}{{ escaped }}{% set known = d %}{{ known.name }}",
        "{% set value = 1 %}{{ value }}{% set plain = d %}{{ plain.name }}",
        "{% set block %}{{ name }}{{ d.name }}{% endset %}{{ block }}{{ block|upper }}",
        "{% set n = namespace(name='<') %}{% set n.name = d.name %}{{ n.name }}",
        "{% autoescape true %}{{ name }}{{ d.name }}{% endautoescape %}",
        "{% autoescape false %}{{ name }}{{ d.name }}{% endautoescape %}",
        "{% autoescape flag %}{{ name }}{{ safe }}{{ d.name }}{{ none }}{% endautoescape %}{{ name }}",
        "{% filter upper %}{{ name }}{{ d.name }}{% endfilter %}{{ '%s %.2f'|format(name, number) }}",
        "{% macro m(x, y=d) %}{{ x.name }}{{ y.name }}{{ z }}{% endmacro %}{{ m(d) }}{{ m(sub, d.deep) }}",
        "{% from 'macros.html' import says with context %}{% call says(d, name) %}{{ d.name }}{% endcall %}",
        "{% import 'macros.html' as m %}{{ m.says.name }}{{ m.nothing }}",
        "{% extends 'frame.html' %}{% block a %}{{ super() }}{{ d.name }}{% endblock %}",
        "{% include 'part.html' %}{% with d = list[1] %}{% include 'part.html' %}{{ d.name }}{% endwith %}",
        "{% block x %}{{ d.name }}{% endblock %}{{ self.x() }}{{ self }}",
        "{{ {'name': '<'}.name }}{{ (d if yes else list).name }}",
        "{{ '<' }}{{ none if yes }}{{ 1 if flag }}{{ name ~ safe }}{{ [d.name, name]|join }}{{ name|safe }}",
        "{% for r in list[:2] recursive %}{{ r.name }}{{ loop([]) }}{% endfor %}{{ lipsum }}",
    ],
)  # fmt: skip
def test_it_writes_and_refuses_what_jinjas_own_does(name: str, text: str) -> None:
    """Whatever a template asks for, hostile or not: the same words, or the same fault."""
    assert _without_places(written(True, name, text)) == _without_places(written(False, name, text))


def test_what_is_remembered_of_one_contact_does_not_reach_another() -> None:
    """A text is not taken for one that is safe already, nor 1 for true."""
    template = environment(True, "t.html", "{{ x }}").get_template("t.html")

    given = ["<b>", Markup("<b>"), "<b>", 1, True, 1.0, "1", *(f"<{n}>" for n in range(2000)), "<b>"]

    for value in given:
        assert template.render(x=value) == str(jinja2.filters.escape(value))


def _without_places(words: str) -> str:
    """Without the addresses of objects in memory."""
    return " ".join(word for word in words.split() if not word.startswith("0x"))
