"""Partitions: who cannot reach whom. Each draws its sides when it begins and puts a cut in force.

A partition that lasts is over when the faults phase is. `moving.py` has those that change while they are in force.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from itertools import combinations, permutations
from typing import ClassVar, Self

from msgspec.structs import replace

from protocols.core import Instant
from sim.errors import ScenarioError, nearest
from sim.faults.fault import Chance, Fault, NodeFault, Stage, Undo
from sim.network import Cut, Pairs


class Halves(Fault, frozen=True, tag="halves", forbid_unknown_fields=True):
    """Two halves, cut apart. Of an odd number of nodes, the second half has one more."""

    mixed: ClassVar[Chance | None] = Chance()

    def describe(self) -> str:
        return f"halves cut apart {self.when}"

    def check(self, names: tuple[str, ...], seconds: float) -> None:
        needs_nodes(self, names, 2)
        super().check(names, seconds)

    def begin(self, now: Instant, stage: Stage) -> Undo | None:
        return put_in_force(stage, Cut(halved(stage)))


class Isolate(NodeFault, frozen=True, tag="isolate", forbid_unknown_fields=True):
    """Some nodes, each cut off from everybody, each other included."""

    mixed: ClassVar[Chance | None] = Chance(per_minute=1.5, count_max=2)

    def describe(self) -> str:
        return f"{self.whom} isolated {self.when}"

    def check(self, names: tuple[str, ...], seconds: float) -> None:
        needs_nodes(self, names, 2)
        super().check(names, seconds)

    def begin(self, now: Instant, stage: Stage) -> Undo | None:
        labels = [0] * len(stage.world.processes)
        for label, victim in enumerate(stage.victims(self, stage.world.processes), start=1):
            labels[victim.index] = label
        return put_in_force(stage, Cut(labels))


class OneWay(NodeFault, frozen=True, tag="oneway", forbid_unknown_fields=True):
    """What some nodes say does not reach the others, or only those named in `to`; the other direction works."""

    to: tuple[str, ...] = ()

    places: ClassVar[tuple[str, ...]] = ("nodes", "to")
    mixed: ClassVar[Chance | None] = Chance(per_minute=1.5, count_max=2)

    def describe(self) -> str:
        by = f" by {', '.join(self.to)}" if self.to else ""
        return f"{self.whom} unheard{by} {self.when}"

    def check(self, names: tuple[str, ...], seconds: float) -> None:
        needs_nodes(self, names, 2)
        super().check(names, seconds)
        if not self.to and (len(set(self.nodes)) or self.count) == len(names):
            raise ScenarioError(f"{self.describe()}: nobody is left who could not hear them. Leave a node out.")

    def begin(self, now: Instant, stage: Stage) -> Undo | None:
        world = stage.world
        victims = [victim.index for victim in stage.victims(self, world.processes)]
        if self.to:
            deaf = indexes(stage, self.to)
            return put_in_force(stage, Pairs.links_of(len(world.processes), victims, deaf, way="out"))
        return put_in_force(stage, Cut([int(index in victims) for index in range(len(world.processes))], one_way=True))


class Bridge(NodeFault, frozen=True, tag="bridge", forbid_unknown_fields=True):
    """Two halves, cut apart, and between them some nodes that reach both: the only way from one to the other."""

    mixed: ClassVar[Chance | None] = Chance()

    def describe(self) -> str:
        return f"halves bridged by {self.whom} only {self.when}"

    def check(self, names: tuple[str, ...], seconds: float) -> None:
        super().check(names, seconds)
        bridges = len(self.nodes) or self.count
        needs_nodes(self, names, bridges + 2, f"{bridges} to bridge, and one on either side")

    def begin(self, now: Instant, stage: Stage) -> Undo | None:
        labels = halved(stage, leave_out=[victim.index for victim in stage.victims(self, stage.world.processes)])
        return put_in_force(stage, Cut(labels))


class MajoritiesRing(Fault, frozen=True, tag="majorities-ring", forbid_unknown_fields=True):
    """Every node hears a majority, itself included, and no two hear the same one (Jepsen's `majorities-ring`).

    The nodes stand in a ring in a drawn order, and each hears its nearest neighbours. Where a majority is an even
    number, one neighbour more is heard on one side, so some links work one way only.
    """

    mixed: ClassVar[Chance | None] = Chance()

    def describe(self) -> str:
        return f"every node hears another majority {self.when}"

    def check(self, names: tuple[str, ...], seconds: float) -> None:
        needs_nodes(self, names, 3)
        super().check(names, seconds)

    def begin(self, now: Instant, stage: Stage) -> Undo | None:
        count = len(stage.world.processes)
        ring = shuffled(count, stage.random)
        majority = count // 2 + 1
        nearest_ones = range(-((majority - 1) // 2), majority // 2 + 1)
        heard = {
            (ring[(place + step) % count], listener) for place, listener in enumerate(ring) for step in nearest_ones
        }
        return put_in_force(stage, Pairs.listed(count, (p for p in permutations(range(count), 2) if p not in heard)))


class RandomCut(Fault, frozen=True, tag="random", forbid_unknown_fields=True):
    """Every pair of nodes is cut with probability `p`; where not `symmetric`, each direction of it by itself."""

    p: float = 0.3
    symmetric: bool = True

    mixed: ClassVar[Chance | None] = Chance()

    @classmethod
    def drawn(cls, draw: random.Random, start_s: float, end_s: float, count: int) -> Self:
        return cls(start_s, end_s, p=round(draw.uniform(0.1, 0.7), 3), symmetric=draw.random() < 0.5)

    def describe(self) -> str:
        what = "pair" if self.symmetric else "direction"
        return f"every {what} cut with probability {self.p:g} {self.when}"

    def check(self, names: tuple[str, ...], seconds: float) -> None:
        needs_nodes(self, names, 2)
        if not 0 < self.p <= 1:
            raise ScenarioError(f"{self.describe()}: p is a probability, above 0 and at most 1. For 30 % write 0.3.")
        super().check(names, seconds)

    def begin(self, now: Instant, stage: Stage) -> Undo | None:
        count = len(stage.world.processes)
        draw = stage.random.random
        if self.symmetric:
            both = [pair for pair in combinations(range(count), 2) if draw() < self.p]
            cut = Pairs.listed(count, [*both, *((two, one) for one, two in both)])
        else:
            cut = Pairs.listed(count, (pair for pair in permutations(range(count), 2) if draw() < self.p))
        return put_in_force(stage, cut)


class Groups(Fault, frozen=True, tag="groups", forbid_unknown_fields=True):
    """Groups of nodes, by their names or those of zones, that cannot reach each other. A node in none reaches all."""

    groups: tuple[tuple[str, ...], ...] = ()

    @property
    def named(self) -> tuple[str, ...]:
        return tuple(name for group in self.groups for name in group)

    def describe(self) -> str:
        return f"{' | '.join(' '.join(group) for group in self.groups) or 'groups'} cut apart {self.when}"

    def in_zones(self, zones: Mapping[str, tuple[str, ...]]) -> Self:
        groups = tuple(tuple(node for name in group for node in zones.get(name, (name,))) for group in self.groups)
        return self if groups == self.groups else replace(self, groups=groups)

    def check(self, names: tuple[str, ...], seconds: float) -> None:
        needs_nodes(self, names, 2)
        if len(self.groups) < 2 or not all(self.groups):
            raise ScenarioError(
                f'groups: there must be two groups at least, as in groups = [["{names[0]}"], ["{names[-1]}"]].'
            )
        seen: set[str] = set()
        for name in self.named:
            if name not in names:
                raise ScenarioError(f"{self.describe()}: there is no node {name!r}. {nearest(name, names)}")
            if name in seen:
                raise ScenarioError(f"{self.describe()}: {name} is named twice. Leave it out, and it reaches all.")
            seen.add(name)
        super().check(names, seconds)

    def begin(self, now: Instant, stage: Stage) -> Undo | None:
        side = {name: label for label, group in enumerate(self.groups) for name in group}
        return put_in_force(stage, Cut([side.get(process.name, -1) for process in stage.world.processes]))


def needs_nodes(fault: Fault, names: tuple[str, ...], least: int, why: str = "") -> None:
    """Raise `ScenarioError` where a mesh is too small for `fault`."""
    if len(names) < least:
        reason = f" ({why})" if why else ""
        raise ScenarioError(
            f"{fault.describe()}: a mesh of {len(names)} is too small. Use at least {least} nodes{reason}."
        )


def shuffled(count: int, stream: random.Random) -> list[int]:
    """The numbers below `count` in random order."""
    order = list(range(count))
    stream.shuffle(order)
    return order


def halved(stage: Stage, leave_out: Iterable[int] = ()) -> list[int]:
    """Sides 0 and 1 for all nodes, drawn; −1 for those that are left out."""
    labels = [0] * len(stage.world.processes)
    for index in leave_out:
        labels[index] = -1
    order = [index for index in shuffled(len(labels), stage.random) if labels[index] == 0]
    for index in order[: len(order) // 2]:
        labels[index] = 1
    return labels


def indexes(stage: Stage, names: Iterable[str]) -> list[int]:
    """The nodes of those names, by index, in the order of the mesh."""
    wanted = set(names)
    return [process.index for process in stage.world.processes if process.name in wanted]


def links_of(nodes: tuple[str, ...], to: tuple[str, ...]) -> str:
    """Links in words: `the links of n0`, `the links of n0 and n1, n2`."""
    return f"the links of {', '.join(nodes)}" + (f" and {', '.join(to)}" if to else "")


def put_in_force(stage: Stage, cut: Pairs) -> Undo | None:
    """Cut now; what comes back heals it. None where it would cut nobody from anybody."""
    if not cut:
        return None
    stage.world.cut(cut)
    return lambda now: stage.world.heal(cut)
