"""What a fault is: a frozen struct that says what goes wrong and when, and that can do it to a world.

A fault is data (it comes from TOML, from the command line, or from a draw) with four duties: say whether it can happen
(`check`), say what it is in words (`describe`), strike (`begin`), and hand back how to end it. `Timeline` calls them in
virtual time. Everything a fault draws (whom it hits, how hard) comes from its own stream, `faults/{salt}`: adding or
dropping one fault does not move the draws of the others, which is what makes shrinking possible.

For a random mix (`sim/faults/mix.py`) a kind says on its class how it takes part: `mixed`, `drawn` and `nodes_down`.
What it excuses it says there, too: `misleads`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from math import isfinite, isnan
from typing import TYPE_CHECKING, ClassVar, Self, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from protocols.core import NANOS_PER_S, Instant
from sim.errors import ScenarioError, nearest

if TYPE_CHECKING:
    from sim.process import Process
    from sim.world import World

SPAN_S_MIN = 0.01
"""For what comes and goes again and again: more often would make more events than the mesh itself, or stop time."""

Undo: TypeAlias = Callable[[Instant], None]
"""Ends a fault. Called once, in its own time or when the faults phase is over."""


class Chance(Struct, frozen=True, forbid_unknown_fields=True):
    """How often a kind of fault strikes in a random mix, for how long, and how many nodes (drawn between the two)."""

    per_minute: float = 1.0
    """Mean number of strikes in a virtual minute; they come as a Poisson process."""
    lasts_s_min: float = 1.0
    lasts_s_max: float = 8.0
    count_min: int = 1
    count_max: int = 1


class Salted(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Carries the number of a fault's random stream; 0 in what a person writes, set by `sim.scenario.expand`."""

    salt: int = 0


class Fault(Salted, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    """One thing that goes wrong, from `start_s` to `end_s` of virtual time (None: until the faults phase is over)."""

    start_s: float
    end_s: float | None = None

    mixed: ClassVar[Chance | None] = None
    """What a random mix of every kind does with this one; None: it leaves it out, for a mesh may not survive it."""
    misleads: ClassVar[bool] = True
    """Whether it may make a node that runs all the time look dead to another one (`checkers/no_false_death.py`)."""
    places: ClassVar[tuple[str, ...]] = ()
    """The fields that hold names of nodes, where the name of a zone stands for all of its nodes."""

    @classmethod
    def drawn(cls, draw: random.Random, start_s: float, end_s: float, count: int) -> Self:
        """One strike of a random mix. A kind that takes other options than its defaults draws them here."""
        return cls(start_s, end_s)

    @classmethod
    def kind(cls) -> str:
        """The name by which scenarios and reports know it."""
        tag = cls.__struct_config__.tag
        assert isinstance(tag, str)
        return tag

    @property
    def when(self) -> str:
        """`at 20-40 s`, or `from 20 s on`."""
        return f"from {self.start_s:g} s on" if self.end_s is None else f"at {self.start_s:g}-{self.end_s:g} s"

    @property
    def named(self) -> tuple[str, ...]:
        """Every node and zone that it names."""
        return tuple(name for field in self.places for name in getattr(self, field))

    def describe(self) -> str:
        """One phrase for people, with its times."""
        raise NotImplementedError

    def nodes_down(self, nodes: int) -> int:
        """How many of `nodes` nodes it keeps down or stopped at the same time, at most."""
        return 0

    def in_zones(self, zones: Mapping[str, tuple[str, ...]]) -> Self:
        """The same fault, with the nodes of a zone wherever it names the zone."""
        changed: dict[str, tuple[str, ...]] = {}
        for field in self.places:
            names: tuple[str, ...] = getattr(self, field)
            if any(name in zones for name in names):
                members = [node for name in names for node in zones.get(name, (name,))]
                changed[field] = tuple(dict.fromkeys(members))
        return replace(self, **changed) if changed else self

    def check(self, names: tuple[str, ...], seconds: float) -> None:
        """Raise `ScenarioError` where it cannot happen in a run of nodes `names` that lasts `seconds`."""
        for field in self.places:
            for name in getattr(self, field):
                if name not in names:
                    raise ScenarioError(f"{self.describe()}: there is no node {name!r}. {nearest(name, names)}")
        end_s = self.start_s if self.end_s is None else self.end_s
        if isnan(self.start_s) or isnan(end_s):
            raise ScenarioError(f"{self.describe()}: its times must be numbers of seconds.")
        if self.start_s < 0:
            raise ScenarioError(f"{self.describe()}: it begins before the run does. Virtual time starts at 0 s.")
        if end_s < self.start_s:
            raise ScenarioError(
                f"{self.describe()}: it ends before it begins. Did you mean {end_s:g}-{self.start_s:g}?"
            )
        if end_s > seconds:
            raise ScenarioError(
                f"{self.describe()}: the run lasts {seconds:g} s, and a fault must be over by then. "
                "Run for longer, or end it sooner."
            )

    def begin(self, now: Instant, stage: Stage) -> Undo | None:
        """Strike. None when there was nobody to strike, so that it did not happen."""
        raise NotImplementedError


class NodeFault(Fault, frozen=True, forbid_unknown_fields=True):
    """A fault that hits some nodes: those named, or `count` that are drawn when it begins."""

    count: int = 1
    nodes: tuple[str, ...] = ()

    places: ClassVar[tuple[str, ...]] = ("nodes",)

    @classmethod
    def drawn(cls, draw: random.Random, start_s: float, end_s: float, count: int) -> Self:
        return cls(start_s, end_s, count)

    @property
    def whom(self) -> str:
        """`n0, n3`, or `2 node(s)`."""
        return ", ".join(self.nodes) if self.nodes else f"{self.count} node(s)"

    def check(self, names: tuple[str, ...], seconds: float) -> None:
        if not self.nodes and not 1 <= self.count <= len(names):
            raise ScenarioError(f"{self.describe()}: the count must be 1 to {len(names)}, the number of nodes.")
        super().check(names, seconds)


class Stage:
    """What one fault may use while it is in force: the world, its own random stream, and later events of its own."""

    def __init__(self, world: World, salt: int) -> None:
        self.world = world
        self.random: random.Random = world.kernel.random(f"faults/{salt}")
        self.over = False
        self.drawn: tuple[str, ...] = ()
        """The names of those that were drawn to be hit."""
        self.on_finish: Callable[[Instant], None] = _nobody_waits

    def victims(self, fault: NodeFault, among: list[Process]) -> list[Process]:
        """Whom `fault` hits, of `among`: those it names that are among them, or as many as it wants, drawn."""
        if fault.nodes:
            return [process for process in among if process.name in fault.nodes]
        drawn = self.random.sample(among, min(fault.count, len(among)))
        self.drawn = tuple(process.name for process in drawn)
        return drawn

    def after(self, delay: Instant, function: Callable[[Instant], None]) -> None:
        """Have `function(now)` called `delay` ns from now, unless the fault is over by then."""
        self.world.kernel.push(self.world.kernel.now + delay, self._later, function)

    def finish(self) -> None:
        """Be over before its time: all that the fault wanted has happened."""
        self.on_finish(self.world.kernel.now)

    def _later(self, now: Instant, function: Callable[[Instant], None], _: None) -> None:
        if not self.over:
            function(now)


def check_span(fault: Fault, name: str, seconds: float, least_s: float = 0.0) -> None:
    """Raise `ScenarioError` where an option is no usable span of time."""
    if not (isfinite(seconds) and seconds >= least_s):
        raise ScenarioError(f"{fault.kind()}: {name} {seconds:g} must be {least_s:g} s or more.")


def nanos(seconds: float) -> Instant:
    """Virtual seconds as virtual nanoseconds."""
    return round(seconds * NANOS_PER_S)


def _nobody_waits(now: Instant) -> None:
    return None
