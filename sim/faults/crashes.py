"""Crashes: a node loses its memory and what was not durable; its disk stays.

What is destroyed on purpose is in `disks.py`; restarts that somebody plans are in `rolling.py`.
"""

from __future__ import annotations

import random
from typing import ClassVar, Literal, Self, get_args

from protocols.core import NANOS_PER_S, Instant, Save
from sim.errors import ScenarioError, nearest
from sim.faults.fault import SPAN_S_MIN, Chance, NodeFault, Stage, Undo, check_span, nanos
from sim.process import Process

Moment = Literal["any", "saving", "saved"]
MOMENTS: dict[Moment, str] = {"any": "", "saving": ", in the middle of a save", "saved": ", right after a save"}
PATIENCE = 2 * NANOS_PER_S
"""How long a crash waits for its moment; a node that saves nothing in this time crashes anyway."""


class Crash(NodeFault, frozen=True, tag="crash", forbid_unknown_fields=True):
    """Some running nodes crash, and are kept down until `end_s` (None: for good)."""

    moment: Moment = "any"
    """"saving": while a commit is under way; "saved": just after one is durable and what waited for it was said.

    Where that moment does not come, the crash comes without it: after `PATIENCE`, and at the end at the latest.
    """

    mixed: ClassVar[Chance | None] = Chance(per_minute=2.0, lasts_s_min=1.0, lasts_s_max=8.0, count_max=2)
    misleads: ClassVar[bool] = False

    @classmethod
    def drawn(cls, draw: random.Random, start_s: float, end_s: float, count: int) -> Self:
        return cls(start_s, end_s, count, moment=draw.choice(get_args(Moment)))

    def nodes_down(self, nodes: int) -> int:
        return len(self.nodes) or self.count

    def describe(self) -> str:
        back = "for good" if self.end_s is None else f"until {self.end_s:g} s"
        return f"{self.whom} down from {self.start_s:g} s {back}{MOMENTS.get(self.moment, '')}"

    def check(self, names: tuple[str, ...], seconds: float) -> None:
        if self.moment not in get_args(Moment):
            raise ScenarioError(f"crash: there is no moment {self.moment!r}. {nearest(self.moment, MOMENTS)}")
        super().check(names, seconds)

    def begin(self, now: Instant, stage: Stage) -> Undo | None:
        victims = stage.victims(self, running_or_named(self, stage))
        strikes = [_Strike(stage, victim) for victim in victims]
        for strike in strikes:
            if self.moment == "any":
                strike.now(now)
            else:
                strike.at_a_save(after=self.moment == "saved")

        def restart(now: Instant) -> None:
            for strike in strikes:
                strike.end(now, for_good=self.end_s is None)

        return restart if victims else None


class _Strike:
    """One victim: crashed now, or at its next save."""

    def __init__(self, stage: Stage, victim: Process) -> None:
        self._stage = stage
        self._victim = victim
        self._done = False

    def now(self, now: Instant) -> None:
        if not self._done:
            self._done = True
            self._stop_listening()
            self._stage.world.hold_down(self._victim)

    def at_a_save(self, *, after: bool) -> None:
        if after:
            self._stage.world.watch.on_saved.append(self._answered)
        else:
            self._victim.disk.on_commit.append(self._commit_begins)
        self._stage.after(PATIENCE, self.now)

    def _commit_begins(self, now: Instant, end: Instant) -> None:
        self._stop_listening()
        self._stage.after(int(self._stage.random.random() * (end - now)), self.now)

    def _answered(self, now: Instant, process: Process, save: Save, why: str) -> None:
        if process is self._victim and save.records and not why:
            self._stage.after(0, self.now)  # once what waited for it, and for the rest of its commit, has been said

    def _stop_listening(self) -> None:
        on_commit, on_saved = self._victim.disk.on_commit, self._stage.world.watch.on_saved
        if self._commit_begins in on_commit:
            on_commit.remove(self._commit_begins)
        if self._answered in on_saved:
            on_saved.remove(self._answered)

    def end(self, now: Instant, *, for_good: bool) -> None:
        self.now(now)
        if not for_good:
            self._stage.world.let_up(self._victim)


class CrashLoop(NodeFault, frozen=True, tag="crash-loop", forbid_unknown_fields=True):
    """Some running nodes crash, start again and crash again, as a broken service does. At the end they stay up."""

    up_s: float = 3.0
    down_s: float = 1.0
    """How long they run, and are down, each time: half to one and a half times this."""

    mixed: ClassVar[Chance | None] = Chance(per_minute=0.5, lasts_s_min=5.0, lasts_s_max=20.0)
    misleads: ClassVar[bool] = False

    def nodes_down(self, nodes: int) -> int:
        return len(self.nodes) or self.count

    def describe(self) -> str:
        return f"{self.whom} crashing about every {self.up_s + self.down_s:g} s {self.when}"

    def check(self, names: tuple[str, ...], seconds: float) -> None:
        check_span(self, "up_s", self.up_s, SPAN_S_MIN)
        check_span(self, "down_s", self.down_s, SPAN_S_MIN)
        super().check(names, seconds)

    def begin(self, now: Instant, stage: Stage) -> Undo | None:
        victims = stage.victims(self, running_or_named(self, stage))
        down: list[Process] = []

        def crash(now: Instant, victim: Process) -> None:
            stage.world.hold_down(victim)
            down.append(victim)
            stage.after(_about(stage, self.down_s), lambda now: start(now, victim))

        def start(now: Instant, victim: Process) -> None:
            down.remove(victim)
            stage.world.let_up(victim)
            stage.after(_about(stage, self.up_s), lambda now: crash(now, victim))

        def hold(now: Instant) -> None:
            for victim in down:
                stage.world.let_up(victim)

        for victim in victims:
            crash(now, victim)
        return hold if victims else None


def running_or_named(fault: NodeFault, stage: Stage) -> list[Process]:
    """Among whom to look for victims: a node that is named is kept down though it be down already."""
    return stage.world.processes if fault.nodes else stage.world.running()


def _about(stage: Stage, seconds: float) -> Instant:
    return int(nanos(seconds) * (0.5 + stage.random.random()))
