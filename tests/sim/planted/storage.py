"""Broken disks, and a broken journal in front of them: what was saved is lost, kept by halves, or told out of turn."""

from __future__ import annotations

from contextlib import AbstractContextManager

from msgspec.structs import replace

from protocols.core import Effect, Instant, Put, Record, Save
from protocols.limits import DETAIL_CHARS_MAX
from protocols.outbox import Journal
from protocols.tasks.task import TaskProgress
from sim.disk import Disk
from sim.faults import Crash, DiskFull
from sim.scenario import Scenario
from tests.sim.planted.mutant import CRASHES, WORK, Tampered, mutant_by, mutant_of, patched

FULL = Scenario(
    nodes=4, seconds=50, tasks_per_s=5, faults=(DiskFull(8, 14, 2), DiskFull(20, 26, 2), DiskFull(32, 38, 2))
)
BUSY = Scenario(
    nodes=4,
    seconds=40,
    tasks_per_s=20,
    faults=tuple(Crash(start, start + 2, 2, moment="saving") for start in (8, 14, 20, 26, 32)),
)


class KeepsWhatCannotBeRead(Tampered):
    """A record is written whose text is longer than a reader takes."""

    def tamper_with_effects(self, effects: list[Effect]) -> list[Effect]:
        return [
            replace(effect, records=tuple(_with_long_detail(record) for record in effect.records))
            if isinstance(effect, Save)
            else effect
            for effect in effects
        ]


def _with_long_detail(record: Record) -> Record:
    if isinstance(record, Put) and isinstance(record.value, TaskProgress):
        return Put(record.key, replace(record.value, detail="x" * (DETAIL_CHARS_MAX + 1)))
    return record


def forgets_a_record() -> AbstractContextManager[None]:
    """The disk hands all records but one to the next life."""
    load = Disk.load

    def load_in_part(self: Disk) -> list[Put]:
        return list(load(self))[:-1]

    return patched(Disk, "load", load_in_part)


def lies_about_its_cache() -> AbstractContextManager[None]:
    """The last record that was called durable was in a cache, and a crash loses it."""
    crash = Disk.crash

    def crash_without_flush(self: Disk, now: Instant) -> None:
        crash(self, now)
        if self.records:
            del self.records[next(reversed(self.records))]

    return patched(Disk, "crash", crash_without_flush)


def keeps_half_a_commit() -> AbstractContextManager[None]:
    """Of a commit that a crash interrupts, the last record is durable without the others."""

    def recovered(self: Disk, now: Instant, batch: list[Save]) -> bool:
        records = [record for save in batch for record in save.records]
        self._apply(now, [tuple(records[-1:])])
        return True

    return patched(Disk, "_recovered", recovered)


def keeps_what_failed() -> AbstractContextManager[None]:
    """A save that is answered by `SaveFailed` is on the disk all the same."""
    fail = Disk._fail

    def fail_too_late(self: Disk, now: Instant, batch: list[Save], turn: list[Save]) -> None:
        self._apply(now, [save.records for save in batch])
        fail(self, now, batch, turn)

    return patched(Disk, "_fail", fail_too_late)


def commits_backwards() -> AbstractContextManager[None]:
    """The saves of one commit are answered last first."""
    committed = Disk._committed

    def committed_backwards(self: Disk, now: Instant, batch: list[Save], _: None) -> None:
        batch.reverse()
        committed(self, now, batch, None)

    return patched(Disk, "_committed", committed_backwards)


def gives_up_what_failed() -> AbstractContextManager[None]:
    """A save that has failed is not tried again, though its owner counts on it."""
    fire = Journal.fire

    def fire_nothing(self: Journal, now: Instant) -> None:
        if now >= self.deadline and not self._under_way and not self._doomed:
            self._held.clear()
        fire(self, now)

    return patched(Journal, "fire", fire_nothing)


STORAGE = (
    mutant_of(KeepsWhatCannotBeRead, WORK, "survives_the_wire"),
    mutant_by(forgets_a_record, CRASHES, "durable_stays"),
    mutant_by(lies_about_its_cache, CRASHES, "durable_stays"),
    mutant_by(keeps_half_a_commit, BUSY, "durable_stays"),
    mutant_by(keeps_what_failed, FULL, "durable_stays"),
    mutant_by(commits_backwards, BUSY, "saves_are_fifo"),
    mutant_by(gives_up_what_failed, FULL, "one_result"),
)
