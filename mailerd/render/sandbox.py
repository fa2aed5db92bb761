"""
Jinja's sandbox, with cheaper code for what mails do most: ``item.name`` of a dictionary, and ``{{ value }}``.

It gives and refuses exactly what Jinja's own does; a test renders templates with both. Knows no template of
ours. Used by ``template.py``.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any

from jinja2 import StrictUndefined, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.loaders import BaseLoader
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import escape

_OF_ANY_DICT = frozenset(dir(dict))
_MOST_KEPT = 512
_LONGEST_KEPT = 200


class _Escaped(dict[str, str]):
    """
    Texts and how they stand in HTML.

    Most values come again with the next contact: those of the batch's variables. Few and short ones are kept.
    """

    def __missing__(self, text: str) -> str:
        escaped = str(escape(text))
        if len(text) <= _LONGEST_KEPT:
            if len(self) == _MOST_KEPT:
                self.clear()
            self[text] = escaped
        return escaped


class _Code(CodeGenerator):
    """
    The Python that a template becomes.

    Jinja asks a dictionary for an attribute first, and for a mail with a list of things that failed look is
    half of all the work. What a dictionary has as an attribute itself stays Jinja's to judge.
    """

    def write_commons(self) -> None:
        """See ``CodeGenerator``."""
        super().write_commons()
        self.writeline("known, escaped, plain = environment.known, environment.escaped, environment.plain")

    def visit_Getattr(self, node: nodes.Getattr, frame: Frame) -> None:  # noqa: N802 - Jinja's name
        """See ``CodeGenerator``."""
        owner, attribute = node.node, repr(node.attr)
        if not isinstance(owner, nodes.Name) or node.attr in _OF_ANY_DICT:
            super().visit_Getattr(node, frame)
            return
        of = frame.symbols.ref(owner.name)
        self.write(f"({of}[{attribute}] if type({of}) is dict and {attribute} in {of} else ")
        super().visit_Getattr(node, frame)
        self.write(")")

    def _output_child_pre(self, node: nodes.Expr, frame: Frame, finalize: Any) -> None:
        if frame.eval_ctx.volatile:  # {% autoescape %} with a variable
            super()._output_child_pre(node, frame, finalize)
        else:
            known = "known[value]" if frame.eval_ctx.autoescape else "value"
            self.write(f"({known} if type(value := ")

    def _output_child_post(self, node: nodes.Expr, frame: Frame, finalize: Any) -> None:
        if frame.eval_ctx.volatile:
            super()._output_child_post(node, frame, finalize)
        else:
            otherwise = "escaped" if frame.eval_ctx.autoescape else "plain"
            self.write(f") is str else {otherwise}(value))")


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of a template's files: undefined variables are faults, NULL is nothing."""

    code_generator_class = _Code

    def __init__(self, loader: BaseLoader, autoescape: Callable[[str | None], bool]) -> None:
        super().__init__(
            loader=loader,
            undefined=StrictUndefined,
            autoescape=autoescape,
            finalize=_nothing_for_null,
            keep_trailing_newline=True,
            auto_reload=False,
        )
        self.known, self.escaped, self.plain = _Escaped(), _escaped, _plain

    def make_globals(self, d: MutableMapping[str, Any] | None) -> MutableMapping[str, Any]:
        """See ``Environment``: no template of ours has globals of its own."""
        return self.globals if d is None else super().make_globals(d)


def _escaped(value: object) -> str:
    return escape(_nothing_for_null(value))


def _plain(value: object) -> str:
    return str(_nothing_for_null(value))


def _nothing_for_null(value: object) -> object:
    # A column that is NULL: "Dear None" has been sent often enough.
    return "" if value is None else value
