"""A mesh in virtual time: nodes, their network, what is done to them, and who watches.

This is the object model below every front end. It does what it is told, when it is told (`boot`, `crash`, `cut`,
`heal`, `run`), and decides nothing by itself: timelines, fault draws and workloads are pushed as events by others.

Garbage collection: what is built before a run lives as long as the run, and cores hardly make cycles. Whoever runs a
large world does so inside of `quiet_collector`, which freezes what exists and raises the collector's thresholds, and
undoes both at the end. Results do not depend on it.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from protocols.config import NodeConfig
from protocols.core import Core, Instant, InvariantViolation, Message
from sim.checkers.checker import Checker
from sim.clock import ClockProfile
from sim.counter import Counter
from sim.disk import Damaged, DiskProfile
from sim.executor import NO_HOSTS, Body, Host, scripted_body
from sim.kernel import Kernel
from sim.network import LinkProfile, Network, Pairs, Topology
from sim.process import CoreFactory, Process
from sim.trace import Trace
from sim.versions import Versions
from sim.wal import Damage
from sim.watch import Watch

GC_THRESHOLDS = (200_000, 20, 50)
ROWS_CHECKED_PER_SLICE = 500
"""A node's invariants cost a look at its whole table: in a large mesh nodes are asked less often."""


class World:
    """One run. Build it, `install` checkers, push what is to happen, then `run`."""

    def __init__(
        self,
        seed: int,
        configs: Sequence[NodeConfig],
        core_factory: CoreFactory,
        *,
        link: LinkProfile | None = None,
        topology: Topology | None = None,
        disk: DiskProfile | None = None,
        clock: ClockProfile | None = None,
        body: Body = scripted_body,
        hosts: Mapping[str, Host] = NO_HOSTS,
    ) -> None:
        self.kernel = Kernel(seed)
        self.kernel.on_slice = self._look_around
        self.trace = Trace()
        self.watch = Watch(self.stop)
        self.network = Network(self.kernel, link or LinkProfile())
        self.network.on_sample = self._sample
        self.disk_profile = disk or DiskProfile()
        self.body = body
        self.hosts = hosts
        self.core_factory = core_factory
        self.clock = clock or ClockProfile()
        self.clock_random = self.kernel.random("clock")
        self.clock_rates = self.kernel.random("clock rates")
        self.versions = Versions(self)
        self.processes: list[Process] = []
        self.by_id: dict[str, Process] = {}
        for index, config in enumerate(configs):
            process = Process(self, index, config)
            self.processes.append(process)
            self.by_id[config.node_id] = process
        if topology is not None:
            self.network.set_topology(topology)
        self.disturbed = False
        """Whether anything has been done to the mesh so far: a cut, a crash or a restart."""
        self.disturbed_at: Instant = 0
        """When the last cut began or healed, or the last node went down or came up (for the first time, too)."""
        self.troubles = 0
        """Faults in force now."""
        self.misleading = 0
        """Those of them that may make a node that runs look dead to another one."""
        self.misled_at: Instant = -1
        """When one of those last began or ended, or a cut or a pause without a fault; -1: there was none."""
        self.lying: Counter = Counter()
        """By node: how many faults make it lie."""
        self.lied_at: Instant = -1
        """When somebody last began to lie, or stopped; -1: nobody ever did."""
        self.core: tuple[Process, ...] = tuple(self.processes)
        """The nodes that liveness is asked of: all, or those that a scenario has healed while the rest stay broken."""
        self.held: Counter = Counter()
        """By node: how many faults keep it down."""
        self.paused: Counter = Counter()
        """By node and life: how many faults have stopped it."""
        self._stopped_at: dict[int, Instant] = {}
        self.paced_at: dict[int, Instant] = {}
        """By node: when it last went on after a pause, or its clock changed its pace or leapt."""
        self.woke: dict[int, tuple[Instant, Instant]] = {}
        """By node: when it last went on after a pause, or its clock leapt, and how long that was."""
        self.restarts = 0
        self.refused_starts = 0
        self.cuts = 0
        self.stopped = False
        """The run was stopped because too much is broken: time does not go on."""
        self._next_to_check = 0
        self._rows_to_check = 0

    def install(self, checkers: Sequence[Callable[[World], Checker]]) -> None:
        """Watch this run with one of each of `checkers`."""
        self.watch.install([make(self) for make in checkers])

    # What can be done to the mesh. Each takes effect now.

    def boot(self, process: Process) -> bool:
        """Start a node that is down: for the first time, or again from what its disk holds.

        False where the disk is damaged: the node refuses to start, as the daemon does, and stays down.
        """
        again = process.boots > 0
        self.disturbed |= again
        self.disturbed_at = self.kernel.now
        try:
            process.boot(self.kernel.now)
        except Damaged:
            self.refused_starts += 1
            return False
        self.restarts += again
        return True

    def crash(self, process: Process) -> None:
        """Kill a running node: memory and unsaved records are gone."""
        self.disturb()
        process.crash(self.kernel.now)

    def hold_down(self, process: Process) -> None:
        """Kill a node, if it runs, and keep it from being started again until `let_up` is called as often as this."""
        self.held[process.index] += 1
        if process.up:
            self.crash(process)

    def let_up(self, process: Process) -> None:
        """End one `hold_down`; start the node again when it was the last."""
        self.held[process.index] -= 1
        self.bring_back(process)

    def bring_back(self, process: Process) -> None:
        """Try to start a node, unless it runs or a fault keeps it down."""
        if not self.held[process.index] and not process.up:
            self.boot(process)

    def pause(self, process: Process) -> Callable[[], None]:
        """Stop a running node (SIGSTOP). What comes back ends this: the last one to be called lets it go on.

        A crash ends all pauses of that life.
        """
        life = (process.index, process.boots)
        self.paused[life] += 1
        if not process.stopped:
            self._mislead()
            process.stop(self.kernel.now)
            self._stopped_at[process.index] = self.kernel.now

        def go_on() -> None:
            self.paused[life] -= 1
            if self.paused[life]:
                return
            del self.paused[life]
            if process.stopped and process.boots == life[1]:
                self._mislead()
                now = self.kernel.now
                self.paced_at[process.index] = now
                self.woke[process.index] = (now, now - self._stopped_at[process.index])
                process.go_on(now)

        return go_on

    def distrust(self, process: Process) -> None:
        """A node lies from now on, until `believe_again` is called as often as this."""
        self.lying[process.index] += 1
        self.lied_at = self.kernel.now

    def believe_again(self, process: Process) -> None:
        """End one `distrust`; when it was the last, the node starts anew, and believes no lies itself."""
        self.lying[process.index] -= 1
        if self.lying[process.index]:
            return
        del self.lying[process.index]
        self.lied_at = self.kernel.now
        if process.up:
            self.crash(process)
            self.bring_back(process)

    @property
    def has_lied(self) -> bool:
        """Whether anybody has ever lied in this run, so that what is believed of members need not be what they said."""
        return self.lied_at >= 0

    def drift(self, process: Process, ppm: int) -> None:
        """Let the monotonic clock of a node gain `ppm` millionths more than it does, or lose where that is below 0."""
        self.paced_at[process.index] = self.kernel.now
        process.drift(self.kernel.now, ppm)

    def leap(self, process: Process, by: Instant) -> None:
        """Let the monotonic clock of a running node step forward, as if its machine had been suspended."""
        now = self.kernel.now
        self.paced_at[process.index] = now
        self.woke[process.index] = (now, by)
        process.leap(now, by)

    def move(self, addresses: Mapping[str, str]) -> None:
        """Give nodes that are down, by name, other addresses; several at once may exchange theirs."""
        movers = [process for process in self.processes if process.name in addresses]
        if any(process.up for process in movers):
            raise ValueError("a node that runs cannot move")
        self.disturb()
        self.network.readdress({process.station: addresses[process.name] for process in movers})
        for process in movers:
            process.reconfigure(address=addresses[process.name])

    def wipe(self, process: Process) -> None:
        """Lose the disk of a node that is down. What it had promised to keep is gone for good."""
        process.lost_data = True
        self.disturb()
        process.disk.wipe()

    def give_up_rotten(self, process: Process) -> None:
        """Remove what a node cannot read from its disk. What it had promised to keep is gone for good."""
        process.lost_data = True
        process.disk.give_up()

    def cut(self, cut: Pairs) -> None:
        """Split the network."""
        self.cuts += 1
        self._mislead()
        self.network.cut(cut)

    def heal(self, cut: Pairs) -> None:
        """End one split."""
        self._mislead()
        self.network.heal(self.kernel.now, cut)

    @property
    def mishaps(self) -> dict[str, int]:
        """What has befallen disks, processes and versions so far, by name."""
        damages = [process.disk.damages for process in self.processes]
        return {
            "commit_interrupted": sum(sum(each.values()) for each in damages),
            "torn_write": sum(each[Damage.TORN] for each in damages),
            "reordered_write": sum(each[Damage.REORDERED] for each in damages),
            "save_failed": sum(process.disk.failures for process in self.processes),
            "refused_start": self.refused_starts,
            "message_across_versions": self.versions.crossed,
            "record_across_versions": self.versions.records_crossed,
            "socket_full": self.network.drops["socket_full"],
        }

    def trouble_begins(self, what: str, *, misleads: bool = True) -> None:
        """A fault has come into force; `what` says which, and `misleads` what `Fault.misleads` does."""
        self.troubles += 1
        self.misleading += misleads
        if misleads:
            self._mislead()
        self.disturb()
        for listener in self.watch.on_trouble:
            listener(self.kernel.now, what, True)

    def trouble_ends(self, what: str, *, misleads: bool = True) -> None:
        """A fault is over."""
        self.troubles -= 1
        self.misleading -= misleads
        if misleads:
            self._mislead()
        self.disturb()
        for listener in self.watch.on_trouble:
            listener(self.kernel.now, what, False)

    def disturb(self) -> None:
        """Note that something was done to the mesh now, which excuses what is not as it should be for a while."""
        self.disturbed = True
        self.disturbed_at = self.kernel.now

    def _mislead(self) -> None:
        """Note that something was done to the mesh now that may make a node that runs look dead."""
        self.disturb()
        self.misled_at = self.kernel.now

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
        """Once a slice: ask one node whether its invariants hold, but look at no more than so many rows a slice."""
        self.trace.flush()
        self._rows_to_check += ROWS_CHECKED_PER_SLICE
        if self._rows_to_check < len(self.processes):
            return
        self._rows_to_check = 0
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
def quiet_collector(*, freeze: bool = True) -> Iterator[None]:
    """Keep the garbage collector from walking again and again over what lives as long as the run.

    Without `freeze` only its thresholds are raised: to look through everything once costs more than a small run.
    """
    thresholds = gc.get_threshold()
    if freeze:
        gc.collect()
        gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        if freeze:
            gc.unfreeze()
