"""Disks that fail: what is durable stays so."""

from __future__ import annotations

from protocols.core import Instant
from sim.faults.fault import NodeFault, Stage, Undo


class DiskFull(NodeFault, frozen=True, tag="diskfull", forbid_unknown_fields=True):
    """The disks of some running nodes fail every commit."""

    def describe(self) -> str:
        return f"{self.whom} with a full disk {self.when}"

    def begin(self, now: Instant, stage: Stage) -> Undo | None:
        victims = stage.victims(self, stage.world.running())
        for victim in victims:
            victim.disk.fail("no space left on device")

        def free(now: Instant) -> None:
            for victim in victims:
                victim.disk.mend()

        return free if victims else None
