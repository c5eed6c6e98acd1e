"""Faults as data, the short form in which a person writes them, and how each is done to a world.

    KIND[:COUNT]@START-END      seconds of virtual time, decimals allowed

    halves@30-60        two random halves that cannot reach each other
    isolate:2@10-40     2 random nodes, each cut off from everybody
    oneway:3@10-40      what 3 random nodes say reaches none of the others; what the others say reaches them
    crash:3@20-35       3 random running nodes crash at 20 s and start again at 35 s
    crash:3@20          … and stay down
    diskfull:2@20-40    the disks of 2 random running nodes fail every write from 20 to 40 s

Which nodes are hit is drawn from the fault stream when the fault begins. A fault is a frozen struct and can be decoded
from TOML or JSON as it is.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import TypeAlias

from msgspec import Struct

from protocols.core import NANOS_PER_S, Instant
from sim.errors import ScenarioError, nearest
from sim.kernel import EventFunction
from sim.network import Cut
from sim.process import Process
from sim.world import World


class Halves(Struct, frozen=True, tag="halves", forbid_unknown_fields=True):
    """Two halves, cut apart. Of an odd number of nodes, the second half has one more."""

    start_s: float
    end_s: float


class Isolate(Struct, frozen=True, tag="isolate", forbid_unknown_fields=True):
    """`count` nodes, each cut off from everybody, each other included."""

    start_s: float
    end_s: float
    count: int = 1


class OneWay(Struct, frozen=True, tag="oneway", forbid_unknown_fields=True):
    """What `count` nodes say reaches none of the others; the other direction works."""

    start_s: float
    end_s: float
    count: int = 1


class Crash(Struct, frozen=True, tag="crash", forbid_unknown_fields=True):
    """`count` running nodes crash; those that are still down come back at `end_s` (None: never)."""

    start_s: float
    end_s: float | None
    count: int = 1


class DiskFull(Struct, frozen=True, tag="diskfull", forbid_unknown_fields=True):
    """The disks of `count` running nodes fail every commit; what is durable stays so."""

    start_s: float
    end_s: float
    count: int = 1


Fault: TypeAlias = Halves | Isolate | OneWay | Crash | DiskFull

PARTITIONS = ("halves", "isolate", "oneway")
_SPEC = re.compile(
    r"(?:(?P<kind>[a-z]+)(?::(?P<count>\d+))?@)?(?P<start>\d+(?:\.\d+)?)(?:-(?P<end>\d+(?:\.\d+)?))?", re.ASCII
)


def parse_partition(spec: str) -> Fault:
    """Read `halves@30-60` and its like. Raises `ScenarioError`."""
    kind, count, start_s, end_s = _parse(spec, "halves@30-60")
    if kind not in PARTITIONS:
        raise ScenarioError(f"Partition {spec!r}: there is no kind {kind!r}. {nearest(kind, PARTITIONS)}")
    if end_s is None:
        raise ScenarioError(f"Partition {spec!r} never heals: say until when, as in {kind}@30-60.")
    if kind == "halves":
        if count is not None:
            raise ScenarioError(f"Partition {spec!r}: halves take no count. Did you mean 'isolate:{count}@…'?")
        return Halves(start_s, end_s)
    several = Isolate if kind == "isolate" else OneWay
    return several(start_s, end_s, 1 if count is None else count)


def parse_crash(spec: str) -> Fault:
    """Read `crash:3@20-35`, `3@20-35` or `crash:3@20`. Raises `ScenarioError`."""
    short = re.fullmatch(r"(\d+)@(.*)", spec)
    kind, count, start_s, end_s = _parse(f"crash:{short[1]}@{short[2]}" if short else spec, "crash:3@20-35")
    if kind != "crash":
        raise ScenarioError(f"Crash {spec!r}: there is no kind {kind!r}. {nearest(kind, ['crash'])}")
    return Crash(start_s, end_s, 1 if count is None else count)


def parse_disk_full(spec: str) -> Fault:
    """Read `diskfull:2@20-40` or `2@20-40`. Raises `ScenarioError`."""
    short = re.fullmatch(r"(\d+)@(.*)", spec)
    kind, count, start_s, end_s = _parse(f"diskfull:{short[1]}@{short[2]}" if short else spec, "diskfull:2@20-40")
    if kind != "diskfull":
        raise ScenarioError(f"Full disk {spec!r}: there is no kind {kind!r}. {nearest(kind, ['diskfull'])}")
    if end_s is None:
        raise ScenarioError(f"Full disk {spec!r} never ends: say until when, as in 2@20-40.")
    return DiskFull(start_s, end_s, 1 if count is None else count)


def _parse(spec: str, example: str) -> tuple[str, int | None, float, float | None]:
    match = _SPEC.fullmatch(spec.strip())
    if match is None or match["kind"] is None:
        raise ScenarioError(f"Cannot read the fault {spec!r}: it is written KIND[:COUNT]@START-END, as in {example}.")
    count = None if match["count"] is None else int(match["count"])
    end_s = None if match["end"] is None else float(match["end"])
    return match["kind"], count, float(match["start"]), end_s


def check_fault(fault: Fault, nodes: int, seconds: float) -> None:
    """Raise `ScenarioError` for a fault that cannot happen in a run of `nodes` nodes and `seconds` virtual seconds."""
    what = describe(fault)
    end_s = fault.start_s if fault.end_s is None else fault.end_s
    if end_s < fault.start_s:
        raise ScenarioError(f"{what}: it ends before it begins. Did you mean {end_s:g}-{fault.start_s:g}?")
    if end_s > seconds:
        raise ScenarioError(
            f"{what}: the run lasts {seconds:g} s, and a fault must be over by then. Run for longer, or end it sooner."
        )
    if isinstance(fault, Halves):
        if nodes < 2:
            raise ScenarioError(f"{what}: one node cannot be cut in halves. Use at least 2 nodes.")
    elif not 1 <= fault.count <= nodes:
        raise ScenarioError(f"{what}: the count must be 1 to {nodes}, the number of nodes.")


def describe(fault: Fault) -> str:
    """One phrase for people."""
    match fault:
        case Halves():
            return f"halves cut apart at {fault.start_s:g}-{fault.end_s:g} s"
        case Isolate():
            return f"{fault.count} node(s) isolated at {fault.start_s:g}-{fault.end_s:g} s"
        case OneWay():
            return f"{fault.count} node(s) unheard at {fault.start_s:g}-{fault.end_s:g} s"
        case Crash():
            back = "for good" if fault.end_s is None else f"until {fault.end_s:g} s"
            return f"{fault.count} node(s) down from {fault.start_s:g} s {back}"
        case DiskFull():
            return f"{fault.count} disk(s) full at {fault.start_s:g}-{fault.end_s:g} s"


def cut_for(fault: Halves | Isolate | OneWay, nodes: int, stream: random.Random) -> Cut:
    """Draw who is on which side."""
    order = list(range(nodes))
    stream.shuffle(order)
    labels = [0] * nodes
    if isinstance(fault, Isolate):
        for label, index in enumerate(order[: fault.count], start=1):
            labels[index] = label
        return Cut(labels)
    for index in order[: nodes // 2 if isinstance(fault, Halves) else fault.count]:
        labels[index] = 1
    return Cut(labels, one_way=isinstance(fault, OneWay))


class Timeline:
    """Does the faults of a scenario to a world in their time, but not before `begin`. `fired` counts by kind."""

    def __init__(self, world: World, faults: Sequence[Fault], begin: Instant = 0) -> None:
        self._world = world
        self._begin = begin
        self._random = world.kernel.random("faults")
        self._full_disks: dict[int, int] = {}
        """By node: how many faults keep its disk full."""
        self.fired: dict[str, int] = {}
        for fault in faults:
            strike: EventFunction = self._cut
            if isinstance(fault, Crash):
                strike = self._crash
            elif isinstance(fault, DiskFull):
                strike = self._fill_disks
            self._push(fault.start_s, strike, fault)

    def _push(self, at_s: float, function: EventFunction, what: object) -> None:
        self._world.kernel.push(max(nanos(at_s), self._begin), function, what)

    def _count(self, fault: Fault) -> None:
        kind = type(fault).__name__.lower()
        self.fired[kind] = self.fired.get(kind, 0) + 1

    def _cut(self, now: Instant, fault: Halves | Isolate | OneWay, _: None) -> None:
        cut = cut_for(fault, len(self._world.processes), self._random)
        self._world.cut(cut)
        self._push(fault.end_s, self._heal, cut)
        self._count(fault)

    def _heal(self, now: Instant, cut: Cut, _: None) -> None:
        self._world.heal(cut)

    def _crash(self, now: Instant, fault: Crash, _: None) -> None:
        running = self._world.running()
        victims = self._random.sample(running, min(fault.count, len(running)))
        for victim in victims:
            self._world.crash(victim)
        if victims:
            self._count(fault)
        if fault.end_s is not None:
            self._push(fault.end_s, self._restart, victims)

    def _restart(self, now: Instant, victims: list[Process], _: None) -> None:
        for victim in victims:
            if not victim.up:
                self._world.boot(victim)

    def _fill_disks(self, now: Instant, fault: DiskFull, _: None) -> None:
        running = self._world.running()
        victims = self._random.sample(running, min(fault.count, len(running)))
        for victim in victims:
            self._full_disks[victim.index] = self._full_disks.get(victim.index, 0) + 1
            victim.disk.failure = "no space left on device"
        if victims:
            self._count(fault)
        self._push(fault.end_s, self._free_disks, victims)

    def _free_disks(self, now: Instant, victims: list[Process], _: None) -> None:
        self._world.disturb()
        for victim in victims:
            self._full_disks[victim.index] -= 1
            if not self._full_disks[victim.index]:
                victim.disk.failure = ""


def nanos(seconds: float) -> Instant:
    """Virtual seconds as virtual nanoseconds."""
    return round(seconds * NANOS_PER_S)
