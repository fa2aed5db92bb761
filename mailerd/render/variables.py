"""Which variables a template names; pure. Asked by ``preflight``, never on the way of a mail."""

from __future__ import annotations

from collections.abc import Iterable

import jinja2
import jinja2.meta


def variables_of_texts(texts: Iterable[str]) -> frozenset[str]:
    """The variables that these Jinja texts, which compile, want from outside; attributes of them are none."""
    environment = jinja2.Environment(autoescape=True)
    return frozenset().union(
        *(jinja2.meta.find_undeclared_variables(environment.parse(text)) for text in texts)
    )
