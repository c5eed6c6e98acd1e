"""One mesh of a trial: it starts, something is done to it, and observers note what its members believe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from protocols.core import NANOS_PER_S, Instant
from protocols.membership.facts import Forgotten, MemberChanged
from protocols.membership.member import State
from sim.checkers.checker import Checker
from sim.process import Process
from sim.scenario import Run, Scenario
from sim.scenario.fenced import fenced
from sim.scenario.run import LARGE
from sim.study.trial import StudyError
from sim.world import World, quiet_collector


class Mesh:
    """A scenario under way. Time passes only in `run_until`."""

    def __init__(self, scenario: Scenario, observers: Sequence[type[Checker]]) -> None:
        self._run = Run(scenario, observers)
        self.world: World = self._run.world
        self._freeze = scenario.nodes >= LARGE
        with fenced(self.world):
            self._run.start()

    @property
    def observers(self) -> tuple[Checker, ...]:
        """One of each of the classes that were given, in their order."""
        return self.world.watch.checkers

    def run_until(self, seconds: float) -> None:
        """Let virtual time pass up to `seconds`. Raises `StudyError` where something in the mesh broke."""
        with quiet_collector(freeze=self._freeze), fenced(self.world):
            self.world.run(max(self.world.kernel.now, round(seconds * NANOS_PER_S)))
        for violation in self.world.watch.violations:
            raise StudyError(f"{violation.property}: {violation.text}")

    def index_of(self, node_id: str) -> int:
        """The number of a node."""
        return self.world.by_id[node_id].index


class Verdict(NamedTuple):
    """Somebody's belief about a member has changed. Nodes are numbers."""

    at: Instant
    observer: int
    subject: int
    state: State


class Verdicts(Checker):
    """Every change of belief, in the order in which they came."""

    name = "verdicts"
    facts = (MemberChanged,)

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.all: list[Verdict] = []

    def on_fact(self, now: Instant, process: Process, fact: object) -> None:
        assert isinstance(fact, MemberChanged)
        self.all.append(Verdict(now, process.index, self.world.by_id[fact.node_id].index, fact.state))

    def first(self, subject: int, state: State, since: Instant = 0) -> dict[int, Instant]:
        """When each observer first took `subject` for `state`."""
        found: dict[int, Instant] = {}
        for verdict in self.all:
            if verdict.subject == subject and verdict.state is state and verdict.at >= since:
                found.setdefault(verdict.observer, verdict.at)
        return found


class Disagreement(Checker):
    """Who does not take whom for alive, in a mesh in which at first all know all."""

    name = "disagreement"
    facts = (MemberChanged, Forgotten)

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.pairs: set[tuple[int, int]] = set()
        self.deaths = 0
        """Verdicts of death so far."""
        self.forgotten = 0
        """Rows dropped so far, their time being over."""
        self.agreed_at: Instant = 0
        """When the last of them took the last for alive; what it says counts while there are no pairs."""

    def on_fact(self, now: Instant, process: Process, fact: object) -> None:
        assert isinstance(fact, MemberChanged | Forgotten)
        pair = process.index, self.world.by_id[fact.node_id].index
        if isinstance(fact, MemberChanged) and fact.state is State.ALIVE:
            if pair in self.pairs:
                self.pairs.remove(pair)
                if not self.pairs:
                    self.agreed_at = now
        else:
            self.pairs.add(pair)
            if isinstance(fact, Forgotten):
                self.forgotten += 1
            elif fact.state is State.DEAD:
                self.deaths += 1


def seconds(nanos: Instant) -> float:
    """Nanoseconds as seconds, to the microsecond."""
    return round(nanos / NANOS_PER_S, 6)
