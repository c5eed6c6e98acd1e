"""A scenario as data, and what came of running it: the object model behind every front end.

`Scenario` is a frozen struct that can be decoded from TOML or JSON. `run(scenario)` is a function of it and of the code
alone: the same scenario gives the same `Report` on any machine, in any process, but for the wall-clock figures, which
are measured outside of the run.

A run has two phases. First `seconds` of virtual time, with the faults and the workload. Then, with every fault over and
no new work, the mesh is given time to settle: until all checkers have what they wait for, and at most until their
bounds; what is missing then is a violation.
"""

from __future__ import annotations

import time
from base64 import b32encode
from collections.abc import Sequence
from hashlib import blake2b
from typing import Literal

from msgspec import Struct

from protocols.config import HandlerSpec, NodeConfig
from protocols.core import NANOS_PER_MS, NANOS_PER_S, Instant
from protocols.node import Node
from sim.checkers import DEFAULT, Agreement, Checker, OneResult, Violation
from sim.converged import complete_tables
from sim.counter import Counter
from sim.disk import DiskProfile
from sim.errors import ScenarioError, nearest
from sim.faults import Fault, Timeline, check_fault, nanos
from sim.network import LinkProfile
from sim.process import CoreFactory, Process
from sim.workload import Workload
from sim.world import World, quiet_collector

NODES_MAX = 20_000
SECONDS_MAX = 30 * 24 * 3600.0
TASKS_PER_S_MAX = 100_000.0
BOOT_SPREAD = 20 * NANOS_PER_MS
"""A converged start boots all nodes within this time; two of the longest commits later all know each other."""
JOIN_SPACING = 50 * NANOS_PER_MS
JOIN_SPREAD_MAX = 10 * NANOS_PER_S
SEEDS = 3
FINAL_CHECKS_MAX = 128
"""Cores asked for their invariants at the end, besides those asked all along: in a large mesh, an even sample."""
DEFAULT_HANDLERS = (HandlerSpec("count", 2), HandlerSpec("digest", 1))

Start = Literal["converged", "join"]


class Scenario(Struct, frozen=True, forbid_unknown_fields=True):
    """What to simulate. `validate` says whether it can be."""

    nodes: int = 5
    seconds: float = 60.0
    seed: int = 0
    start: Start = "converged"
    link: LinkProfile = LinkProfile()
    disk: DiskProfile = DiskProfile()
    faults: tuple[Fault, ...] = ()
    tasks_per_s: float = 0.0
    handlers: tuple[HandlerSpec, ...] = DEFAULT_HANDLERS

    def validate(self) -> None:
        """Raise `ScenarioError` for the first thing that is wrong."""
        if not 1 <= self.nodes <= NODES_MAX:
            raise ScenarioError(f"{self.nodes} nodes: there must be 1 to {NODES_MAX}.")
        if not 0 < self.seconds <= SECONDS_MAX:
            raise ScenarioError(f"{self.seconds:g} seconds: a run lasts more than 0 and at most {SECONDS_MAX:g}.")
        if self.start not in ("converged", "join"):
            raise ScenarioError(f"There is no start {self.start!r}. {nearest(self.start, ('converged', 'join'))}")
        for name in ("loss", "duplicate", "reorder"):
            value = getattr(self.link, name)
            if not 0 <= value <= 1:
                raise ScenarioError(f"{name} {value:g}: it is a probability, 0 to 1. For 5 % write 0.05.")
        if not 0 <= self.link.latency_ms_min <= self.link.latency_ms_max:
            raise ScenarioError("The latency must be at least 0 ms, and its minimum no more than its maximum.")
        if not 0 <= self.tasks_per_s <= TASKS_PER_S_MAX:
            raise ScenarioError(f"{self.tasks_per_s:g} tasks per second: the rate must be 0 to {TASKS_PER_S_MAX:g}.")
        if self.tasks_per_s and not self.handlers:
            raise ScenarioError("Tasks need at least one handler that a node offers.")
        for fault in self.faults:
            check_fault(fault, self.nodes, self.seconds)


class Report(Struct, frozen=True):
    """What came of a run. All but the three wall-clock figures is determined by the scenario."""

    seed: int
    nodes: int
    trace_hash: str
    events: int
    virtual_seconds: float
    """The settling phase included."""
    wall_seconds: float
    setup_seconds: float
    """Wall time for building the mesh, not counted in `wall_seconds`."""
    times_real_time: float
    messages: dict[str, int]
    """Sent, by kind; lost ones included."""
    drops: dict[str, int]
    """Messages that never arrived, by reason."""
    faults: dict[str, int]
    """How often each kind of fault, and of mishap, happened."""
    facts: dict[str, int]
    tasks: dict[str, int]
    agreed_after_s: float | None
    """Virtual seconds from the last disturbance until all tables were seen to agree (asked once a second)."""
    violations: tuple[Violation, ...]

    @property
    def held(self) -> bool:
        return not self.violations


def node_id_for(index: int) -> str:
    """The id of simulated node `index`: it looks like a fingerprint, and is the same in every run."""
    return b32encode(blake2b(f"node-{index}".encode(), digest_size=16).digest()).decode().rstrip("=").lower()


def address_for(index: int) -> str:
    """The address of simulated node `index`."""
    return f"10.{index >> 16 & 255}.{index >> 8 & 255}.{index & 255}:7400"


def configs_for(scenario: Scenario) -> list[NodeConfig]:
    """What the nodes of a scenario are told; all name the first few as seeds."""
    seeds = tuple(address_for(index) for index in range(min(SEEDS, scenario.nodes)))
    return [
        NodeConfig(
            node_id=node_id_for(index),
            name=f"n{index}",
            mesh="sim",
            address=address_for(index),
            seeds=seeds,
            handlers=scenario.handlers,
        )
        for index in range(scenario.nodes)
    ]


class Run:
    """One run of a scenario, step by step; `run` below does it in one call."""

    def __init__(
        self,
        scenario: Scenario,
        checkers: Sequence[type[Checker]] = DEFAULT,
        core_factory: CoreFactory = Node,
    ) -> None:
        scenario.validate()
        self.scenario = scenario
        configs = configs_for(scenario)
        self.world = World(scenario.seed, configs, core_factory, link=scenario.link, disk=scenario.disk)
        self.world.install(checkers)
        converged_at = BOOT_SPREAD + 2 * nanos(scenario.disk.commit_ms_max / 1000) + NANOS_PER_MS
        self.begin = converged_at if scenario.start == "converged" else 0
        """When faults and tasks may begin; what is set for earlier happens then."""
        self.end = max(nanos(scenario.seconds), self.begin)
        self.timeline = Timeline(self.world, scenario.faults, self.begin)
        names = [handler.name for handler in scenario.handlers]
        self.workload = Workload(self.world, scenario.tasks_per_s, names, self.end)
        self._boot = self.world.kernel.random("boot")

    def start(self) -> None:
        """Boot the nodes. After a converged start, virtual time stands at `begin`."""
        world = self.world
        if self.scenario.start == "join":
            spacing = min(JOIN_SPACING, JOIN_SPREAD_MAX // len(world.processes))
            for process in world.processes:
                world.kernel.push(process.index * spacing, self._boot_one, process)
        else:
            configs = [process.config for process in world.processes]
            for process in world.processes:
                process.reconfigure(seeds=())
                world.kernel.push(int(self._boot.random() * BOOT_SPREAD), self._boot_one, process)
            world.run(self.begin)
            complete_tables(world.kernel.now, world.processes)
            for process, config in zip(world.processes, configs, strict=True):
                process.reconfigure(seeds=config.seeds)
        if self.scenario.tasks_per_s:
            self.workload.start(world.kernel.now)

    def _boot_one(self, now: Instant, process: Process, _: None) -> None:
        self.world.boot(process)

    def faults_phase(self) -> None:
        """Run the scenario's own time. From the last fault on, look once a second whether the mesh agrees again."""
        world = self.world
        last = max((fault.end_s or fault.start_s for fault in self.scenario.faults), default=0.0)
        if not world.run(max(world.kernel.now, nanos(last))):
            return
        agreement = self._agreement()
        while agreement is not None and world.kernel.now < self.end:
            agreement.waits_for(world.kernel.now)
            if agreement.settled or not world.run(min(world.kernel.now + NANOS_PER_S, self.end)):
                break
        world.run(self.end)

    def settle(self) -> None:
        """Go on until every checker has what it waits for, or its bound has passed."""
        world = self.world
        waiting = list(world.watch.checkers)
        while waiting and not world.stopped:
            now = world.kernel.now
            still: list[Checker] = []
            for checker in waiting:
                missing = checker.waits_for(now)
                if missing and now < checker.deadline():
                    still.append(checker)
                elif missing:
                    since = (now - world.disturbed_at) / NANOS_PER_S
                    checker.violated(now, None, f"{since:.0f} s after the last disturbance: {missing}")
            waiting = still
            if waiting:
                world.run(now + NANOS_PER_S)

    def finish(self) -> None:
        """Let every checker and every core have its last word, and fold the final state into the trace."""
        world = self.world
        now = world.kernel.now
        if not world.stopped:
            running = world.running()
            for process in running[:: -(-len(running) // FINAL_CHECKS_MAX) or 1]:
                if process.core is not None:
                    world.check(now, process, process.core)
            for checker in world.watch.checkers:
                checker.finish(now)
        for process in world.processes:
            world.trace.value((process.boots, sorted(process.disk.records.items())))

    def _agreement(self) -> Agreement | None:
        return next((checker for checker in self.world.watch.checkers if isinstance(checker, Agreement)), None)

    def report(self, wall_seconds: float, setup_seconds: float) -> Report:
        """The figures so far."""
        world = self.world
        network = world.network
        virtual_seconds = world.kernel.now / NANOS_PER_S
        agreement = self._agreement()
        agreed_after_s = None
        if agreement is not None and agreement.agreed_at is not None:
            agreed_after_s = (agreement.agreed_at - world.disturbed_at) / NANOS_PER_S
        mishaps = {
            "loss": network.drops["loss"],
            "duplicate": network.duplicated,
            "reorder": network.reordered,
            "stream_reset": network.resets,
            "restart": world.restarts,
        }
        return Report(
            seed=self.scenario.seed,
            nodes=self.scenario.nodes,
            trace_hash=world.trace.hexdigest(),
            events=world.kernel.events,
            virtual_seconds=virtual_seconds,
            wall_seconds=round(wall_seconds, 3),
            setup_seconds=round(setup_seconds, 3),
            times_real_time=round(virtual_seconds / wall_seconds, 1) if wall_seconds else 0.0,
            messages=_by_name(network.sent),
            drops=_by_name(network.drops),
            faults=self.timeline.fired | {kind: count for kind, count in mishaps.items() if count},
            facts=_by_name(world.watch.facts),
            tasks=self._task_figures(),
            agreed_after_s=agreed_after_s,
            violations=tuple(world.watch.violations),
        )

    def _task_figures(self) -> dict[str, int]:
        figures = _by_name(self.workload.counts)
        for checker in self.world.watch.checkers:
            if isinstance(checker, OneResult) and checker.tasks:
                figures["started"] = len(checker.starts)
                for tracked in checker.tasks.values():
                    if tracked.accepted and tracked.progress is not None:
                        state = f"now {tracked.progress.state.name.lower()}"
                        figures[state] = figures.get(state, 0) + 1
        return figures


def run(scenario: Scenario, checkers: Sequence[type[Checker]] = DEFAULT, core_factory: CoreFactory = Node) -> Report:
    """Run `scenario` to its end. Raises `ScenarioError` for one that cannot be run."""
    begun = time.perf_counter()
    one = Run(scenario, checkers, core_factory)
    one.start()
    with quiet_collector():
        ready = time.perf_counter()
        one.faults_phase()
        one.settle()
        one.finish()
        done = time.perf_counter()
    return one.report(done - ready, ready - begun)


def _by_name(counter: Counter) -> dict[str, int]:
    """Counts under printable names, sorted."""
    named = {key.__name__ if isinstance(key, type) else str(key): count for key, count in counter.items()}
    return dict(sorted(named.items()))
