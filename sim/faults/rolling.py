"""Restarts that somebody plans: of some nodes, of each in turn, of all at once; gracefully or not.

A graceful restart asks the node to leave, as `meshnode leave` and SIGTERM do, and stops it when it has answered, or
after `LEAVE_MAX`. Any other is a crash. A fault of this file without an end is over when the last node is back.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import ClassVar, Self

from protocols.core import NANOS_PER_S, Instant, Outcome
from protocols.membership.views import Leave
from sim.errors import ScenarioError
from sim.faults.fault import Chance, Fault, NodeFault, Stage, Undo, check_span, nanos
from sim.process import Process

LEAVE_MAX = 5 * NANOS_PER_S
"""How long the daemon waits for its leaving to end (`meshnode/daemon.py`)."""


class Cycle:
    """One node, taken down and brought back. `end` brings it back at once."""

    def __init__(self, stage: Stage, victim: Process, down: Instant, then: Callable[[Instant], None]) -> None:
        self._stage = stage
        self._victim = victim
        self._down = down
        self._then = then
        self._begun = self._held = self._over = False

    def begin(self, now: Instant, *, graceful: bool) -> None:
        """Ask it to leave and wait for that, or take it down now."""
        self._begun = True
        if graceful and self._victim.up:
            self._stage.after(LEAVE_MAX, self._take_down)
            self._victim.request(now, Leave(), self._left)
        else:
            self._take_down(now)

    def _left(self, now: Instant, outcome: Outcome) -> None:
        self._stage.after(0, self._take_down)  # not from inside of its own step

    def _take_down(self, now: Instant) -> None:
        if not self._held and not self._over:
            self._held = True
            self._stage.world.hold_down(self._victim)
            self._stage.after(self._down, self._bring_back)

    def _bring_back(self, now: Instant) -> None:
        self.end()
        self._then(now)

    def end(self) -> None:
        """Leave it running. One that was asked to leave has said so, and does not take it back: it starts again."""
        if self._over or not self._begun:
            return
        self._over = True
        if not self._held:
            self._stage.world.hold_down(self._victim)
        self._stage.world.let_up(self._victim)


class Restart(NodeFault, frozen=True, tag="restart", forbid_unknown_fields=True):
    """Some running nodes are restarted, all at the same time."""

    down_s: float = 2.0
    graceful: bool = True

    mixed: ClassVar[Chance | None] = Chance(per_minute=1.0, lasts_s_min=4.0, lasts_s_max=12.0, count_max=2)
    misleads: ClassVar[bool] = False

    @classmethod
    def drawn(cls, draw: random.Random, start_s: float, end_s: float, count: int) -> Self:
        return cls(start_s, end_s, count, down_s=draw.choice((0.0, 0.2, 2.0)), graceful=draw.random() < 0.7)

    def nodes_down(self, nodes: int) -> int:
        return len(self.nodes) or self.count

    def describe(self) -> str:
        return f"{self.whom} restarted{_manner(self.graceful)} {_from(self)}, down for {self.down_s:g} s"

    def check(self, names: tuple[str, ...], seconds: float) -> None:
        check_span(self, "down_s", self.down_s)
        super().check(names, seconds)

    def begin(self, now: Instant, stage: Stage) -> Undo | None:
        victims = stage.victims(self, stage.world.running())
        return all_at_once(now, stage, victims, nanos(self.down_s), [0] * len(victims), graceful=self.graceful)


class MassRestart(Fault, frozen=True, tag="mass-restart", forbid_unknown_fields=True):
    """All running nodes crash within `spread_s` of each other, as in a power cut, and come back after `down_s` each."""

    down_s: float = 2.0
    spread_s: float = 0.0

    mixed: ClassVar[Chance | None] = Chance(per_minute=0.5, lasts_s_min=4.0, lasts_s_max=8.0)
    misleads: ClassVar[bool] = False

    @classmethod
    def drawn(cls, draw: random.Random, start_s: float, end_s: float, count: int) -> Self:
        return cls(start_s, end_s, down_s=draw.choice((0.0, 2.0)), spread_s=draw.choice((0.0, 0.1, 3.0)))

    def nodes_down(self, nodes: int) -> int:
        return nodes

    def describe(self) -> str:
        within = f" within {self.spread_s:g} s" if self.spread_s else " at once"
        return f"all nodes restarted{within} {_from(self)}, down for {self.down_s:g} s"

    def check(self, names: tuple[str, ...], seconds: float) -> None:
        check_span(self, "down_s", self.down_s)
        check_span(self, "spread_s", self.spread_s)
        super().check(names, seconds)

    def begin(self, now: Instant, stage: Stage) -> Undo | None:
        victims = stage.world.running()
        delays = [int(stage.random.random() * nanos(self.spread_s)) for _ in victims]
        return all_at_once(now, stage, victims, nanos(self.down_s), delays, graceful=False)


class InTurn(Fault, frozen=True, forbid_unknown_fields=True):
    """Something that is done to nodes one after the other, in the order of their names in the mesh.

    All of them, or those named. When `end_s` comes first, the rest is left as it is.
    """

    nodes: tuple[str, ...] = ()
    down_s: float = 2.0
    settle_s: float = 3.0
    """How long the mesh gets to take in one node before the next one goes."""
    graceful: bool = True

    places: ClassVar[tuple[str, ...]] = ("nodes",)
    misleads: ClassVar[bool] = False

    @classmethod
    def drawn(cls, draw: random.Random, start_s: float, end_s: float, count: int) -> Self:
        down_s, settle_s = draw.choice(((0.2, 0.5), (1.0, 2.0), (2.0, 5.0)))
        return cls(start_s, end_s, down_s=down_s, settle_s=settle_s, graceful=draw.random() < 0.7)

    def nodes_down(self, nodes: int) -> int:
        return 1

    @property
    def whom(self) -> str:
        """`n0, n3`, or `all nodes`."""
        return ", ".join(self.nodes) or "all nodes"

    def check(self, names: tuple[str, ...], seconds: float) -> None:
        check_span(self, "down_s", self.down_s)
        check_span(self, "settle_s", self.settle_s)
        count = self.turns(len(self.nodes or names))
        takes_s = count * self.down_s + (count - 1) * self.settle_s
        if self.end_s is None and self.start_s + takes_s > seconds:
            raise ScenarioError(
                f"{self.describe()}: {count} restarts in turn take {takes_s:g} s at least, "
                f"and the run lasts {seconds:g} s. Run for longer, shorten down_s or settle_s, or name fewer nodes."
            )
        super().check(names, seconds)

    def turns(self, nodes: int) -> int:
        """How many restarts it makes of `nodes` nodes."""
        return nodes

    def in_turn(self, now: Instant, stage: Stage, turns: Sequence[tuple[Process, Callable[[], None]]]) -> Undo | None:
        """Restart each node of `turns`; what stands beside it is called just before."""
        waiting = list(turns)
        under_way: list[Cycle] = []

        def next_one(now: Instant) -> None:
            victim, prepare = waiting.pop(0)
            prepare()
            cycle = Cycle(stage, victim, nanos(self.down_s), one_is_back)
            under_way[:] = [cycle]
            cycle.begin(now, graceful=self.graceful)

        def one_is_back(now: Instant) -> None:
            if waiting:
                stage.after(nanos(self.settle_s), next_one)
            else:
                stage.finish()

        def stop(now: Instant) -> None:
            for cycle in under_way:
                cycle.end()

        if not waiting:
            return None
        next_one(now)
        return stop

    def named_or_all(self, stage: Stage) -> list[Process]:
        """Whom this is about, by index."""
        return [process for process in stage.world.processes if not self.nodes or process.name in self.nodes]


class RollingRestart(InTurn, frozen=True, tag="rolling-restart", forbid_unknown_fields=True):
    """Each node in turn is restarted."""

    mixed: ClassVar[Chance | None] = Chance(per_minute=0.5, lasts_s_min=10.0, lasts_s_max=40.0)

    def describe(self) -> str:
        return f"{self.whom} restarted in turn{_manner(self.graceful)} {_from(self)}, down for {self.down_s:g} s each"

    def begin(self, now: Instant, stage: Stage) -> Undo | None:
        return self.in_turn(now, stage, [(victim, _nothing) for victim in self.named_or_all(stage) if victim.up])


def all_at_once(
    now: Instant, stage: Stage, victims: list[Process], down: Instant, delays: list[Instant], *, graceful: bool
) -> Undo | None:
    """Restart each of `victims` after its delay; the fault is over when the last one is back."""
    back: list[Process] = []
    cycles: list[Cycle] = []

    def one_is_back(now: Instant) -> None:
        back.append(victims[len(back)])
        if len(back) == len(victims):
            stage.finish()

    for victim, delay in zip(victims, delays, strict=True):
        cycle = Cycle(stage, victim, down, one_is_back)
        cycles.append(cycle)
        if delay:
            stage.after(delay, lambda now, cycle=cycle: cycle.begin(now, graceful=graceful))  # type: ignore[misc]
        else:
            cycle.begin(now, graceful=graceful)

    def stop(now: Instant) -> None:
        for cycle in cycles:
            cycle.end()

    return stop if victims else None


def _manner(graceful: bool) -> str:
    return " gracefully" if graceful else " by force"


def _from(fault: Fault) -> str:
    return f"from {fault.start_s:g} s on" if fault.end_s is None else fault.when


def _nothing() -> None:
    return None
