"""What a template made of one contact. Pure data, between ``render`` and ``composer.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Rendered:
    """
    A subject of one line, a text, maybe HTML, and the headers that differ from contact to contact.

    ``pieces``, joined, are the HTML: as the template wrote them, most of them the same for every contact.
    """

    subject: str
    text: str
    html: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    pieces: Sequence[str] = ()
