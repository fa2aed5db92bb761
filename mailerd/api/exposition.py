"""
Metrics in the text form that Prometheus reads (version 0.0.4), written by hand: a library costs 13 MiB.

Pure: families in, bytes out. ``metrics.py`` makes the families.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Type(StrEnum):
    """What Prometheus may do with a family."""

    COUNTER = "counter"  # only ever grows, until the daemon starts afresh
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Sample:
    """One number; ``suffix`` is for the parts of a histogram."""

    value: float
    labels: Mapping[str, str]
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class Family:
    """The samples of one name."""

    name: str
    type: Type
    help: str
    samples: tuple[Sample, ...]


def gauge(name: str, text: str, value: float | None) -> Family:
    """A gauge without labels; without a sample where the value is not known."""
    return Family(name, Type.GAUGE, text, () if value is None else (Sample(value, {}),))


def labelled(name: str, kind: Type, text: str, label: str, values: Iterable[tuple[str, float]]) -> Family:
    """A family whose samples differ in one label."""
    return Family(name, kind, text, tuple(Sample(value, {label: each}) for each, value in values))


def histogram(name: str, text: str, bounds: Iterable[float], counts: Iterable[int], total: float) -> Family:
    """A histogram from the count of each bucket, the one above all bounds last; ``total`` in seconds."""
    reached = list(accumulate(counts))
    edges = [*(_number(bound) for bound in bounds), "+Inf"]
    buckets = [Sample(n, {"le": edge}, "_bucket") for edge, n in zip(edges, reached, strict=True)]
    whole = [Sample(total, {}, "_sum"), Sample(reached[-1], {}, "_count")]
    return Family(name, Type.HISTOGRAM, text, (*buckets, *whole))


def render(families: Iterable[Family]) -> bytes:
    """The whole page."""
    return "".join(line + "\n" for family in families for line in _lines(family)).encode()


def _lines(family: Family) -> Iterator[str]:
    if not family.samples:
        return
    yield f"# HELP {family.name} {family.help}"
    yield f"# TYPE {family.name} {family.type}"
    for sample in family.samples:
        labels = ",".join(f'{name}="{_escaped(value)}"' for name, value in sample.labels.items())
        shown = f"{{{labels}}}" if labels else ""
        yield f"{family.name}{sample.suffix}{shown} {_number(sample.value)}"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
