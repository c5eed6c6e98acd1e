"""Quantiles of what was measured, and numbers as a person would write them."""

from __future__ import annotations

import math
from collections.abc import Sequence

MINUS = "\u2212"


def quantile(values: Sequence[float], share: float) -> float | None:
    """The value that `share` of `values` do not exceed (nearest rank); None of none. Of few, p99 is the largest."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def median(values: Sequence[float]) -> float | None:
    """The middle one, or the mean of the two in the middle; None of none."""
    if not values:
        return None
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def mean(values: Sequence[float]) -> float | None:
    """None of none."""
    return math.fsum(values) / len(values) if values else None


def ratio(one: float | None, other: float | None) -> float | None:
    """`one / other`; infinite where something is held against nothing, 1 for nothing against nothing."""
    if one is None or other is None:
        return None
    if not other:
        return math.inf if one else 1.0
    return one / other


def written(number: float | None, unit: str = "") -> str:
    """`1,234`, `12.3 s`, `0.054`, `∞`, `–` for none; `99.995 %`: close to all, digits count; never rounded up."""
    if number is None:
        return "–"
    if math.isinf(number):
        text = "∞"
    elif number == int(number) and abs(number) < 1e15:
        text = f"{int(number):,}"
    elif abs(number) >= 100:
        text = f"{number:,.0f}"
    elif unit == "%" and 99 < number < 100:
        text = f"{math.floor(number * 1e4) / 1e4:.4f}".rstrip("0").removesuffix(".")  # never more than it is
    else:
        text = f"{number:.3g}"
    text = text.replace("-", MINUS)
    return text + ("" if not unit else unit if unit == "×" else f" {unit}")
