"""Partitions: who cannot reach whom. Each draws its sides when it begins and puts one `Cut` in force.

A partition that lasts is over when the faults phase is.
"""

from __future__ import annotations

import random

from protocols.core import Instant
from sim.errors import ScenarioError
from sim.faults.fault import Fault, NodeFault, Stage, Undo
from sim.network import Cut


class Halves(Fault, frozen=True, tag="halves", forbid_unknown_fields=True):
    """Two halves, cut apart. Of an odd number of nodes, the second half has one more."""

    def describe(self) -> str:
        return f"halves cut apart {self.when}"

    def check(self, names: tuple[str, ...], seconds: float) -> None:
        if len(names) < 2:
            raise ScenarioError(f"{self.describe()}: one node cannot be cut in halves. Use at least 2 nodes.")
        super().check(names, seconds)

    def begin(self, now: Instant, stage: Stage) -> Undo:
        order = shuffled(len(stage.world.processes), stage.random)
        labels = [0] * len(order)
        for index in order[: len(order) // 2]:
            labels[index] = 1
        return put_in_force(stage, Cut(labels))


class Isolate(NodeFault, frozen=True, tag="isolate", forbid_unknown_fields=True):
    """Some nodes, each cut off from everybody, each other included."""

    def describe(self) -> str:
        return f"{self.whom} isolated {self.when}"

    def begin(self, now: Instant, stage: Stage) -> Undo:
        labels = [0] * len(stage.world.processes)
        for label, victim in enumerate(stage.victims(self, stage.world.processes), start=1):
            labels[victim.index] = label
        return put_in_force(stage, Cut(labels))


class OneWay(NodeFault, frozen=True, tag="oneway", forbid_unknown_fields=True):
    """What some nodes say reaches none of the others; the other direction works."""

    def describe(self) -> str:
        return f"{self.whom} unheard {self.when}"

    def begin(self, now: Instant, stage: Stage) -> Undo:
        labels = [0] * len(stage.world.processes)
        for victim in stage.victims(self, stage.world.processes):
            labels[victim.index] = 1
        return put_in_force(stage, Cut(labels, one_way=True))


def shuffled(count: int, stream: random.Random) -> list[int]:
    """The numbers below `count` in random order."""
    order = list(range(count))
    stream.shuffle(order)
    return order


def put_in_force(stage: Stage, cut: Cut) -> Undo:
    """Cut now; what comes back heals it."""
    stage.world.cut(cut)
    return lambda now: stage.world.heal(cut)
