"""What the tests of disks, clocks, processes and versions share: a fault, done to a small world or to a real mesh."""

from __future__ import annotations

from typing import TypeVar

from protocols.core import Command, Instant, Outcome
from sim.checkers import Checker
from sim.faults.fault import Fault
from sim.faults.timeline import Timeline
from sim.process import Process
from sim.scenario import Run, Scenario
from sim.world import World
from tests.sim.simkit import Small

CommandT = TypeVar("CommandT", bound=Command)


class Struck:
    """A small world of pinging cores to which faults are done in their time."""

    def __init__(self, *faults: Fault, nodes: int = 3, seed: int = 0) -> None:
        self.small = Small(nodes, seed=seed, pinging=True)
        self.world: World = self.small.world
        self.timeline = Timeline(self.world, faults)
        self.ups: list[str] = []
        """`+n0`, `-n0`, … in order: who came up and went down, from now on."""
        self.world.watch.on_boot.append(lambda now, process: self.ups.append(f"+{process.name}"))
        self.world.watch.on_crash.append(lambda now, process: self.ups.append(f"-{process.name}"))

    def run(self, seconds: float) -> None:
        self.small.run(seconds)

    @property
    def running(self) -> list[str]:
        return [process.name for process in self.world.running()]

    @property
    def stopped(self) -> list[str]:
        return [process.name for process in self.world.processes if process.stopped]

    def process(self, index: int) -> Process:
        return self.world.processes[index]


def settled(scenario: Scenario, checkers: tuple[type[Checker], ...] | None = None) -> Run:
    """A run of `scenario` from beginning to end."""
    one = Run(scenario, checkers)
    one.start()
    one.faults_phase()
    one.heal()
    one.settle()
    one.finish()
    return one


def answered(
    scenario: Scenario, kind: type[CommandT], *checkers: type[Checker]
) -> tuple[Run, list[tuple[str, CommandT, Outcome]]]:
    """A settled run, and every command of a kind that a node was given: the node, the command, and what came of it."""
    seen: list[tuple[str, CommandT, Outcome]] = []

    class Answers(Checker):
        name = "answers"

        def on_reply(self, now: Instant, process: Process, command: Command, outcome: Outcome) -> None:
            if isinstance(command, kind):
                seen.append((process.name, command, outcome))

    return settled(scenario, (Answers, *checkers)), seen


def held(one: Run) -> bool:
    """Whether everything held; prints what did not."""
    for violation in one.world.watch.violations:
        print(violation)
    return not one.world.watch.violations
