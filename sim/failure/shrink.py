"""Makes a failing scenario smaller, as long as the same property is violated: fewer faults, nodes, seconds, options.

The scenario is expanded first: every fault is explicit and has a random stream of its own, so that dropping one does
not move the draws of the others. Then come, again and again until a whole round changes nothing:

1. faults: delta debugging (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002), which
   ends with a list from which no single fault can be dropped;
2. nodes: the smallest mesh that fails; faults that ask for more nodes than there are ask for fewer, and a node that a
   fault names stays;
3. time: the run ends right after the violation; what lies between the faults, and the faults themselves, get shorter;
4. everything else: workload, links, disks and the options of each fault go back to their defaults.

What comes back has been seen to fail. The search draws nothing and its order is fixed, so with the same bound on runs
it gives the same answer anywhere. The wall clock, and Ctrl-C, only decide when to stop early, and the result says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import TypeAlias

from msgspec import Struct

from protocols.node import Node
from sim.checkers.checker import Checker, Violation
from sim.errors import ScenarioError
from sim.failure.changes import changes_between
from sim.failure.smaller import PASSES, Search, Spent
from sim.failure.trial import Trial, trial_of
from sim.process import CoreFactory
from sim.scenario import Report, Scenario, expand, run

RUNS_MAX = 500
WALL_S_MAX = 60.0
EVENTS_FACTOR = 4
EVENTS_SLACK = 100_000
"""A candidate is given up on after this many times the events of the whole failing run, and as many more."""


class End(StrEnum):
    """Why the search ended."""

    DONE = "nothing more can be dropped"
    RUNS = "the bound on runs was reached"
    TIME = "the bound on wall time was reached"
    INTERRUPTED = "it was interrupted"


class NothingToShrink(ScenarioError):
    """The scenario does not violate the property, so there is no failure to make smaller."""


class Shrunk(Struct, frozen=True):
    """The smallest form of a failure that was found. `scenario` has been run, and violates `violation.property`."""

    original: Scenario
    """As it was run before: expanded."""
    scenario: Scenario
    violation: Violation
    """The first violation of the property in the small run."""
    changes: tuple[str, ...]
    """What is different from the original, in words, one clause each; empty when nothing could be dropped."""
    runs: int
    given_up: int
    """Runs that came to no end, or to an error of their own: they count as not failing."""
    wall_s: float
    end: End


OnProgress: TypeAlias = Callable[[int, Scenario], None]
"""(runs so far, the smallest scenario so far), after every run."""


def shrink(
    scenario: Scenario,
    *,
    checkers: Sequence[type[Checker]] | None = None,
    core_factory: CoreFactory = Node,
    failing: Report | None = None,
    property_name: str = "",
    budget_runs: int = RUNS_MAX,
    budget_s: float = WALL_S_MAX,
    on_progress: OnProgress | None = None,
    trial: Trial | None = None,
) -> Shrunk:
    """Shrink `scenario`, which must fail, keeping `property_name` (default: what falls first) violated.

    `failing` is the report of its run, where there is one. A `trial` replaces running the scenario: a front end whose
    scenarios are more than data passes one of its own. Ctrl-C ends the search with what it has. Raises
    `NothingToShrink` where the property is not violated, and `ScenarioError` for a scenario that cannot be run.
    """
    scenario.validate()
    original = expand(scenario)
    begun = time.monotonic()
    events_max = 0
    if not property_name or trial is None:
        failing = failing or run(original, checkers, core_factory)
        property_name = property_name or (failing.violations[0].property if failing.violations else "")
        events_max = EVENTS_FACTOR * failing.events + EVENTS_SLACK
    if trial is None:
        trial = trial_of(property_name, checkers=checkers, core_factory=core_factory, events_max=events_max)
    violation = trial(original) if property_name else None
    if violation is None:
        what = property_name or "every property"
        raise NothingToShrink(f"Seed {original.seed} does not fail: {what} held, so there is nothing to shrink.")

    search = Search(original, violation, trial, budget_runs, begun + budget_s, on_progress)
    end = End.DONE
    try:
        before: Scenario | None = None
        while before != search.best:
            before = search.best
            for simplify in PASSES:
                simplify(search)
    except Spent:
        end = End.RUNS if search.runs >= budget_runs else End.TIME
    except KeyboardInterrupt:  # minutes of work may be in what was found by then
        end = End.INTERRUPTED
    return Shrunk(
        original=original,
        scenario=search.best,
        violation=search.violation,
        changes=changes_between(original, search.best),
        runs=search.runs,
        given_up=search.given_up,
        wall_s=round(time.monotonic() - begun, 3),
        end=end,
    )
