"""Does the faults of a scenario to a world, each in its time, and ends what is in force when their phase is over."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from protocols.core import Instant
from sim.faults.fault import Fault, NodeFault, Stage, Undo, nanos
from sim.world import World


class Timeline:
    """Strikes each fault at its `start_s`, but not before `begin`. `fired` counts by kind, 0 for what never struck.

    `kinds` are those that could have been among `faults`, had the draws been others.
    """

    def __init__(self, world: World, faults: Sequence[Fault], begin: Instant = 0, kinds: Sequence[str] = ()) -> None:
        self._world = world
        self._begin = begin
        self._active: dict[int, tuple[Fault, Stage, Undo]] = {}
        self.fired: dict[str, int] = dict.fromkeys((*kinds, *(fault.kind() for fault in faults)), 0)
        self.struck: dict[int, str] = {}
        """What has struck so far, in words, with whom it has hit; by salt."""
        for position, fault in enumerate(faults):
            world.kernel.push(max(nanos(fault.start_s), begin), self._strike, position, fault)

    def _strike(self, now: Instant, position: int, fault: Fault) -> None:
        stage = Stage(self._world, fault.salt or position + 1)
        stage.on_finish = lambda now: self._end(now, position, None)
        undo = fault.begin(now, stage)
        if undo is None:
            return
        self.fired[fault.kind()] += 1
        if isinstance(fault, NodeFault) and stage.drawn:
            fault = replace(fault, nodes=stage.drawn)  # it is told of with the names of those whom it has hit
        self.struck[fault.salt or position + 1] = fault.describe()
        self._world.trouble_begins(fault.describe(), misleads=fault.misleads)
        self._active[position] = (fault, stage, undo)
        if fault.end_s is not None:
            self._world.kernel.push(max(nanos(fault.end_s), self._begin), self._end, position)

    def _end(self, now: Instant, position: int, _: None) -> None:
        active = self._active.pop(position, None)
        if active is not None:
            fault, stage, undo = active
            stage.over = True
            undo(now)
            self._world.trouble_ends(fault.describe(), misleads=fault.misleads)

    def end_all(self, now: Instant) -> None:
        """End every fault that is still in force, in the order in which they were written."""
        for position in sorted(self._active):
            self._end(now, position, None)
