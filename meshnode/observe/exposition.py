"""Figures as Prometheus reads them: the text exposition format, version 0.0.4.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/. Written here because it is this short: a family
has one HELP and one TYPE line and then its samples, all together; label values and help texts are escaped; the text
ends with a line feed. What breaks the format or its naming rules is a fault of this program (`AssertionError`):
- a counter's name ends in `_total`, and nothing else's does; durations are `_seconds`, sizes `_bytes`, always in the
  base unit;
- no family and no sample of one appears twice.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Kind: TypeAlias = Literal["counter", "gauge", "summary"]

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
"""Names that begin with two underscores are Prometheus's own."""


@dataclass(frozen=True)
class Sample:
    """One value. `suffix` is `_sum` or `_count` for the parts of a summary that have no quantile."""

    value: float
    labels: Mapping[str, str] = field(default_factory=dict)
    suffix: str = ""


@dataclass(frozen=True)
class Family:
    """A metric: what it is called, what it means, and its values."""

    name: str
    kind: Kind
    help: str
    samples: tuple[Sample, ...]


def render(families: Iterable[Family]) -> str:
    """All families as one text. A family without samples is left out."""
    lines: list[str] = []
    names: set[str] = set()
    for family in families:
        assert family.name not in names, f"{family.name} is there twice"
        names.add(family.name)
        if family.samples:
            lines += _family_lines(family)
    return "".join(f"{line}\n" for line in lines)


def _family_lines(family: Family) -> list[str]:
    name = family.name
    assert _NAME.fullmatch(name), name
    assert name.endswith("_total") == (family.kind == "counter"), f"{name} is a {family.kind}"
    lines = [f"# HELP {name} {_escaped_help(family.help)}", f"# TYPE {name} {family.kind}"]
    seen: set[tuple[object, ...]] = set()
    for sample in family.samples:
        assert sample.suffix in (("", "_sum", "_count") if family.kind == "summary" else ("",)), sample
        series = (sample.suffix, *sorted(sample.labels.items()))
        assert series not in seen, f"{name}{series} is there twice"
        seen.add(series)
        lines.append(f"{name}{sample.suffix}{_labels(sample.labels)} {_number(sample.value)}")
    return lines


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    pairs: list[str] = []
    for name, value in labels.items():
        assert _LABEL.fullmatch(name), name
        pairs.append(f'{name}="{_escaped_value(value)}"')
    return "{" + ",".join(pairs) + "}"


def _escaped_value(text: str) -> str:
    return _encodable(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _escaped_help(text: str) -> str:
    return _encodable(text).replace("\\", "\\\\").replace("\n", "\\n")


def _encodable(text: str) -> str:
    """A lone surrogate cannot be said in UTF-8."""
    return text.encode("utf-8", "replace").decode()


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value)
