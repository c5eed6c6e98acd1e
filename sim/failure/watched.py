"""Runs a seed with a recorder on, and comes back with what was seen even where the run broke off."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from protocols.core import NANOS_PER_S
from protocols.node import Node
from sim.checkers.checker import Checker, Violation
from sim.errors import ScenarioError
from sim.process import CoreFactory
from sim.record.happening import Recording
from sim.record.recorder import NEVER, Recorder
from sim.scenario import Scenario, expand, run
from sim.world import World

BROKE_OFF = "no_exception"
"""The property that a run violates which ends in an exception (`sim/sweep/seed.py`)."""
RECORDED_MAX = 400_000
"""Happenings kept of a run: enough for the way to a violation, and some 100 MB at most."""


class Watched(Struct, frozen=True):
    """What was seen of a run. `broke` is the exception that ended it; empty where it came to its end."""

    recording: Recording
    trace_hash: str
    """Empty where the run broke off."""
    broke: str


def watched(
    scenario: Scenario,
    *,
    until_s: float | None = None,
    checkers: Sequence[type[Checker]] | None = None,
    core_factory: CoreFactory = Node,
) -> Watched:
    """Run `scenario` and record it, up to `until_s`. Raises `ScenarioError` for one that cannot be run."""
    recorders: list[Recorder] = []
    until = NEVER if until_s is None else round(until_s * NANOS_PER_S)

    def watch(world: World) -> None:
        recorders.append(Recorder(world, limit=RECORDED_MAX, until=until))

    try:
        report = run(scenario, checkers, core_factory, watch)
    except ScenarioError:
        raise
    except Exception as error:  # a bug of the simulator or of a checker: what led to it is worth the more
        if not recorders:
            raise
        return Watched(recorders[0].recording(expand(scenario), ""), "", f"{type(error).__name__}: {error}")
    return Watched(recorders[0].recording(report.expanded, report.trace_hash), report.trace_hash, "")


class BreaksOff:
    """A trial: does the run end in an exception of the kind that ended the first one?"""

    def __init__(self, checkers: Sequence[type[Checker]] | None, core_factory: CoreFactory) -> None:
        self._checkers = checkers
        self._core_factory = core_factory
        self._kind: type[Exception] | None = None

    def __call__(self, scenario: Scenario) -> Violation | None:
        try:
            run(scenario, self._checkers, self._core_factory)
        except ScenarioError:
            raise
        except Exception as error:  # that it is raised is what is being looked for
            self._kind = self._kind or type(error)
            if type(error) is self._kind:
                text = f"the run broke off: {type(error).__name__}: {error}"
                return Violation(BROKE_OFF, scenario.seconds, "", text)
        return None
