"""The short form in which a person writes a fault on the command line.

KIND[:COUNT]@START-END      seconds of virtual time, decimals allowed

halves@30-60        two random halves that cannot reach each other
isolate:2@10-40     2 random nodes, each cut off from everybody
oneway:3@10-40      what 3 random nodes say reaches none of the others; what the others say reaches them
crash:3@20-35       3 random running nodes crash at 20 s and start again at 35 s
crash:3@20          … and stay down
diskfull:2@20-40    the disks of 2 random running nodes fail every write from 20 to 40 s
"""

from __future__ import annotations

import re

from sim.errors import ScenarioError, nearest
from sim.faults import AnyFault, Crash, DiskFull, Fault, Halves, Isolate, OneWay
from sim.faults.fault import NodeFault

PARTITIONS = ("halves", "isolate", "oneway")
_SPEC = re.compile(
    r"(?:(?P<kind>[a-z]+)(?::(?P<count>\d+))?@)?(?P<start>\d+(?:\.\d+)?)(?:-(?P<end>\d+(?:\.\d+)?))?", re.ASCII
)


def parse_partition(spec: str) -> AnyFault:
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


def parse_crash(spec: str) -> AnyFault:
    """Read `crash:3@20-35`, `3@20-35` or `crash:3@20`. Raises `ScenarioError`."""
    short = re.fullmatch(r"(\d+)@(.*)", spec)
    kind, count, start_s, end_s = _parse(f"crash:{short[1]}@{short[2]}" if short else spec, "crash:3@20-35")
    if kind != "crash":
        raise ScenarioError(f"Crash {spec!r}: there is no kind {kind!r}. {nearest(kind, ['crash'])}")
    return Crash(start_s, end_s, 1 if count is None else count)


def parse_disk_full(spec: str) -> AnyFault:
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


def spec_of(fault: Fault) -> str:
    """The short form of a fault, as the functions above read it."""
    end = "" if fault.end_s is None else f"-{fault.end_s:g}"
    count = f":{fault.count}" if isinstance(fault, NodeFault) else ""
    return f"{fault.kind()}{count}@{fault.start_s:g}{end}"
