"""Quantiles, and figures as they are written; the scales of plots."""

from __future__ import annotations

import math

import pytest

from sim.study.numbers import mean, median, quantile, ratio, written
from sim.study.report.scale import linear, logarithmic


def test_quantiles_are_by_nearest_rank() -> None:
    values = [float(number) for number in range(100, 0, -1)]
    assert quantile(values, 0.5) == 50
    assert quantile(values, 0.99) == 99
    assert quantile(values, 1.0) == 100
    assert quantile([7.0], 0.01) == 7
    assert quantile([], 0.5) is None


def test_means_and_ratios() -> None:
    assert median([3.0, 1.0, 2.0]) == 2
    assert median([4.0, 1.0]) == 2.5
    assert median([]) is None
    assert mean([1.0, 2.0]) == 1.5
    assert mean([]) is None
    assert ratio(3.0, 2.0) == 1.5
    assert ratio(3.0, 0.0) == math.inf
    assert ratio(0.0, 0.0) == 1
    assert ratio(None, 1.0) is None


@pytest.mark.parametrize(
    ("number", "unit", "text"),
    [
        (None, "s", "–"),
        (1234.0, "", "1,234"),
        (12.345, "s", "12.3 s"),
        (1.5, "×", "1.5×"),
        (99.995, "%", "99.995 %"),
        (99.99996, "%", "99.9999 %"),
        (99.00001, "%", "99 %"),
        (100.0, "%", "100 %"),
        (-0.5, "", "−0.5"),
        (123.4, "KB/s", "123 KB/s"),
    ],
)
def test_figures_are_written_for_people(number: float | None, unit: str, text: str) -> None:
    assert written(number, unit) == text


def test_a_linear_scale_begins_at_nothing_and_ends_round() -> None:
    scale = linear([3.0, 17.0], 100.0, 0.0)
    assert (scale.least, scale.most) == (0, 20)
    assert scale.place(0) == 100
    assert scale.place(20) == 0
    assert scale.place(10) == 50
    assert scale.ticks[0] == 0
    assert scale.ticks[-1] == 20
    assert 4 <= len(scale.ticks) <= 9


def test_a_logarithmic_scale_goes_from_power_to_power() -> None:
    scale = logarithmic([0.03, 800.0, 0.0], 0.0, 50.0, whole=True)
    assert scale.ticks == pytest.approx([0.01, 0.1, 1, 10, 100, 1000])
    assert scale.place(0.01) == 0
    assert scale.place(0.0) == 0, "what cannot be drawn lies on the least"
    assert scale.place(1000.0) == pytest.approx(50)


@pytest.mark.parametrize("values", [[], [0.0], [5.0], [1e-9], [1e9]])
def test_scales_bear_whatever_was_measured(values: list[float]) -> None:
    for scale in (linear(values, 0.0, 1.0), logarithmic(values, 0.0, 1.0, whole=True)):
        assert scale.most > scale.least
        assert all(0 <= scale.place(value) <= 1 for value in values)
        assert len(scale.ticks) >= 1
