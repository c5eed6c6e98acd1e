"""A study as plain text: every figure beside its goal."""

from __future__ import annotations

from collections.abc import Iterator

from sim.study.findings import Goal, Study
from sim.study.numbers import written

SIGNS = {True: "met", False: "MISSED", None: "not measured"}


def summary(study: Study) -> str:
    """The goals of every section, and how many are met."""
    return "\n".join(_lines(study)) + "\n"


def verdict(study: Study) -> str:
    """`24 of 26 goals met; 2 missed`."""
    goals = study.goals
    met, missed = (sum(goal.met is held for goal in goals) for held in (True, False))
    text = f"{met} of {met + missed} goals met"
    return f"{text}; {missed} missed" if missed else text


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
    for section in study.sections:
        yield ""
        yield section.title
        if not section.goals:
            yield "  nothing was run of this"
        width = max((len(goal.what) for goal in section.goals), default=0)
        for goal in section.goals:
            figure = written(goal.figure, goal.unit)
            yield f"  {SIGNS[goal.met]:<7}{goal.what:<{width}}  {figure:>10}  ({wanted(goal)})"
    yield ""
    yield verdict(study)
