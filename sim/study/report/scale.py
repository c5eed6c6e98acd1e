"""From figures to places in a picture: linear and logarithmic scales, and where their ticks are. Pure arithmetic."""

from __future__ import annotations

import math

from msgspec import Struct


class Scale(Struct, frozen=True):
    """`least` is drawn at `start`, `most` at `end`."""

    least: float
    most: float
    start: float
    end: float
    log: bool = False

    def place(self, value: float) -> float:
        """Where `value` is drawn; on a logarithmic scale what lies below its least lies on it."""
        if self.log:
            value, least, most = (math.log10(max(each, self.least)) for each in (value, self.least, self.most))
        else:
            least, most = self.least, self.most
        return self.start + (value - least) / (most - least) * (self.end - self.start)

    @property
    def ticks(self) -> list[float]:
        """Round values between least and most."""
        if self.log:
            powers = range(math.ceil(math.log10(self.least) - 1e-9), math.floor(math.log10(self.most) + 1e-9) + 1)
            return [10.0**power for power in powers]
        step = _step(self.most - self.least)
        first, last = math.ceil(self.least / step - 1e-9), math.floor(self.most / step + 1e-9)
        return [round(step * number, 10) for number in range(first, last + 1)]


def linear(values: list[float], start: float, end: float) -> Scale:
    """From 0 to a round value above all."""
    most = max([0.0, *values])
    if most <= 0:
        return Scale(0.0, 1.0, start, end)
    step = _step(most)
    return Scale(0.0, step * math.ceil(most / step - 1e-9), start, end)


def logarithmic(values: list[float], start: float, end: float, *, whole: bool) -> Scale:
    """Over the positive ones; `whole`: from power to power of ten, and from 1 or less, as bars want it that stand
    beside bars of nothing; else just what there is, with a little room."""
    positive = [value for value in values if value > 0] or [1.0]
    least, most = min(positive), max(positive)
    if whole:
        least, most = min(1.0, 10.0 ** math.floor(math.log10(least))), 10.0 ** math.ceil(math.log10(most))
    else:
        least, most = least / 1.3, most * 1.3
    return Scale(least, most if most > least else 10 * least, start, end, log=True)


def _step(span: float) -> float:
    """A round step that gives four to nine ticks."""
    power = 10.0 ** math.floor(math.log10(span / 4))
    return next((power * times for times in (1, 2, 5, 10) if span / (power * times) <= 7), 10 * power)
