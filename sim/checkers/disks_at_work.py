"""Which disks still work on what they were given during the faults: until they answer, their nodes owe nothing.

A commit that a slow disk has begun goes on at its pace when the fault is over, and slow disks add up: minutes may pass
before the first save that came after it has a chance. Checkers that ask for progress from nodes with a disk allow for
that, up to a bound.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from protocols.core import NANOS_PER_S, Instant, Save
from sim.checkers.checker import Checker
from sim.process import Process

if TYPE_CHECKING:
    from sim.world import World

SLOW_COMMIT_MAX = 1800 * NANOS_PER_S
"""How long a commit that a slow disk had begun may last beyond the faults."""


class WatchesDisks(Checker):
    """Base of checkers that allow for slow disks."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._saving: list[deque[Instant]] = [deque() for _ in world.processes]
        """By node: since when the disk has had the saves that it has not answered."""
        self._answered_at: list[Instant] = [0] * len(world.processes)
        """By node: when the disk last answered for a save that it had been given before the last disturbance."""

    def on_save(self, now: Instant, process: Process, save: Save) -> None:
        self._saving[process.index].append(now)

    def on_saved(self, now: Instant, process: Process, save: Save, why: str) -> None:
        saving = self._saving[process.index]
        since = self.world.disturbed_at if self._core_since < 0 else self._core_since
        if saving and saving.popleft() <= since:
            self._answered_at[process.index] = now

    def on_crash(self, now: Instant, process: Process) -> None:
        self._saving[process.index].clear()

    def owed_since(self, process: Process) -> Instant:
        """Since when progress can be asked of `process`: the last disturbance, or the end of what its disk had begun.

        While that has not ended, it is taken to end when it must at the latest.
        """
        since = self.asked_since()
        saving = self._saving[process.index]
        if saving and saving[0] <= since:
            return since + SLOW_COMMIT_MAX
        return max(since, self._answered_at[process.index])
