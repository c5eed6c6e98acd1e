"""What can go wrong, one file a family. `AnyFault` is what a scenario's list of faults may hold."""

from __future__ import annotations

from typing import TypeAlias, get_args

from sim.faults.clocks import ClockDrift, ClockJump, ClockLeap
from sim.faults.crashes import Crash, CrashLoop
from sim.faults.disks import Corrupt, DiskFull, SlowDisk, SyncFails, Wipe
from sim.faults.fault import Chance, Fault
from sim.faults.liar import Liar
from sim.faults.links import Clog, Duplicating, Lossy, Reordering, Reset, Slow
from sim.faults.moving import Flapping, IsolateEach
from sim.faults.partitions import Bridge, Groups, Halves, Isolate, MajoritiesRing, OneWay, RandomCut
from sim.faults.pauses import Pause, Starve
from sim.faults.reconfigure import Reconfiguring
from sim.faults.retag import Retag
from sim.faults.rolling import MassRestart, Restart, RollingRestart
from sim.faults.upgrade import Rollback, Upgrade

Partition: TypeAlias = Halves | Isolate | OneWay | Bridge | MajoritiesRing | RandomCut | Groups | IsolateEach | Flapping
LinkFault: TypeAlias = Lossy | Slow | Clog | Duplicating | Reordering | Reset
ProcessFault: TypeAlias = Crash | CrashLoop | Pause | Starve | Restart | RollingRestart | MassRestart
OperatorFault: TypeAlias = Retag | Reconfiguring
DiskFault: TypeAlias = DiskFull | SlowDisk | SyncFails | Corrupt | Wipe
ClockFault: TypeAlias = ClockDrift | ClockJump | ClockLeap
VersionFault: TypeAlias = Upgrade | Rollback
AnyFault: TypeAlias = (
    Partition | LinkFault | ProcessFault | DiskFault | OperatorFault | ClockFault | VersionFault | Liar
)

KINDS: dict[str, type[Fault]] = {cls.kind(): cls for cls in get_args(AnyFault)}
"""Every kind of fault by its name."""

__all__ = [
    "KINDS",
    "AnyFault",
    "Bridge",
    "Chance",
    "ClockDrift",
    "ClockJump",
    "ClockLeap",
    "Clog",
    "Corrupt",
    "Crash",
    "CrashLoop",
    "DiskFull",
    "Duplicating",
    "Fault",
    "Flapping",
    "Groups",
    "Halves",
    "Isolate",
    "IsolateEach",
    "Liar",
    "Lossy",
    "MajoritiesRing",
    "MassRestart",
    "OneWay",
    "Partition",
    "Pause",
    "RandomCut",
    "Reconfiguring",
    "Reordering",
    "Reset",
    "Restart",
    "Retag",
    "Rollback",
    "RollingRestart",
    "Slow",
    "SlowDisk",
    "Starve",
    "SyncFails",
    "Upgrade",
    "Wipe",
]
