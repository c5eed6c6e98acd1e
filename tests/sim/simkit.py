"""Small worlds of `pingpong` cores for the tests of the simulator."""

from __future__ import annotations

from collections.abc import Sequence

from protocols.config import NodeConfig
from protocols.core import NANOS_PER_MS, NANOS_PER_S, Command, Endpoint, Fact, Instant, Outcome
from sim.checkers.checker import Checker
from sim.clock import ClockProfile
from sim.disk import DiskProfile
from sim.executor import Body, scripted_body
from sim.network import Cut, LinkProfile
from sim.process import Process
from sim.scenario import address_for, node_id_for
from sim.world import World
from tests.sim.pingpong import Core, Done, Heard, Say

S = NANOS_PER_S
MS = NANOS_PER_MS


class Ears(Checker):
    """Remembers every `Heard`: (time, listener, kind, number)."""

    name = "ears"
    facts = (Heard,)

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.heard: list[tuple[Instant, int, str, int]] = []

    def on_fact(self, now: Instant, process: Process, fact: Fact) -> None:
        assert isinstance(fact, Heard)
        self.heard.append((now, process.index, fact.kind, fact.number))

    def numbers(self, listener: int, kind: str = "Line") -> list[int]:
        return [number for _, index, what, number in self.heard if index == listener and what == kind]


class Outcomes:
    """Remembers the outcomes of requests, in order."""

    def __init__(self) -> None:
        self.all: list[tuple[Instant, Outcome]] = []

    def __call__(self, now: Instant, outcome: Outcome) -> None:
        self.all.append((now, outcome))

    @property
    def done(self) -> int:
        return sum(type(outcome) is Done for _, outcome in self.all)


class Small:
    """`count` booted cores; with `pinging`, each pings the next one every second."""

    def __init__(
        self,
        count: int = 2,
        *,
        seed: int = 0,
        link: LinkProfile | None = None,
        disk: DiskProfile | None = None,
        clock: ClockProfile | None = None,
        body: Body = scripted_body,
        pinging: bool = False,
    ) -> None:
        configs = [
            NodeConfig(
                node_id_for(index),
                f"n{index}",
                "test",
                address_for(index),
                seeds=(address_for((index + 1) % count),) if pinging else (),
            )
            for index in range(count)
        ]
        self.world = World(seed, configs, Core, link=link, disk=disk, clock=clock, body=body)
        self.ears = Ears(self.world)
        self.world.watch.install([self.ears])
        self.outcomes = Outcomes()
        for process in self.world.processes:
            self.world.boot(process)

    @property
    def now(self) -> Instant:
        return self.world.kernel.now

    def core(self, index: int) -> Core:
        core = self.world.processes[index].core
        assert isinstance(core, Core)
        return core

    def endpoint(self, index: int) -> Endpoint:
        return self.world.processes[index].station.endpoint

    def ask(self, index: int, command: Command) -> None:
        self.world.processes[index].request(self.now, command, self.outcomes)

    def say(self, sender: int, receiver: int, count: int, *, stream: bool = True, first: int = 0) -> None:
        """Let `sender` send `count` numbered messages to `receiver` at once."""
        self.ask(sender, Say(self.endpoint(receiver), count, stream, first))

    def cut(self, labels: Sequence[int], *, one_way: bool = False) -> Cut:
        cut = Cut(labels, one_way)
        self.world.cut(cut)
        return cut

    def run(self, seconds: float) -> None:
        """Let `seconds` more virtual seconds pass."""
        self.world.run(self.now + int(seconds * S))
