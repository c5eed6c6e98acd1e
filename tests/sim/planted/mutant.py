"""What a planted bug is, and how it is proven.

A bug is planted as a `Node` whose events or effects are tampered with (`Tampered`), or as one replaced method
(`patched`). It is caught when every property that it names has been violated within its number of seeds. The code as it
stands must hold on the very same scenario and seeds, or the proof proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from random import Random
from types import ModuleType
from typing import Any

from msgspec.structs import replace

from protocols.config import NodeConfig
from protocols.core import Effect, Event, Instant, Put, Step
from protocols.node import Node
from sim.faults import Crash, Halves, Isolate, Wipe
from sim.process import CoreFactory
from sim.scenario import Scenario, run

QUIET = Scenario(nodes=5, seconds=60)
CUT = Scenario(nodes=6, seconds=60, faults=(Halves(5, 20), Halves(30, 50)))
CUTS = Scenario(nodes=12, seconds=60, faults=(Halves(5, 20), Halves(30, 50)))
MANY = Scenario(nodes=40, seconds=30)
JOIN = Scenario(nodes=7, seconds=30, start="join")
LOST = Scenario(nodes=6, seconds=20, faults=(Crash(18, None, 1),))
WORK = Scenario(nodes=4, seconds=40, tasks_per_s=5)
ANEW = Scenario(nodes=5, seconds=60, faults=(Wipe(8, 8.2, nodes=("n1",), changed=True), Isolate(15, 18, nodes=("n1",))))
CRASHES = Scenario(nodes=4, seconds=50, tasks_per_s=5, faults=(Crash(8, 14, 2), Crash(20, 26, 2), Crash(32, 38, 2)))


@dataclass(frozen=True)
class Mutant:
    """One planted bug. `breaks` says in one sentence what is broken; `caught_by` are the properties that must fall."""

    name: str
    breaks: str
    scenario: Scenario
    caught_by: tuple[str, ...]
    node: CoreFactory = Node
    plant: Callable[[], AbstractContextManager[None]] = nullcontext
    seeds: int = 6
    """Within so many seeds, from 0 on in the tests and from anywhere in a soak."""


def mutant_of(node: type[Node], scenario: Scenario, *caught_by: str, seeds: int = 6) -> Mutant:
    """A bug that is a class of nodes: its docstring says what is broken."""
    return Mutant(_snake(node.__name__), _sentence(node.__doc__), scenario, caught_by, node=node, seeds=seeds)


def mutant_by(
    plant: Callable[[], AbstractContextManager[None]], scenario: Scenario, *caught_by: str, seeds: int = 6
) -> Mutant:
    """A bug that is a context in which a method is replaced: its docstring says what is broken."""
    return Mutant(plant.__name__, _sentence(plant.__doc__), scenario, caught_by, plant=plant, seeds=seeds)


@dataclass(frozen=True)
class Proof:
    """What came of trying to catch a mutant: the seeds that were run, and every property that fell."""

    seeds: tuple[int, ...]
    fallen: tuple[str, ...]
    caught: bool


def prove(mutant: Mutant, first_seed: int = 0) -> Proof:
    """Run the broken code, seed by seed, until all that must fall has fallen."""
    fallen: dict[str, None] = {}
    seeds: list[int] = []
    with mutant.plant():
        for seed in range(first_seed, first_seed + mutant.seeds):
            seeds.append(seed)
            report = run(replace(mutant.scenario, seed=seed), core_factory=mutant.node)
            fallen.update(dict.fromkeys(violation.property for violation in report.violations))
            if all(name in fallen for name in mutant.caught_by):
                return Proof(tuple(seeds), tuple(fallen), caught=True)
    return Proof(tuple(seeds), tuple(fallen), caught=False)


def false_alarms(mutant: Mutant, seeds: Iterable[int]) -> list[str]:
    """What is violated by the code as it stands in the scenario of `mutant`: nothing, if all is well."""
    return [
        f"seed {seed}: {violation.property}: {violation.text}"
        for seed in seeds
        for violation in run(replace(mutant.scenario, seed=seed)).violations
    ]


@contextmanager
def patched(owner: type | ModuleType, name: str, replacement: Callable[..., Any]) -> Iterator[None]:
    """`owner.name` is `replacement` for a while; `owner` is a class or a module."""
    original = owner.__dict__[name]
    setattr(owner, name, replacement)
    try:
        yield
    finally:
        setattr(owner, name, original)


class Tampered(Node):
    """A node between whose core and driver somebody sits."""

    def __init__(self, config: NodeConfig, saved: Iterable[Put], rng: Random) -> None:
        super().__init__(config, self.tamper_with_saved(list(saved)), rng)
        self.count = 0

    def step(self, now: Instant, event: Event) -> Step:
        effects, wake_at = super().step(now, self.tamper_with_event(event))
        return self.tamper_with_effects(effects), wake_at

    def tamper_with_saved(self, saved: list[Put]) -> list[Put]:
        """What the disk hands to the node."""
        return saved

    def tamper_with_event(self, event: Event) -> Event:
        """What happens to the node."""
        return event

    def tamper_with_effects(self, effects: list[Effect]) -> list[Effect]:
        """What the node does."""
        return effects


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


def _sentence(doc: str | None) -> str:
    return " ".join((doc or "").split())
