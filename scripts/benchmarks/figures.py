"""The vocabulary of benchmarks: a row of the report, a goal, a benchmark and what it is given.

Rules:
- A figure is measured in this run, on this machine. What could not be measured is absent and says why in its note;
  no figure is ever carried over from elsewhere.
- `ratio` is plainly value / peer_value; `better` says which way is good.
- Goals are those of the issues. A missed goal is a fact about a figure, not a failure of the benchmark.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from msgspec import Struct

from scripts.benchmarks.peers import Peers

Better = Literal["higher", "lower"]


class BenchBroken(Exception):
    """A benchmark could not do its work. The text says what went wrong."""


@dataclass(frozen=True)
class Goal:
    """A bound that a figure is to meet."""

    bound: float
    better: Better
    inclusive: bool = False
    """Whether the bound itself still meets a goal where lower is better."""

    def met_by(self, value: float) -> bool:
        if self.better == "higher":
            return value >= self.bound
        return value <= self.bound if self.inclusive else value < self.bound

    def missed_by(self, value: float) -> str:
        """How far off, in words; empty where it is met."""
        if self.met_by(value):
            return ""
        distance = abs(value - self.bound)
        far = f"{distance / self.bound:.0%}" if self.bound else f"{distance:g}"
        return f"{far} {'below' if self.better == 'higher' else 'above'}"

    def __str__(self) -> str:
        sign = ">=" if self.better == "higher" else "<=" if self.inclusive else "<"
        return f"{sign} {self.bound:g}"


def at_least(bound: float) -> Goal:
    return Goal(bound, "higher")


def below(bound: float) -> Goal:
    return Goal(bound, "lower")


def no_more_than(bound: float) -> Goal:
    return Goal(bound, "lower", inclusive=True)


class Row(Struct, frozen=True, kw_only=True):
    """One figure. `value` is None only where the benchmark broke; peer fields are None where no peer was measured."""

    bench: str
    metric: str
    value: float | None
    unit: str
    better: Better = "higher"
    peer: str | None = None
    peer_value: float | None = None
    ratio: float | None = None
    """value / peer_value."""
    goal: str | None = None
    """`>= bound`, `< bound` or `<= bound`, in `unit`."""
    met: bool | None = None
    missed_by: str = ""
    at_most: bool = False
    """The figure is an upper bound: the measurement was given up."""
    note: str = ""


def figure(
    bench: str,
    metric: str,
    value: float,
    unit: str,
    *,
    better: Better = "higher",
    peer: str | None = None,
    peer_value: float | None = None,
    goal: Goal | None = None,
    at_most: bool = False,
    note: str = "",
) -> Row:
    """A row, with what follows from its figures filled in."""
    missed_by = goal.missed_by(value) if goal else ""
    if missed_by and at_most:
        missed_by = f"at least {missed_by}"
    assert goal is None or goal.better == better, f"{metric}: the goal points the other way"
    return Row(
        bench=bench,
        metric=metric,
        value=rounded(value),
        unit=unit,
        better=better,
        peer=peer,
        peer_value=None if peer_value is None else rounded(peer_value),
        ratio=rounded(value / peer_value) if peer_value else None,
        goal=None if goal is None else str(goal),
        met=None if goal is None else goal.met_by(value),
        missed_by=missed_by,
        at_most=at_most,
        note=note,
    )


def rounded(value: float) -> float:
    """Four significant digits: more would be noise."""
    return float(f"{value:.4g}")


def median(values: Sequence[float]) -> float:
    """Raises `BenchBroken` for no values at all: nothing was measured."""
    if not values:
        raise BenchBroken("nothing was measured in the time that there was")
    return statistics.median(values)


@dataclass(frozen=True)
class Setting:
    """What a benchmark is given."""

    quick: bool
    scratch: Path
    """A directory of its own on the disk that `machine.fdatasync_ms_p50` is of; removed afterwards."""
    peers: Peers
    say: Callable[[str], None]
    """Progress, for a person."""


@dataclass(frozen=True)
class Benchmark:
    """`run` measures; it raises `BenchBroken`, or anything else, where it cannot."""

    name: str
    about: str
    run: Callable[[Setting], list[Row]]
