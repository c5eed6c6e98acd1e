"""Processes that do not get to run: stopped altogether, or starved of CPU (what Lifeguard, DSN 2018, is about)."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import ClassVar, Self

from protocols.core import Instant
from sim.errors import ScenarioError
from sim.faults.fault import Chance, NodeFault, Stage, Undo, nanos
from sim.process import Process

SPAN_S_MAX = 3600.0


class Pause(NodeFault, frozen=True, tag="pause", forbid_unknown_fields=True):
    """Some running nodes are stopped (SIGSTOP, a suspended virtual machine), and go on at the end."""

    mixed: ClassVar[Chance | None] = Chance(per_minute=1.5, lasts_s_min=0.1, lasts_s_max=10.0, count_max=2)

    def nodes_down(self, nodes: int) -> int:
        return len(self.nodes) or self.count

    def describe(self) -> str:
        return f"{self.whom} stopped {self.when}"

    def begin(self, now: Instant, stage: Stage) -> Undo | None:
        ends = [stage.world.pause(victim) for victim in stage.victims(self, stage.world.running())]

        def go_on(now: Instant) -> None:
            for end in ends:
                end()

        return go_on if ends else None


class Starve(NodeFault, frozen=True, tag="starve", forbid_unknown_fields=True):
    """Some running nodes are short of CPU: blocked for up to `blocked_s`, running for up to `runs_s`, and so on."""

    blocked_s: float = 2.0
    runs_s: float = 0.5

    mixed: ClassVar[Chance | None] = Chance(per_minute=0.5, lasts_s_min=3.0, lasts_s_max=15.0, count_max=2)

    @classmethod
    def drawn(cls, draw: random.Random, start_s: float, end_s: float, count: int) -> Self:
        return cls(start_s, end_s, count, blocked_s=draw.choice((0.1, 1.0, 4.0)), runs_s=draw.choice((0.05, 0.5)))

    def nodes_down(self, nodes: int) -> int:
        return len(self.nodes) or self.count

    def describe(self) -> str:
        return f"{self.whom} blocked for up to {self.blocked_s:g} s at a time {self.when}"

    def check(self, names: tuple[str, ...], seconds: float) -> None:
        for name in ("blocked_s", "runs_s"):
            if not 0.001 <= getattr(self, name) <= SPAN_S_MAX:
                raise ScenarioError(f"starve: {name} {getattr(self, name):g} must be 0.001 to {SPAN_S_MAX:g}.")
        super().check(names, seconds)

    def begin(self, now: Instant, stage: Stage) -> Undo | None:
        victims = stage.victims(self, stage.world.running())
        blocked: dict[int, Callable[[], None]] = {}

        def block(now: Instant, victim: Process) -> None:
            if victim.up:
                blocked[victim.index] = stage.world.pause(victim)
            stage.after(_span(stage, self.blocked_s), lambda now: let_run(now, victim))

        def let_run(now: Instant, victim: Process) -> None:
            go_on = blocked.pop(victim.index, None)
            if go_on is not None:
                go_on()
            stage.after(_span(stage, self.runs_s), lambda now: block(now, victim))

        def feed(now: Instant) -> None:
            for go_on in blocked.values():
                go_on()

        for victim in victims:
            block(now, victim)
        return feed if victims else None


def _span(stage: Stage, longest_s: float) -> Instant:
    return 1 + int(stage.random.random() * nanos(longest_s))
