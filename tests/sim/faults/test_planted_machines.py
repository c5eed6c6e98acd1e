"""Bugs planted below the protocols, in the disk and in the driver: each is caught by a property, by its name.

The node itself is as it should be. Without the bug the very same seeds hold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import pytest
from msgspec.structs import replace

from protocols.core import NANOS_PER_MS, Instant, Save, Stored
from sim import disk, wal
from sim.disk import Disk, DiskProfile
from sim.faults import Corrupt, Crash, SyncFails
from sim.process import Process
from sim.scenario import Scenario, run
from sim.wal import CHECKSUM_BYTES, HEADER_BYTES, SECTOR_BYTES, Records

Plant: TypeAlias = Callable[[pytest.MonkeyPatch], None]
SEEDS = range(5)

SAVING = Scenario(
    nodes=4,
    seconds=40,
    tasks_per_s=10,
    disk=DiskProfile(commit_ms_min=2, commit_ms_max=20),
    faults=tuple(Crash(start_s, start_s + 2, 2, moment="saving") for start_s in (5, 10, 15, 20, 25, 30)),
)
FAILING = replace(SAVING, faults=(SyncFails(5, 10, 2, times=2), SyncFails(15, 20, 2, times=2), Crash(25, 27, 2)))
ROTTEN = replace(SAVING, faults=tuple(Corrupt(start_s, start_s + 4, 2) for start_s in (5, 12, 19, 26)))


def acknowledges_what_it_has_only_in_its_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit is reported when it is in the drive's cache; it reaches the disk 30 ms later, or never."""
    apply = Disk._apply

    def flush(now: Instant, victim: Disk, cached: tuple[int, Sequence[Records]]) -> None:
        life, saves = cached
        owner = victim._owner
        if isinstance(owner, Process) and owner.up and owner.boots == life:
            apply(victim, now, saves)

    def cache(self: Disk, now: Instant, saves: Sequence[Records]) -> None:
        owner = self._owner
        assert isinstance(owner, Process)
        self._kernel.push(now + 30 * NANOS_PER_MS, flush, self, (owner.boots, saves))

    monkeypatch.setattr(Disk, "_apply", cache)


def recovers_without_looking_at_checksums(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any bytes behind a header are taken for the record."""
    monkeypatch.setattr(wal, "intact", lambda written, computed: True)


def recovers_half_a_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recovery keeps every record that it can read, though the last of its commit be missing."""

    def recover(log: bytes, number: int, types: Sequence[type[Stored]]) -> list[Records]:
        found: list[Records] = []
        at = chain = 0
        while at + HEADER_BYTES + CHECKSUM_BYTES <= len(log):
            end = at + HEADER_BYTES + int.from_bytes(log[at : at + 4])
            chain = wal.checksum(chain, log[at:end])
            if not wal.intact(log[end : end + CHECKSUM_BYTES], chain):
                break
            if int.from_bytes(log[at + 4 : at + 12]) != number:
                break
            found.append((wal._decoded(log[at + HEADER_BYTES : end], types)[1],))
            at = -(-(end + CHECKSUM_BYTES) // SECTOR_BYTES) * SECTOR_BYTES
        return found

    monkeypatch.setattr(wal, "recover", recover)


def takes_an_old_commit_for_the_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log carries no number, so what stood there before is replayed."""
    encode = wal.encode_commit
    recover = wal.recover
    monkeypatch.setattr(wal, "encode_commit", lambda number, saves, types: encode(0, saves, types))
    monkeypatch.setattr(wal, "recover", lambda log, number, types: recover(log, 0, types))


def keeps_what_it_said_had_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit whose sync failed is reported as failed, and is on the disk all the same."""
    fail = Disk._fail

    def keep(self: Disk, now: Instant, batch: list[Save], turn: list[Save]) -> None:
        self._apply(now, [save.records for save in batch])
        fail(self, now, batch, turn)

    monkeypatch.setattr(Disk, "_fail", keep)


def reads_rows_without_looking_at_checksums(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flipped bit goes unnoticed where the row can still be decoded."""
    monkeypatch.setattr(disk, "row_is_intact", lambda key, row: True)


def speaks_before_the_disk_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver carries out `then` when it hands the save to the disk."""
    save_it = Process._save

    def speak(self: Process, now: Instant, save: Save) -> None:
        save_it(self, now, replace(save, then=()))
        self._carry_out_then(now, save.then)

    monkeypatch.setattr(Process, "_save", speak)


def forgets_the_order_of_saves(monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest save is committed first."""
    take = Disk._next_batch

    def backwards(self: Disk) -> list[Save]:
        return take(self)[::-1]

    monkeypatch.setattr(Disk, "_next_batch", backwards)


def lets_barriers_overtake_a_commit_that_is_being_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A barrier is answered while saves of the last commit are not: what `meshnode/driver.py` did."""
    monkeypatch.setattr(Disk, "idle", property(lambda self: not self._committing and not self._queue))


def fallen(scenario: Scenario) -> set[str]:
    """Every property that falls in the first seed in which any does; empty where all hold."""
    for seed in SEEDS:
        report = run(replace(scenario, seed=seed))
        if report.violations:
            return {violation.property for violation in report.violations}
    return set()


@pytest.mark.parametrize("scenario", [SAVING, FAILING, ROTTEN], ids=["saving", "failing", "rotten"])
def test_disk_and_driver_as_they_stand_hold(scenario: Scenario) -> None:
    assert fallen(scenario) == set()


@pytest.mark.parametrize(
    ("plant", "scenario", "caught_by"),
    [
        (acknowledges_what_it_has_only_in_its_cache, SAVING, "durable_stays"),
        (recovers_without_looking_at_checksums, SAVING, "disk_keeps_its_word"),
        (recovers_half_a_commit, SAVING, "disk_keeps_its_word"),
        (takes_an_old_commit_for_the_new_one, SAVING, "disk_keeps_its_word"),
        (keeps_what_it_said_had_failed, FAILING, "durable_stays"),
        (reads_rows_without_looking_at_checksums, ROTTEN, "durable_stays"),
        (speaks_before_the_disk_has_it, SAVING, "one_result"),
        (forgets_the_order_of_saves, SAVING, "saves_are_fifo"),
        (lets_barriers_overtake_a_commit_that_is_being_told, SAVING, "saves_are_fifo"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_bug_below_the_protocols_is_caught(
    plant: Plant, scenario: Scenario, caught_by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    assert caught_by in fallen(scenario)
