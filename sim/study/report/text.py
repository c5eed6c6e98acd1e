"""A study as plain text: every figure beside its goal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sim.study.findings import Goal, Study
from sim.study.numbers import written

SIGNS = {True: "met", False: "MISSED", None: "not measured"}
UNMET = {False: "missed", None: "not measured"}


def summary(study: Study) -> str:
    """The goals of every section, and how many are met."""
    return "\n".join(_lines(study)) + "\n"


def verdict(goals: Sequence[Goal]) -> str:
    """`24 of 27 goals met; 2 missed, 1 not measured`."""
    if not goals:
        return "nothing was measured"
    text = f"{sum(goal.met is True for goal in goals)} of {len(goals)} goals met"
    others = [f"{count} {word}" for held, word in UNMET.items() if (count := sum(goal.met is held for goal in goals))]
    return "; ".join([text, ", ".join(others)]) if others else text


def wanted(goal: Goal) -> str:
    """`at most 1.2 ×`."""
    return f"{goal.bound} {written(goal.limit, goal.unit)}"


def run_of(study: Study) -> str:
    """What was run, in one line."""
    sizes = ", ".join(f"{nodes:,}" for nodes in study.nodes)
    done = f"{study.trials:,} runs"
    if study.trials < study.planned:
        done = f"{study.trials:,} of {study.planned:,} runs: it was broken off, and this is what there is"
    return f"N = {sizes}; seeds: {study.seeds}; {done}"


def _lines(study: Study) -> Iterator[str]:
    yield f"study {study.study}: {run_of(study)}"
    signs = max((len(SIGNS[goal.met]) for goal in study.goals), default=0)
    for section in study.sections:
        yield ""
        yield section.title
        if not section.goals:
            yield "  nothing was run of this"
        width = max((len(goal.what) for goal in section.goals), default=0)
        for goal in section.goals:
            figure = written(goal.figure, goal.unit)
            yield f"  {SIGNS[goal.met]:<{signs}} {goal.what:<{width}}  {figure:>10}  ({wanted(goal)})"
    yield ""
    yield verdict(study.goals)
