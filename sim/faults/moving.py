"""Partitions that move: who is cut off changes again and again while they are in force."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import ClassVar, Literal, Self, get_args

from protocols.core import Instant
from sim.errors import ScenarioError, nearest
from sim.faults.fault import SPAN_S_MIN, Chance, Fault, Stage, Undo, check_span, nanos
from sim.faults.partitions import halved, indexes, links_of, needs_nodes
from sim.network import Cut, Pairs

Sides = Literal["halves", "node", "link"]
SIDES: dict[Sides, str] = {
    "halves": "the way between two halves",
    "node": "all links of a node",
    "link": "the link of two nodes",
}


class IsolateEach(Fault, frozen=True, tag="isolate-each", forbid_unknown_fields=True):
    """Each node in turn, in a drawn order, is cut off from all others for `each_s`; then the next one, round and round.

    `each_s` 0: an equal share of the time from `start_s` to `end_s`, so that each has one turn. `nodes`: only those.
    """

    each_s: float = 0.0
    nodes: tuple[str, ...] = ()

    places: ClassVar[tuple[str, ...]] = ("nodes",)
    mixed: ClassVar[Chance | None] = Chance(per_minute=0.5, lasts_s_min=4.0, lasts_s_max=15.0)

    @classmethod
    def drawn(cls, draw: random.Random, start_s: float, end_s: float, count: int) -> Self:
        return cls(start_s, end_s, each_s=draw.choice((0.0, 0.5, 2.0)))

    def describe(self) -> str:
        whom = ", ".join(self.nodes) or "each node"
        turn = f", {self.each_s:g} s each," if self.each_s else ""
        return f"{whom} isolated in turn{turn} {self.when}"

    def check(self, names: tuple[str, ...], seconds: float) -> None:
        if self.each_s:
            check_span(self, "each_s", self.each_s, SPAN_S_MIN)
        elif self.end_s is None:
            raise ScenarioError(f"{self.describe()}: nothing says how long a turn is. Give each_s or end_s.")
        needs_nodes(self, names, 2)
        super().check(names, seconds)

    def begin(self, now: Instant, stage: Stage) -> Undo | None:
        count = len(stage.world.processes)
        order = indexes(stage, self.nodes) or list(range(count))
        stage.random.shuffle(order)
        if self.each_s:
            turn = nanos(self.each_s)
        else:
            assert self.end_s is not None
            turn = max(1, -(-nanos(self.end_s - self.start_s) // len(order)))
        turns = cycle([Pairs.links_of(count, [victim]) for victim in order])
        return come_and_go(stage, turns, lambda: turn, lambda: 0)


class Flapping(Fault, frozen=True, tag="flapping", forbid_unknown_fields=True):
    """A cut that comes and goes, each time for a drawn while: the first comes at once.

    `sides` says what is cut: two drawn halves, a drawn node from all others, or the link of two drawn nodes. Or it is
    the links of `nodes`: those to the nodes in `to`, or all.
    """

    sides: Sides = "halves"
    nodes: tuple[str, ...] = ()
    to: tuple[str, ...] = ()
    down_s_max: float = 2.0
    up_s_max: float = 2.0
    """The longest that the cut is there, and is away; the mean is half of it."""

    places: ClassVar[tuple[str, ...]] = ("nodes", "to")
    mixed: ClassVar[Chance | None] = Chance(per_minute=1.0, lasts_s_min=3.0, lasts_s_max=15.0)

    @classmethod
    def drawn(cls, draw: random.Random, start_s: float, end_s: float, count: int) -> Self:
        span = (0.2, 1.0, 4.0)
        return cls(
            start_s,
            end_s,
            sides=draw.choice(get_args(Sides)),
            down_s_max=draw.choice(span),
            up_s_max=draw.choice(span),
        )

    def describe(self) -> str:
        what = links_of(self.nodes, self.to) if self.nodes else SIDES.get(self.sides, self.sides)
        return f"{what} flapping {self.when}"

    def check(self, names: tuple[str, ...], seconds: float) -> None:
        if self.sides not in SIDES:
            raise ScenarioError(f"flapping: there are no sides {self.sides!r}. {nearest(self.sides, SIDES)}")
        needs_nodes(self, names, 2)
        check_span(self, "down_s_max", self.down_s_max, SPAN_S_MIN)
        check_span(self, "up_s_max", self.up_s_max, SPAN_S_MIN)
        if self.to and not self.nodes:
            raise ScenarioError(
                f"flapping: to names {', '.join(self.to)}, and nodes nobody. Name both ends of the links."
            )
        super().check(names, seconds)

    def begin(self, now: Instant, stage: Stage) -> Undo | None:
        world = stage.world
        count = len(world.processes)
        draw = stage.random
        if self.nodes:
            cut = Pairs.links_of(count, indexes(stage, self.nodes), indexes(stage, self.to))
        elif self.sides == "halves":
            cut = Cut(halved(stage))
        elif self.sides == "node":
            cut = Pairs.links_of(count, [draw.randrange(count)])
        else:
            one, two = draw.sample(range(count), 2)
            cut = Pairs.links_of(count, [one], [two])
        if not cut:
            return None
        return come_and_go(
            stage,
            cycle([cut]),
            lambda: 1 + int(draw.random() * nanos(self.down_s_max)),
            lambda: 1 + int(draw.random() * nanos(self.up_s_max)),
        )


def come_and_go(stage: Stage, cuts: Iterator[Pairs], down: Callable[[], Instant], up: Callable[[], Instant]) -> Undo:
    """Put one of `cuts` after the other in force: now, for `down()`; then none for `up()`; and so on."""
    world = stage.world
    in_force: list[Pairs] = []

    def come(now: Instant) -> None:
        cut = next(cuts)
        world.cut(cut)
        in_force.append(cut)
        stage.after(down(), go)

    def go(now: Instant) -> None:
        world.heal(in_force.pop())
        wait = up()
        if wait:
            stage.after(wait, come)
        else:
            come(now)

    def stop(now: Instant) -> None:
        for cut in in_force:
            world.heal(cut)

    come(world.kernel.now)
    return stop
