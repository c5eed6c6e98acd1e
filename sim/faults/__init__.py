"""What can go wrong, one file a family. `AnyFault` is what a scenario's list of faults may hold."""

from __future__ import annotations

from typing import TypeAlias, get_args

from sim.faults.crashes import Crash
from sim.faults.disks import DiskFull
from sim.faults.fault import Fault
from sim.faults.partitions import Halves, Isolate, OneWay

AnyFault: TypeAlias = Halves | Isolate | OneWay | Crash | DiskFull

KINDS: dict[str, type[Fault]] = {cls.kind(): cls for cls in get_args(AnyFault)}
"""Every kind of fault by its name."""

__all__ = ["KINDS", "AnyFault", "Crash", "DiskFull", "Fault", "Halves", "Isolate", "OneWay"]
