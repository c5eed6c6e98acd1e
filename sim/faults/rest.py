"""The rest that stays broken while a core is asked for progress (the second phase; TigerBeetle's VOPR does the same).

When the faults are over, a core of nodes is healed: those that were down for good are started. Every other node is
broken for good, each in a way of its own: with a fault like any other that never ends. What the core promises must not
hang on any of them, whatever they still say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal, get_args

from protocols.core import Instant
from sim.faults.crashes import Crash
from sim.faults.disks import DiskFull
from sim.faults.fault import Fault, Stage
from sim.faults.links import Lossy, Slow
from sim.faults.partitions import Isolate, OneWay
from sim.faults.pauses import Pause

if TYPE_CHECKING:
    from sim.world import World

Way = Literal["down", "isolated", "unheard", "deaf", "slow", "lossy", "disk-full", "paused"]
WAYS: tuple[Way, ...] = get_args(Way)

_FAULT: dict[Way, Callable[[float, str], Fault]] = {
    "down": lambda at_s, name: Crash(at_s, nodes=(name,)),
    "isolated": lambda at_s, name: Isolate(at_s, nodes=(name,)),
    "unheard": lambda at_s, name: OneWay(at_s, nodes=(name,)),
    "slow": lambda at_s, name: Slow(at_s, nodes=(name,), add_ms_min=400.0, add_ms_max=3000.0),
    "lossy": lambda at_s, name: Lossy(at_s, nodes=(name,), loss=0.7),
    "disk-full": lambda at_s, name: DiskFull(at_s, nodes=(name,)),
    "paused": lambda at_s, name: Pause(at_s, nodes=(name,)),
}


def heal_the_core(world: World, core: tuple[str, ...]) -> None:
    """Let the nodes of those names be the core, and start those of them that are down."""
    world.core = tuple(process for process in world.processes if process.name in core)
    for process in world.core:
        while world.held[process.index]:
            world.let_up(process)
        if not process.up:
            world.boot(process)


def break_the_rest(now: Instant, at_s: float, world: World, broken: Mapping[str, Way]) -> dict[str, int]:
    """Break every node that `broken` names, for good. How often each way happened, as `rest-down` and its like.

    A node that is down stays so: of no other way could anything be told.
    """
    fired: dict[str, int] = {}
    everybody = tuple(process.name for process in world.processes)
    for process in world.processes:
        way = broken.get(process.name)
        if way is None:
            continue
        if not process.up:
            way = "down"
        if way == "deaf":
            others = tuple(name for name in everybody if name != process.name)
            fault: Fault = OneWay(at_s, nodes=others, to=(process.name,))
        else:
            fault = _FAULT[way](at_s, process.name)
        if fault.begin(now, Stage(world, -1 - process.index)) is not None:
            fired[f"rest-{way}"] = fired.get(f"rest-{way}", 0) + 1
            world.trouble_begins(f"{process.name} stays {way}", misleads=fault.misleads)
    return fired
