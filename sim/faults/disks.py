"""Disks that fail, and what they fail to keep.

Nothing that a disk has acknowledged is destroyed, but by `Wipe`, and by `Corrupt` with `destroy = true`. Those set
`Process.lost_data`, for no checker can ask that node for what it has lost.
"""

from __future__ import annotations

import random
from typing import ClassVar, Self

from protocols.core import NANOS_PER_S, Instant
from protocols.limits import WEIGHT_MAX
from sim.disk import FULL, Slowness, SyncFailure
from sim.errors import ScenarioError
from sim.faults.crashes import running_or_named
from sim.faults.fault import Chance, NodeFault, Stage, Undo, nanos

SLOWDOWN_MAX = 1_000_000
STALL_S_MAX = 600.0
BITS = 1 << 20
START_AGAIN_AFTER = 1 * NANOS_PER_S
"""When whoever looks after a node tries to start it again."""


class DiskFull(NodeFault, frozen=True, tag="diskfull", forbid_unknown_fields=True):
    """The disks of some running nodes fail every commit."""

    mixed: ClassVar[Chance | None] = Chance(per_minute=1.0, lasts_s_min=0.5, lasts_s_max=8.0, count_max=2)
    misleads: ClassVar[bool] = False

    def describe(self) -> str:
        return f"{self.whom} with a full disk {self.when}"

    def begin(self, now: Instant, stage: Stage) -> Undo | None:
        victims = stage.victims(self, stage.world.running())
        for victim in victims:
            victim.disk.fail(FULL)

        def free(now: Instant) -> None:
            for victim in victims:
                victim.disk.mend()

        return free if victims else None


class SlowDisk(NodeFault, frozen=True, tag="slowdisk", forbid_unknown_fields=True):
    """The disks of some running nodes take `times` as long to commit; with `stall_s`, they also hang now and then.

    Several of them at one disk do not add up: the slowest counts.
    """

    times: int = 50
    stall_s: float = 0.0
    """The longest stall, during which no commit ends. There is about one a second, from none to this long."""

    mixed: ClassVar[Chance | None] = Chance(per_minute=1.0, lasts_s_min=2.0, lasts_s_max=15.0, count_max=2)
    misleads: ClassVar[bool] = False

    @classmethod
    def drawn(cls, draw: random.Random, start_s: float, end_s: float, count: int) -> Self:
        return cls(start_s, end_s, count, times=draw.choice((10, 100)), stall_s=draw.choice((0.0, 0.5, 3.0)))

    def describe(self) -> str:
        stalls = f", stalling for up to {self.stall_s:g} s," if self.stall_s else ""
        return f"{self.whom} with a disk {self.times} times slower{stalls} {self.when}"

    def check(self, names: tuple[str, ...], seconds: float) -> None:
        if not 1 <= self.times <= SLOWDOWN_MAX:
            raise ScenarioError(f"slowdisk: times {self.times} must be 1 to {SLOWDOWN_MAX}.")
        if not 0 <= self.stall_s <= STALL_S_MAX:
            raise ScenarioError(f"slowdisk: stall_s {self.stall_s:g} must be 0 to {STALL_S_MAX:g}.")
        super().check(names, seconds)

    def begin(self, now: Instant, stage: Stage) -> Undo | None:
        slowed = [(victim.disk, Slowness(self.times)) for victim in stage.victims(self, stage.world.running())]

        def stall(now: Instant, slowness: Slowness) -> None:
            slowness.stall(now + int(stage.random.random() * nanos(self.stall_s)))
            stage.after(int(stage.random.random() * 2 * NANOS_PER_S), lambda now: stall(now, slowness))

        for disk, slowness in slowed:
            disk.slow_down(slowness)
            if self.stall_s:
                stall(now, slowness)

        def speed_up(now: Instant) -> None:
            for disk, slowness in slowed:
                disk.speed_up(now, slowness)

        return speed_up if slowed else None


class SyncFails(NodeFault, frozen=True, tag="syncfail", forbid_unknown_fields=True):
    """On some running nodes the next `times` commits cannot be synced; after that the disk is well again."""

    times: int = 1

    mixed: ClassVar[Chance | None] = Chance(per_minute=2.0, lasts_s_min=2.0, lasts_s_max=10.0, count_max=2)
    misleads: ClassVar[bool] = False

    @classmethod
    def drawn(cls, draw: random.Random, start_s: float, end_s: float, count: int) -> Self:
        return cls(start_s, end_s, count, times=draw.randint(1, 3))

    def describe(self) -> str:
        return f"{self.whom} failing to sync {self.times} time(s) {self.when}"

    def check(self, names: tuple[str, ...], seconds: float) -> None:
        if self.times < 1:
            raise ScenarioError(f"syncfail: times {self.times} must be at least 1.")
        super().check(names, seconds)

    def begin(self, now: Instant, stage: Stage) -> Undo | None:
        failing = [(victim.disk, SyncFailure(self.times)) for victim in stage.victims(self, stage.world.running())]
        for disk, failure in failing:
            disk.fail_syncs(failure)

        def mend(now: Instant) -> None:
            for disk, failure in failing:
                disk.mend_syncs(failure)

        return mend if failing else None


class Corrupt(NodeFault, frozen=True, tag="corrupt", forbid_unknown_fields=True):
    """Some running nodes crash, and one bit of one record on the disk of each has flipped when they start again.

    The store finds it by its checksum, and the node refuses to start, as the daemon does. At the end the operator puts
    the good copy back; with `destroy`, there is none, and the record is removed for good.
    """

    destroy: bool = False

    mixed: ClassVar[Chance | None] = Chance(per_minute=0.5, lasts_s_min=1.5, lasts_s_max=8.0)
    misleads: ClassVar[bool] = False

    def nodes_down(self, nodes: int) -> int:
        return len(self.nodes) or self.count

    def describe(self) -> str:
        then = "the record lost for good" if self.destroy else "the good copy restored at the end"
        return f"{self.whom} down with a rotten record {self.when}, {then}"

    def begin(self, now: Instant, stage: Stage) -> Undo | None:
        world = stage.world
        victims = stage.victims(self, [process for process in world.running() if process.disk.records])
        for victim in victims:
            world.crash(victim)
            key = stage.random.choice(sorted(victim.disk.records))
            victim.disk.rot(key, stage.random.randrange(BITS))

        def start(now: Instant) -> None:
            for victim in victims:
                world.bring_back(victim)

        def repair(now: Instant) -> None:
            for victim in victims:
                if self.destroy:
                    world.give_up_rotten(victim)
                else:
                    victim.disk.restore()
                world.bring_back(victim)

        stage.after(START_AGAIN_AFTER, start)
        return repair if victims else None


class Wipe(NodeFault, frozen=True, tag="wipe", forbid_unknown_fields=True):
    """Some running nodes crash, lose their disks, and come back empty at the end. Destroys what they had promised.

    With `changed` they announce something else from then on, another weight, in lives that they count anew.
    """

    changed: bool = False
    misleads: ClassVar[bool] = False

    def nodes_down(self, nodes: int) -> int:
        return len(self.nodes) or self.count

    def describe(self) -> str:
        anew = ", and another weight at the end" if self.changed else ""
        return f"{self.whom} down, and their disks wiped, {self.when}{anew}"

    def begin(self, now: Instant, stage: Stage) -> Undo | None:
        victims = stage.victims(self, running_or_named(self, stage))
        for victim in victims:
            stage.world.hold_down(victim)
            stage.world.wipe(victim)

        def replace(now: Instant) -> None:
            for victim in victims:
                if self.changed:
                    victim.reconfigure(weight=victim.config.weight % WEIGHT_MAX + 1)
                stage.world.let_up(victim)

        return replace if victims else None
