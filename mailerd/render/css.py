"""
The CSS of a template written into its elements, once per template, since many mail readers drop ``<style>``.

css-inline is shown a view of the template in which the Jinja tags are harmless and every element is numbered.
Only the declarations that it finds for each element are taken over into the source, which stays otherwise as
its author wrote it. What a tag decides (a class that may be there) is left to the ``<style>``, which stays.
"""

from __future__ import annotations

import re

from jinja2 import Environment

from mailerd.render.markup import Masked, Piece, masked, pieces

_NUMBER = "data-mailerd-number"


def inline_css(source: str, environment: Environment) -> str:
    """
    ``source`` with the declarations of its ``<style>`` elements in ``style`` attributes.

    Raises ``ValueError`` where css-inline cannot make sense of it. No style sheet is loaded from anywhere.
    """
    if "<style" not in source.lower():
        return source
    from css_inline import CSSInliner  # noqa: PLC0415 - only templates with a <style> pay for it

    template = masked(source, environment)
    parts = pieces(template.text)
    view = "".join(_shown(template, piece, number) for number, piece in enumerate(parts))
    inliner = CSSInliner(load_remote_stylesheets=False, keep_style_tags=False)
    styles = _styles(inliner.inline(view))
    styled = (_styled(template, piece, styles.get(str(number), "")) for number, piece in enumerate(parts))
    return template.unmask("".join(styled))


def _shown(template: Masked, piece: Piece, number: int) -> str:
    if piece.kind == "text":
        # Comments stay where they are, in tables too; text would be moved before the table.
        return template.pattern().sub(r"<!--\1-->", piece.source)
    if piece.kind == "raw":
        conditional = template.kinds(piece.source) - {"variable"}
        return piece.source if piece.name == "style" and not conditional else ""
    if piece.kind != "start":
        return piece.source
    if piece.name == "link":
        return ""
    end = "/>" if piece.attributes.endswith("/") else ">"
    return f'<{piece.name} {_certain(template, piece)} {_NUMBER}="{number}"{end}'


def _certain(template: Masked, piece: Piece) -> str:
    """The attributes that hold for every contact; none where a tag stands between them."""
    kept = []
    for attribute in piece.each_attribute():
        if template.kinds(attribute.name):
            return ""
        if attribute.name != "style" and not template.kinds(attribute.value) - {"variable"}:
            kept.append(piece.attributes[slice(*attribute.span)])
    return " ".join(kept)


def _styles(view: str) -> dict[str, str]:
    styles: dict[str, str] = {}
    for piece in pieces(view):
        attributes = {attribute.name: attribute.value for attribute in piece.each_attribute()}
        if _NUMBER in attributes and "style" in attributes:
            styles.setdefault(attributes[_NUMBER], attributes["style"].rstrip("; "))
    return styles


def _styled(template: Masked, piece: Piece, style: str) -> str:
    if not style:
        return piece.source
    own = next((found for found in piece.each_attribute() if found.name == "style"), None)
    if own is not None:
        # The author's own declarations come last and so keep the upper hand.
        value = own.value.replace('"', "&quot;")
        start, end = own.span
        attributes = f'{piece.attributes[:start]}style="{style}; {value}"{piece.attributes[end:]}'
    elif re.search(r"style\s*=", piece.attributes, re.IGNORECASE) and template.kinds(piece.attributes):
        return piece.source  # it has a style of its own under a condition, and of two the reader takes one
    else:
        attributes = f' style="{style}"{piece.attributes}'
    return f"<{piece.name}{attributes}>"
