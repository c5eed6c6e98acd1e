"""What was durable stays, byte for byte; what was not saved never appears.

A disk is judged by what it was told and what it answered, not by what it says of itself:
- after `Saved`, every record of that save is on the disk (unless a later save has already gone over it);
- after `SaveFailed`, no record of that save is;
- the next life is handed what the last one was told to be durable, with the saves that were still under way at the
  crash added up to some point, each whole: a commit may survive its node, but not half a commit, nor a later one
  without those before it (`protocols/core.py`: saves are first-in first-out).

Of a node whose data a scenario has destroyed (`Process.lost_data`) any record may be missing; what it still has must be
right all the same. Rot that a node finds, and that is mended before it starts, is none of this checker's business.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from protocols.core import Instant, Put, Record, Save, Stored
from protocols.wire import encode_stored
from sim.checkers.checker import Checker
from sim.process import Process

if TYPE_CHECKING:
    from sim.world import World


class DurableStays(Checker):
    """What a disk has called durable is handed to every later life, and nothing else is."""

    name = "durable_stays"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        count = len(world.processes)
        self._durable: list[dict[str, Stored]] = [{} for _ in range(count)]
        """By node: what it was told to be durable. Values are shared with the disk; they are frozen."""
        self._under_way: list[deque[Save]] = [deque() for _ in range(count)]
        """By node: saves that have not been answered, in order."""

    def on_save(self, now: Instant, process: Process, save: Save) -> None:
        if save.records:
            self._under_way[process.index].append(save)

    def on_saved(self, now: Instant, process: Process, save: Save, why: str) -> None:
        if not save.records:
            return
        under_way = self._under_way[process.index]
        if under_way and under_way[0] is save:
            under_way.popleft()
        elif save in under_way:
            under_way.remove(save)  # out of turn: `saves_are_fifo` says so
        if why:
            self._left_nothing(now, process, save)
            return
        durable = self._durable[process.index]
        records = process.disk.records
        for record in {record.key: record for record in save.records}.values():
            _apply(durable, record)
            on_disk = records.get(record.key)
            expected = record.value if type(record) is Put else None
            if on_disk is not expected and not same(on_disk, expected) and not _touches(under_way, record.key):
                self.violated(now, process, f"was told that save {save.seq} is durable, but {record.key} is not")

    def _left_nothing(self, now: Instant, process: Process, save: Save) -> None:
        durable = self._durable[process.index]
        for record in save.records:
            if type(record) is not Put:
                continue
            on_disk = process.disk.records.get(record.key)
            if on_disk is record.value and not same(on_disk, durable.get(record.key)):
                self.violated(now, process, f"save {save.seq} failed, but its {record.key} is on the disk")

    def on_boot(self, now: Instant, process: Process) -> None:
        if process.boots > 1:
            self._compare(now, process, {put.key: put.value for put in process.disk.load()}, "was handed")
        self._durable[process.index] = dict(process.disk.records)
        self._under_way[process.index].clear()

    def finish(self, now: Instant) -> None:
        for process in self.world.processes:
            self._compare(now, process, process.disk.records, "ends with")

    def _compare(self, now: Instant, process: Process, found: Mapping[str, Stored], what: str) -> None:
        """The disk of `process` must hold what was durable, and some of the saves under way, up to a point."""
        expected = self._durable[process.index]
        under_way = list(self._under_way[process.index])
        in_doubt = {record.key: None for save in under_way for record in save.records}
        for key in (*expected, *(key for key in found if key not in expected)):
            if key in in_doubt or (process.lost_data and key not in found):
                continue
            if not same(found.get(key), expected.get(key)):
                self.violated(now, process, f"{what} {key} {_difference(found.get(key), expected.get(key))}")
                return
        if process.lost_data:
            return
        state = {key: expected.get(key) for key in in_doubt}
        present = {key: found.get(key) for key in in_doubt}
        for save in under_way:
            if _all_same(present, state):
                return
            for record in save.records:
                state[record.key] = record.value if type(record) is Put else None
        if not _all_same(present, state):
            seqs = f"{under_way[0].seq} to {under_way[-1].seq}"
            self.violated(now, process, f"{what} something else than the saves {seqs}, each whole, up to some point")


def same(one: Stored | None, other: Stored | None) -> bool:
    """Whether two values are the same, byte for byte."""
    return one is other or (one is not None and other is not None and encode_stored(one) == encode_stored(other))


def _all_same(one: dict[str, Stored | None], other: dict[str, Stored | None]) -> bool:
    return all(same(value, other[key]) for key, value in one.items())


def _apply(state: dict[str, Stored], record: Record) -> None:
    if type(record) is Put:
        state[record.key] = record.value
    else:
        state.pop(record.key, None)


def _touches(saves: Iterable[Save], key: str) -> bool:
    return any(record.key == key for save in saves for record in save.records)


def _difference(found: Stored | None, expected: Stored | None) -> str:
    if found is None:
        return "not at all; it was durable"
    return f"as {found!r}; durable was {expected!r}" if expected is not None else "which was never durable"
