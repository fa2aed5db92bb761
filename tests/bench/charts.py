"""Bar charts as SVG that reads on light and dark pages, without any library. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT, BAR, GAP, TOP = 720, 210, 90, 20, 10, 56
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


def bars(title: str, note: str, values: Sequence[Bar], *, logarithmic: bool = False) -> str:
    """A chart of horizontal bars, in the order given; ``note`` says the unit and what is better."""
    height = TOP + len(values) * (BAR + GAP) + GAP
    lengths = _lengths([one.value for one in values], logarithmic=logarithmic)
    scale = ", logarithmic scale" if logarithmic else ""
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" role="img">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        f'<text class="title" x="10" y="22">{escape(title)}</text>',
        f'<text class="note" x="10" y="42">{escape(note)}{scale}</text>',
    ]
    for index, (one, long) in enumerate(zip(values, lengths, strict=True)):
        y = TOP + index * (BAR + GAP)
        kind = "ours" if one.ours else "bar"
        lines += [
            f'<text x="{LEFT - 10}" y="{y + 15}" text-anchor="end">{escape(one.label)}</text>',
            f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{long:.1f}" height="{BAR}" rx="3"/>',
            f'<text x="{LEFT + long + 8:.1f}" y="{y + 15}">{_number(one.value)}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])


def _lengths(values: Sequence[float], *, logarithmic: bool) -> list[float]:
    room = WIDTH - LEFT - RIGHT
    if not logarithmic:
        return [room * value / max(values) for value in values]
    # A tenth of the room for the smallest, so that it is still a bar.
    low, high = math.log(min(values)), math.log(max(values))
    return [room * (0.1 + 0.9 * (math.log(value) - low) / ((high - low) or 1)) for value in values]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
