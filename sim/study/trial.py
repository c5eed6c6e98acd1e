"""What a study is made of: trials, what they measure, and the base of all experiments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, TypeAlias

from msgspec import Struct

from protocols.membership.settings import MembershipSettings
from sim.study.findings import Section

Figures: TypeAlias = dict[str, list[float]]
"""What one trial has measured, by name."""


LAN = MembershipSettings()


class StudyError(Exception):
    """A trial broke off, or something in it touched the outside: its figures would mean nothing."""


class Trial(Struct, frozen=True):
    """One run of a mesh: the experiment, what is done in it (the arm), the number of nodes, the seed."""

    experiment: str
    arm: str
    nodes: int
    seed: int


class Samples:
    """What the trials of one experiment have measured so far, in the order of the plan."""

    def __init__(self, taken: Sequence[tuple[Trial, Figures]]) -> None:
        self._taken: dict[tuple[str, int], list[Figures]] = {}
        for trial, figures in taken:
            self._taken.setdefault((trial.arm, trial.nodes), []).append(figures)

    @property
    def sizes(self) -> list[int]:
        """The numbers of nodes that there is anything of."""
        return sorted({nodes for _, nodes in self._taken})

    def sizes_of(self, arm: str) -> list[int]:
        """The numbers of nodes that there is anything of in this arm."""
        return [nodes for nodes in self.sizes if (arm, nodes) in self._taken]

    def seeds(self, arm: str, nodes: int) -> int:
        """How many seeds have been run."""
        return len(self._taken.get((arm, nodes), ()))

    def values(self, arm: str, nodes: int, figure: str) -> list[float]:
        """All values of one figure, over all seeds."""
        return [value for figures in self._taken.get((arm, nodes), ()) for value in figures.get(figure, ())]

    def total(self, arm: str, nodes: int, figure: str) -> float:
        """Their sum."""
        return sum(self.values(arm, nodes, figure))


class Experiment:
    """One question. `share` is how many seeds, by number of nodes, are run where nobody says; other sizes take those of
    the next larger one."""

    name: ClassVar[str]
    title: ClassVar[str]
    share: ClassVar[Mapping[int, int]]
    sizes_min: ClassVar[int] = 2
    """Smaller meshes cannot be asked this."""

    def __init__(self, membership: MembershipSettings = LAN) -> None:
        """`membership`: what nodes are told, and what theory is worked out for."""
        self.membership = membership
        self.config = membership.swim()

    def arms(self, nodes: int) -> tuple[str, ...]:
        """What is done in a mesh of so many."""
        raise NotImplementedError

    def usual_arms(self, nodes: int) -> tuple[str, ...]:
        """What of that is done where nobody says which seeds."""
        return self.arms(nodes)

    def run(self, trial: Trial) -> Figures:
        """Measure one seed. Raises `StudyError`."""
        raise NotImplementedError

    def section(self, samples: Samples) -> Section:
        """What the samples say; there may be few or none of any arm."""
        raise NotImplementedError

    def trials(self, sizes: Sequence[int], seeds: range | None) -> Iterator[Trial]:
        """All trials, seed by seed, so that who breaks off has something of everything. None: the usual share."""
        usable = [nodes for nodes in sizes if nodes >= self.sizes_min]
        of = {nodes: range(self._share(nodes)) if seeds is None else seeds for nodes in usable}
        for place in range(max(map(len, of.values()), default=0)):
            for nodes in usable:
                if place < len(of[nodes]):
                    for arm in self.usual_arms(nodes) if seeds is None else self.arms(nodes):
                        yield Trial(self.name, arm, nodes, of[nodes][place])

    def _share(self, nodes: int) -> int:
        larger = [seeds for size, seeds in sorted(self.share.items()) if size >= nodes]
        return larger[0] if larger else self.share[max(self.share)]
