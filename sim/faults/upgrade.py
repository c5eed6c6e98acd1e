"""Rolling upgrades and their way back: old and new version side by side (`sim/versions.py`)."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import ClassVar, Self

from msgspec.structs import replace

from protocols.core import Instant
from sim.faults.fault import Chance, Stage, Undo
from sim.faults.rolling import InTurn
from sim.process import Process
from sim.versions import NEXT, PRESENT


class Upgrade(InTurn, frozen=True, tag="upgrade", forbid_unknown_fields=True):
    """Each node in turn restarts on the next version, and stays on it; with `back`, each in turn then goes back again.

    When `end_s` comes first, the mesh stays mixed.
    """

    back: bool = False

    mixed: ClassVar[Chance | None] = Chance(per_minute=0.5, lasts_s_min=10.0, lasts_s_max=40.0)

    @classmethod
    def drawn(cls, draw: random.Random, start_s: float, end_s: float, count: int) -> Self:
        return replace(super().drawn(draw, start_s, end_s, count), back=draw.random() < 0.5)

    def turns(self, nodes: int) -> int:
        return 2 * nodes if self.back else nodes

    def describe(self) -> str:
        return f"{self.whom} upgraded in turn{' and rolled back' if self.back else ''} {self.when}"

    def begin(self, now: Instant, stage: Stage) -> Undo | None:
        victims = [process for process in self.named_or_all(stage) if process.installed != NEXT]
        turns = [(victim, _installer(victim, NEXT)) for victim in victims]
        if self.back:
            turns += [(victim, _installer(victim, PRESENT)) for victim in victims]
        return self.in_turn(now, stage, turns)


class Rollback(InTurn, frozen=True, tag="rollback", forbid_unknown_fields=True):
    """Each node in turn that is on the next version goes back to the present one. Needs an upgrade before it."""

    def describe(self) -> str:
        return f"{self.whom} rolled back in turn {self.when}"

    def begin(self, now: Instant, stage: Stage) -> Undo | None:
        victims = [process for process in self.named_or_all(stage) if process.installed != PRESENT]
        return self.in_turn(now, stage, [(victim, _installer(victim, PRESENT)) for victim in victims])


def _installer(victim: Process, version: int) -> Callable[[], None]:
    def install() -> None:
        victim.installed = version

    return install
