"""Crashes: a node loses its memory and what was not durable; its disk stays."""

from __future__ import annotations

from protocols.core import Instant
from sim.faults.fault import NodeFault, Stage, Undo


class Crash(NodeFault, frozen=True, tag="crash", forbid_unknown_fields=True):
    """Some running nodes crash; those that are still down come back at `end_s` (None: never)."""

    def describe(self) -> str:
        back = "for good" if self.end_s is None else f"until {self.end_s:g} s"
        return f"{self.whom} down from {self.start_s:g} s {back}"

    def begin(self, now: Instant, stage: Stage) -> Undo | None:
        victims = stage.victims(self, stage.world.running())
        for victim in victims:
            stage.world.crash(victim)

        def restart(now: Instant) -> None:
            for victim in victims:
                if self.end_s is not None and not victim.up:
                    stage.world.boot(victim)

        return restart if victims else None
