"""Runs a scenario: builds the mesh, does the faults and the workload, lets it settle, and reports.

`run(scenario)` is a function of the scenario and of the code alone: it gives the same `Report` on any machine, in any
process, but for the wall-clock figures, which are measured outside of the run.

A run has two phases. First `seconds` of virtual time, with the faults and the workload. Then, with every fault over and
no new work, the mesh is given time to settle: until all checkers have what they wait for, and at most until their
bounds; what is missing then is a violation.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from msgspec.structs import replace

from protocols.config import HandlerSpec
from protocols.core import NANOS_PER_MS, NANOS_PER_S, Instant
from protocols.node import Node
from sim.checkers import BY_NAME, DEFAULT, Agreement, Checker, OneResult
from sim.converged import complete_tables
from sim.counter import Counter
from sim.event_workload import EventWorkload
from sim.executor import NO_HOSTS, Host
from sim.faults.fault import nanos
from sim.faults.rest import break_the_rest, heal_the_core
from sim.faults.timeline import Timeline
from sim.inquiry_workload import InquiryWorkload
from sim.machines import report_machines
from sim.marks import MARKS, Mark
from sim.process import CoreFactory, Process
from sim.scenario.expand import expand, kinds_enabled
from sim.scenario.fenced import fenced
from sim.scenario.mesh import configs_for
from sim.scenario.model import Scenario
from sim.scenario.report import Report
from sim.scenario.zones import topology_of
from sim.workload import Workload
from sim.world import World, quiet_collector

BOOT_SPREAD = 20 * NANOS_PER_MS
"""A converged start boots all nodes within this time; two of the longest commits later all know each other."""
JOIN_SPACING = 50 * NANOS_PER_MS
JOIN_SPREAD_MAX = 10 * NANOS_PER_S
LARGE = 200
"""A mesh of so many nodes is worth freezing what the collector would walk over."""
FINAL_CHECKS_MAX = 128
"""Cores asked for their invariants at the end, besides those asked all along: in a large mesh, an even sample."""


def checkers_of(scenario: Scenario) -> tuple[type[Checker], ...]:
    """The checkers that a scenario names, or all of the usual ones."""
    return tuple(BY_NAME[name] for name in scenario.hold) or DEFAULT


class Run:
    """One run of a scenario, step by step; `run` below does it in one call."""

    def __init__(
        self,
        scenario: Scenario,
        checkers: Sequence[type[Checker]] | None = None,
        core_factory: CoreFactory = Node,
        hosts: Mapping[str, Host] = NO_HOSTS,
    ) -> None:
        """`hosts` are handlers that every node offers beside the scenario's own, or in their place."""
        scenario.validate()
        kinds = kinds_enabled(scenario)
        scenario = expand(scenario)
        self.scenario = scenario
        """As it is run: with everything that is drawn from the seed."""
        scripted = tuple(handler for handler in scenario.handlers if handler.name not in hosts)
        offered = (*scripted, *(HandlerSpec(name, host.concurrency) for name, host in hosts.items()))
        configs = [replace(config, handlers=offered) for config in configs_for(scenario)]
        self.world = World(
            scenario.seed,
            configs,
            core_factory,
            link=scenario.link,
            topology=topology_of(scenario),
            disk=scenario.disk,
            clock=scenario.clock,
            hosts=hosts,
        )
        report_machines(self.world)
        self.world.install(checkers_of(scenario) if checkers is None else checkers)
        self.world.install([MARKS[name] for name in scenario.sometimes])
        converged_at = BOOT_SPREAD + 2 * nanos(scenario.disk.commit_ms_max / 1000) + NANOS_PER_MS
        self.begin = converged_at if scenario.start == "converged" else 0
        """When faults and tasks may begin; what is set for earlier happens then."""
        self.end = max(nanos(scenario.seconds), self.begin)
        self.timeline = Timeline(self.world, scenario.faults, self.begin, kinds)
        names = [handler.name for handler in scripted]
        self.workload = Workload(self.world, scenario.tasks_per_s, names, self.end)
        self.event_workload = EventWorkload(self.world, scenario.events_per_s, self.end)
        self.inquiry_workload = InquiryWorkload(self.world, scenario.inquiries_per_s, self.end)
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
            complete_tables(world.processes)
            for process, config in zip(world.processes, configs, strict=True):
                process.reconfigure(seeds=config.seeds)
        if self.scenario.tasks_per_s:
            self.workload.start(world.kernel.now)
        if self.scenario.events_per_s:
            self.event_workload.start(world.kernel.now)
        if self.scenario.inquiries_per_s:
            self.inquiry_workload.start(world.kernel.now)

    def _boot_one(self, now: Instant, process: Process, _: None) -> None:
        self.world.bring_back(process)  # a fault may keep it down, or may have let it up before its time

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

    def goes_on_until(self, end: Instant) -> None:
        """Let the faults phase, and the workload with it, end at `end`, or now if that is later."""
        self.end = max(end, self.world.kernel.now)
        self.workload.until = self.event_workload.until = self.inquiry_workload.until = self.end

    def heal(self) -> None:
        """Begin the second phase: end every fault that is still in force, but where the rest is to stay broken."""
        now = self.world.kernel.now
        liveness = self.scenario.liveness
        self.timeline.end_all(now)
        if liveness.rest == "broken" and not self.world.stopped:
            heal_the_core(self.world, liveness.core)
            for kind, times in break_the_rest(now, now / NANOS_PER_S, self.world, liveness.broken).items():
                self.timeline.fired[kind] = self.timeline.fired.get(kind, 0) + times

    def settle(self) -> None:
        """Go on until all checkers at once have what they wait for, or their bounds, or the scenario's, have passed.

        One that has it is not asked again before all others have it, too; what it asks for must still be so then.
        """
        world = self.world
        bound_s = self.scenario.liveness.bound_s
        end = world.kernel.now + nanos(bound_s) if bound_s else 0
        waiting = list(world.watch.checkers)
        content: list[Checker] = []
        while waiting and not world.stopped:
            now = world.kernel.now
            waiting, satisfied = self._ask(now, waiting, end)
            if not waiting:
                waiting, content = self._ask(now, content, end)
            content += satisfied
            if waiting:
                world.run(now + NANOS_PER_S)

    def _ask(self, now: Instant, checkers: Sequence[Checker], end: Instant) -> tuple[list[Checker], list[Checker]]:
        """Of `checkers`, (those that wait, those that have it); one that waits and has no time left speaks up."""
        waiting: list[Checker] = []
        content: list[Checker] = []
        for checker in checkers:
            missing = checker.waits_for(now)
            if not missing:
                content.append(checker)
            elif now < (end or checker.deadline()):
                waiting.append(checker)
            else:
                since = (now - self.world.disturbed_at) / NANOS_PER_S
                checker.violated(now, None, f"{since:.0f} s after the last disturbance: {missing}")
        return waiting, content

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
            agreed_after_s = (agreement.agreed_at - agreement.asked_since()) / NANOS_PER_S
        mishaps = {
            "restarted": world.restarts,
            **world.mishaps,
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
            faults=self.timeline.fired | network.mishaps | {kind: count for kind, count in mishaps.items() if count},
            facts=_by_name(world.watch.facts),
            tasks=self._task_figures(),
            agreed_after_s=agreed_after_s,
            violations=tuple(world.watch.violations),
            expanded=self.scenario,
            struck=dict(self.timeline.struck),
            sometimes={mark.name: mark.reached for mark in world.watch.checkers if isinstance(mark, Mark)},
        )

    def _task_figures(self) -> dict[str, int]:
        workloads = (self.workload, self.event_workload, self.inquiry_workload)
        figures = {name: count for each in workloads for name, count in _by_name(each.counts).items()}
        for checker in self.world.watch.checkers:
            if isinstance(checker, OneResult) and checker.tasks:
                figures["started"] = checker.started
                figures |= {f"now {state.name.lower()}": count for state, count in checker.states().items()}
        return figures


def run(
    scenario: Scenario,
    checkers: Sequence[type[Checker]] | None = None,
    core_factory: CoreFactory = Node,
    watch: Callable[[World], None] | None = None,
) -> Report:
    """Run `scenario` to its end; `watch` is shown the world before anything happens in it.

    Raises `ScenarioError` for one that cannot be run.
    """
    begun = time.perf_counter()
    one = Run(scenario, checkers, core_factory)
    if watch is not None:
        watch(one.world)
    with fenced(one.world):
        one.start()
    with quiet_collector(freeze=scenario.nodes >= LARGE):
        ready = time.perf_counter()
        with fenced(one.world):
            one.faults_phase()
            one.heal()
            one.settle()
            one.finish()
        done = time.perf_counter()
    return one.report(done - ready, ready - begun)


def _by_name(counter: Counter) -> dict[str, int]:
    """Counts under printable names, sorted."""
    named = {key.__name__ if isinstance(key, type) else str(key): count for key, count in counter.items()}
    return dict(sorted(named.items()))
