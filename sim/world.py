"""A mesh in virtual time: nodes, their network, what is done to them, and who watches.

This is the object model below every front end. It does what it is told, when it is told (`boot`, `crash`, `cut`,
`heal`, `run`), and decides nothing by itself: timelines, fault draws and workloads are pushed as events by others.

Garbage collection: what is built before a run lives as long as the run, and cores hardly make cycles. Whoever runs a
large world does so inside of `quiet_collector`, which freezes what exists and raises the collector's thresholds, and
undoes both at the end. Results do not depend on it.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from protocols.config import NodeConfig
from protocols.core import Core, Instant, InvariantViolation, Message
from sim.checkers.checker import Checker
from sim.disk import DiskProfile
from sim.executor import Body, scripted_body
from sim.kernel import Kernel
from sim.network import Cut, LinkProfile, Network
from sim.process import CoreFactory, Process
from sim.trace import Trace
from sim.watch import Watch

GC_THRESHOLDS = (200_000, 20, 50)


class World:
    """One run. Build it, `install` checkers, push what is to happen, then `run`."""

    def __init__(
        self,
        seed: int,
        configs: Sequence[NodeConfig],
        core_factory: CoreFactory,
        *,
        link: LinkProfile | None = None,
        disk: DiskProfile | None = None,
        body: Body = scripted_body,
    ) -> None:
        self.kernel = Kernel(seed)
        self.kernel.on_slice = self._look_around
        self.trace = Trace()
        self.watch = Watch(self.stop)
        self.network = Network(self.kernel, link or LinkProfile())
        self.network.on_sample = self._sample
        self.disk_profile = disk or DiskProfile()
        self.body = body
        self.core_factory = core_factory
        self.clock_random = self.kernel.random("clock")
        self.processes: list[Process] = []
        self.by_id: dict[str, Process] = {}
        for index, config in enumerate(configs):
            process = Process(self, index, config)
            self.processes.append(process)
            self.by_id[config.node_id] = process
        self.disturbed = False
        """Whether anything has been done to the mesh so far: a cut, a crash or a restart."""
        self.disturbed_at: Instant = 0
        """When the last cut began or healed, or the last node went down or came up (for the first time, too)."""
        self.troubles = 0
        """Faults in force now. While there are any, and for a while after, much is excused."""
        self.core: tuple[Process, ...] = tuple(self.processes)
        """The nodes that liveness is asked of: all, or those that a scenario has healed while the rest stay broken."""
        self.crashes = 0
        self.restarts = 0
        self.cuts = 0
        self.stopped = False
        """The run was stopped because too much is broken: time does not go on."""
        self._next_to_check = 0

    def install(self, checkers: Sequence[Callable[[World], Checker]]) -> None:
        """Watch this run with one of each of `checkers`."""
        self.watch.install([make(self) for make in checkers])

    # What can be done to the mesh. Each takes effect now.

    def boot(self, process: Process) -> None:
        """Start a node that is down: for the first time, or again from what its disk holds."""
        if process.boots:
            self.restarts += 1
            self.disturbed = True
        self.disturbed_at = self.kernel.now
        process.boot(self.kernel.now)

    def crash(self, process: Process) -> None:
        """Kill a running node: memory and unsaved records are gone."""
        self.crashes += 1
        self.disturb()
        process.crash(self.kernel.now)

    def cut(self, cut: Cut) -> None:
        """Split the network."""
        self.cuts += 1
        self.disturb()
        self.network.cut(cut)

    def heal(self, cut: Cut) -> None:
        """End one split."""
        self.disturb()
        self.network.heal(self.kernel.now, cut)

    def trouble_begins(self, what: str) -> None:
        """A fault has come into force; `what` says which."""
        self.troubles += 1
        self.disturb()
        for listener in self.watch.on_trouble:
            listener(self.kernel.now, what, True)

    def trouble_ends(self, what: str) -> None:
        """A fault is over."""
        self.troubles -= 1
        self.disturb()
        for listener in self.watch.on_trouble:
            listener(self.kernel.now, what, False)

    def disturb(self) -> None:
        """Note that something was done to the mesh now, which excuses what is not as it should be for a while."""
        self.disturbed = True
        self.disturbed_at = self.kernel.now

    def running(self) -> list[Process]:
        """The nodes that are up, by index."""
        return [process for process in self.processes if process.core is not None]

    def run(self, until: Instant) -> bool:
        """Let virtual time pass. False when the run was stopped, now or before."""
        return not self.stopped and self.kernel.run(until)

    def stop(self) -> None:
        """End the run after the present event, for good: what follows would tell nothing new."""
        self.stopped = True
        self.kernel.stop()

    def _look_around(self, now: Instant) -> None:
        """Once a slice: ask one node whether its invariants hold."""
        self.trace.flush()
        process = self.processes[self._next_to_check]
        self._next_to_check = (self._next_to_check + 1) % len(self.processes)
        if process.core is not None:
            self.check(now, process, process.core)

    def _sample(self, now: Instant, message: Message) -> None:
        """A message in a few hundred: fold its content into the trace, and show it to who wants to see it."""
        self.trace.value(message)
        for listener in self.watch.on_sample:
            listener(now, message)

    def check(self, now: Instant, process: Process, core: Core) -> None:
        """Ask one core whether its invariants hold."""
        try:
            core.check()
        except InvariantViolation as error:
            process.violated(now, "invariant", str(error))
            self.stop()


@contextmanager
def quiet_collector() -> Iterator[None]:
    """Keep the garbage collector from walking again and again over what lives as long as the run."""
    thresholds = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
