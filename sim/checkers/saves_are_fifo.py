"""Saves are answered in the order in which they were handed over, each once (`protocols/core.py`).

Ordering is what a journal is built on: a core that hears that save 7 is durable takes saves 1 to 6 for durable, too.
A crash drops what has not been answered; the next life starts with an empty queue.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from protocols.core import Instant, Save
from sim.checkers.checker import Checker
from sim.process import Process

if TYPE_CHECKING:
    from sim.world import World


class SavesAreFifo(Checker):
    """A disk answers for saves in the order in which it was given them."""

    name = "saves_are_fifo"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._open: list[deque[int]] = [deque() for _ in world.processes]

    def on_save(self, now: Instant, process: Process, save: Save) -> None:
        self._open[process.index].append(save.seq)

    def on_saved(self, now: Instant, process: Process, save: Save, why: str) -> None:
        opened = self._open[process.index]
        if opened and opened[0] == save.seq:
            opened.popleft()
            return
        answer = "failed" if why else "is durable"
        turn = f"save {opened[0]} has no answer yet" if opened else "no save is open"
        self.violated(now, process, f"was told that save {save.seq} {answer}, while {turn}")
        if save.seq in opened:
            opened.remove(save.seq)

    def on_crash(self, now: Instant, process: Process) -> None:
        self._open[process.index].clear()
