"""One seed of a sweep, and what is reported of a seed that cannot be run to its end.

A sweep goes on whatever happens to one seed: what went wrong becomes a violation in a report that has no figures.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import TypeAlias

from msgspec.structs import replace

from sim.checkers.checker import Violation
from sim.errors import ScenarioError
from sim.scenario import Report, Scenario, expand, run

FRAMES_SHOWN = 3
Work: TypeAlias = Callable[[Scenario, int], Report]
"""Runs one seed of a scenario. Workers import it by name, so it must be a function of a module."""


def run_seed(scenario: Scenario, seed: int) -> Report:
    """One seed of a scenario, in this process. Raises `ScenarioError`, and what the simulator itself raises."""
    return run(replace(scenario, seed=seed))


def run_whatever_comes(work: Work, scenario: Scenario, seed: int) -> Report:
    """What `work` reports of a seed; an exception out of the simulator or a checker violates `no_exception`."""
    try:
        return work(scenario, seed)
    except ScenarioError:
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)[-FRAMES_SHOWN:]
        where = ", ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno} in {frame.name}" for frame in frames)
        text = f"the run broke off: {type(error).__name__}: {error} (last calls: {where})"
        return without_figures(scenario, seed, Violation("no_exception", 0.0, "", text))


def without_figures(scenario: Scenario, seed: int, violation: Violation) -> Report:
    """The report of a seed that could not be run to its end."""
    return Report(
        seed=seed,
        nodes=scenario.nodes,
        trace_hash="",
        events=0,
        virtual_seconds=0.0,
        wall_seconds=0.0,
        setup_seconds=0.0,
        times_real_time=0.0,
        messages={},
        drops={},
        faults={},
        facts={},
        tasks={},
        agreed_after_s=None,
        violations=(violation,),
        expanded=expand(replace(scenario, seed=seed)),
        sometimes={},
    )


def lost(scenario: Scenario, seed: int, deaths: int, how: str) -> Report:
    """The report of a seed whose worker died every time."""
    text = (
        f"the process that ran this seed died {deaths} times ({how}), each time in a new process, so it is the seed "
        "and not the machine. Run it alone, with --jobs 1, to see the process die; look at its memory first."
    )
    return without_figures(scenario, seed, Violation("worker_survives", 0.0, "", text))
