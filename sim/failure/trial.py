"""One run of a candidate, to answer one question: is this property violated?

A trial stops at the first violation of the property it is asked about, or when it has gone on for so long that it can
hardly be a smaller form of the failure. Both are counted in virtual terms, so the answer is the same on any machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from protocols.core import Instant
from protocols.node import Node
from sim.checkers.checker import Checker, Violation
from sim.process import CoreFactory
from sim.scenario import Scenario, run
from sim.world import World

Trial: TypeAlias = Callable[[Scenario], Violation | None]
"""Runs a scenario, and tells of the first violation of the property in question; None where there is none."""


class TooLong(Exception):
    """A trial was given up on: it took more events than a smaller form of the failure can need."""


def trial_of(
    property_name: str,
    *,
    checkers: Sequence[type[Checker]] | None = None,
    core_factory: CoreFactory = Node,
    events_max: int = 0,
) -> Trial:
    """A trial for violations of `property_name`. Past `events_max` events (0: no bound) it raises `TooLong`."""

    def trial(scenario: Scenario) -> Violation | None:
        found: list[Violation] = []
        worlds: list[World] = []

        def watch(world: World) -> None:
            worlds.append(world)
            look_around = world.kernel.on_slice

            def on_slice(now: Instant) -> None:
                look_around(now)
                if too_long(world) and not world.stopped:
                    world.stop()

            def on_violation(violation: Violation) -> None:
                if violation.property == property_name and not found:
                    found.append(violation)
                    world.stop()

            world.kernel.on_slice = on_slice
            world.watch.on_violation.append(on_violation)

        run(scenario, checkers, core_factory, watch)
        if not found and too_long(worlds[0]):
            raise TooLong(f"{worlds[0].kernel.events} events without a violation of {property_name}")
        return found[0] if found else None

    def too_long(world: World) -> bool:
        return 0 < events_max < world.kernel.events

    return trial
