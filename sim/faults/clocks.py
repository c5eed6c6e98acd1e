"""Clocks that are wrong: monotonic ones that run fast or slow or leap, wall clocks that jump."""

from __future__ import annotations

import random
from typing import ClassVar, Self

from protocols.core import Instant
from sim.clock import SKEW_MS_MAX
from sim.errors import ScenarioError
from sim.faults.fault import Chance, NodeFault, Stage, Undo, nanos

PPM_MAX = 200_000
"""A fifth fast or slow: far beyond any crystal, as on a virtual machine that is moved or starved."""

LEAP_S_MAX = 6 * 3600.0
"""Less than the dead are remembered for, by default, and than what a node forgets by age."""


class ClockDrift(NodeFault, frozen=True, tag="clock-drift", forbid_unknown_fields=True):
    """The monotonic clocks of some nodes run fast or slow, each by up to `ppm` millionths more than it does anyway."""

    ppm: int = 50_000

    mixed: ClassVar[Chance | None] = Chance(per_minute=1.0, lasts_s_min=5.0, lasts_s_max=30.0, count_max=3)
    misleads: ClassVar[bool] = False

    @classmethod
    def drawn(cls, draw: random.Random, start_s: float, end_s: float, count: int) -> Self:
        return cls(start_s, end_s, count, ppm=draw.choice((500, 10_000, 50_000)))

    def describe(self) -> str:
        return f"{self.whom} with a clock up to {self.ppm} ppm fast or slow {self.when}"

    def check(self, names: tuple[str, ...], seconds: float) -> None:
        if not 1 <= self.ppm <= PPM_MAX:
            raise ScenarioError(f"clock-drift: ppm {self.ppm} must be 1 to {PPM_MAX}.")
        super().check(names, seconds)

    def begin(self, now: Instant, stage: Stage) -> Undo | None:
        drifts = [
            (victim, stage.random.choice((-1, 1)) * stage.random.randint(1, self.ppm))
            for victim in stage.victims(self, stage.world.processes)
        ]
        for victim, ppm in drifts:
            stage.world.drift(victim, ppm)

        def steady(now: Instant) -> None:
            for victim, ppm in drifts:
                stage.world.drift(victim, -ppm)

        return steady if drifts else None


class ClockLeap(NodeFault, frozen=True, tag="clock-leap", forbid_unknown_fields=True):
    """The monotonic clocks of some running nodes leap forward at once, each by up to `leap_s`; all else goes on.

    That is a machine that was suspended, or stepped aside, for a moment that its clock takes for long: every timer of
    the node is overdue at once, though nothing that was said to it is lost or late.
    """

    leap_s: float = 120.0

    mixed: ClassVar[Chance | None] = Chance(per_minute=1.0, lasts_s_min=0.1, lasts_s_max=0.2, count_max=3)
    misleads: ClassVar[bool] = False

    @classmethod
    def drawn(cls, draw: random.Random, start_s: float, end_s: float, count: int) -> Self:
        return cls(start_s, end_s, count, leap_s=draw.choice((0.5, 5.0, 120.0, 3600.0)))

    def describe(self) -> str:
        return f"{self.whom} with a monotonic clock that leaps by up to {self.leap_s:g} s {self.when}"

    def check(self, names: tuple[str, ...], seconds: float) -> None:
        if not 0.001 <= self.leap_s <= LEAP_S_MAX:
            raise ScenarioError(f"clock-leap: leap_s {self.leap_s:g} must be 0.001 to {LEAP_S_MAX:g}.")
        super().check(names, seconds)

    def begin(self, now: Instant, stage: Stage) -> Undo | None:
        victims = stage.victims(self, stage.world.running())
        for victim in victims:
            stage.world.leap(victim, 1 + int(stage.random.random() * nanos(self.leap_s)))
        return _nothing if victims else None


def _nothing(now: Instant) -> None:
    """A leap is over as it begins: a monotonic clock is never set back."""


class ClockJump(NodeFault, frozen=True, tag="clock-jump", forbid_unknown_fields=True):
    """The wall clocks of some nodes jump, each by up to `jump_s` forward or back; at the end they are set right."""

    jump_s: float = 3600.0

    mixed: ClassVar[Chance | None] = Chance(per_minute=1.0, lasts_s_min=1.0, lasts_s_max=30.0, count_max=3)
    misleads: ClassVar[bool] = False

    @classmethod
    def drawn(cls, draw: random.Random, start_s: float, end_s: float, count: int) -> Self:
        return cls(start_s, end_s, count, jump_s=draw.choice((1.0, 3600.0, 3e8)))

    def describe(self) -> str:
        return f"{self.whom} with a wall clock wrong by up to {self.jump_s:g} s {self.when}"

    def check(self, names: tuple[str, ...], seconds: float) -> None:
        if not 0.001 <= self.jump_s <= SKEW_MS_MAX / 1000:
            raise ScenarioError(f"clock-jump: jump_s {self.jump_s:g} must be 0.001 to {SKEW_MS_MAX // 1000}.")
        super().check(names, seconds)

    def begin(self, now: Instant, stage: Stage) -> Undo | None:
        furthest_ms = int(self.jump_s * 1000)
        jumps = [
            (victim, stage.random.choice((-1, 1)) * stage.random.randint(1, furthest_ms))
            for victim in stage.victims(self, stage.world.processes)
        ]
        for victim, by_ms in jumps:
            victim.wall.jump(by_ms)

        def set_right(now: Instant) -> None:
            for victim, by_ms in jumps:
                victim.wall.jump(-by_ms)

        return set_right if jumps else None
