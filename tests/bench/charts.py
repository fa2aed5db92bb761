"""Bar charts as SVG that reads on light and dark pages, without any library. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT, BAR, GAP, TOP, HEADING = 720, 240, 90, 20, 10, 32, 24
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f } .title { font-size: 16px; font-weight: 600 }
.note { font-size: 11px; fill: #57606a } .bar { fill: #8c959f } .ours { fill: #0969da }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .note { fill: #9198a1 } .bar { fill: #6e7681 } .ours { fill: #4493f8 }
}"""


@dataclass(frozen=True)
class Bar:
    """One bar; ``ours`` stands out."""

    label: str
    value: float
    ours: bool = False


@dataclass(frozen=True)
class Panel:
    """Bars of one scale under a heading of their own; ``note`` says the unit and what is better."""

    note: str
    values: Sequence[Bar]
    logarithmic: bool = False

    @property
    def height(self) -> int:
        """What it takes of the chart."""
        return HEADING + len(self.values) * (BAR + GAP) + GAP

    def lines(self, top: int) -> Iterator[str]:
        """Its part of the drawing."""
        scale = ", logarithmic scale" if self.logarithmic else ""
        yield f'<text class="note" x="10" y="{top + 10}">{escape(self.note)}{scale}</text>'
        lengths = _lengths([one.value for one in self.values], logarithmic=self.logarithmic)
        for index, (one, long) in enumerate(zip(self.values, lengths, strict=True)):
            y = top + HEADING + index * (BAR + GAP)
            kind = "ours" if one.ours else "bar"
            yield f'<text x="{LEFT - 10}" y="{y + 15}" text-anchor="end">{escape(one.label)}</text>'
            yield f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{long:.1f}" height="{BAR}" rx="3"/>'
            yield f'<text x="{LEFT + long + 8:.1f}" y="{y + 15}">{_number(one.value)}</text>'


def bars(title: str, note: str, values: Sequence[Bar], *, logarithmic: bool = False) -> str:
    """A chart of horizontal bars, in the order given."""
    return panels(title, [Panel(note, values, logarithmic)])


def panels(title: str, parts: Sequence[Panel]) -> str:
    """A chart of several panels, one below the other."""
    height = TOP + sum(part.height for part in parts)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" role="img">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        f'<text class="title" x="10" y="22">{escape(title)}</text>',
    ]
    top = TOP
    for part in parts:
        lines += part.lines(top)
        top += part.height
    return "\n".join([*lines, "</svg>", ""])


def _lengths(values: Sequence[float], *, logarithmic: bool) -> list[float]:
    room = WIDTH - LEFT - RIGHT
    if not logarithmic:
        return [room * value / (max(values) or 1) for value in values]
    # A tenth of the room for the smallest, so that it is still a bar.
    low, high = math.log(min(values)), math.log(max(values))
    return [room * (0.1 + 0.9 * (math.log(value) - low) / ((high - low) or 1)) for value in values]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
