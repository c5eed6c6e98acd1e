"""The simulated disk: first-in first-out, group commit, and what a crash or a full disk leaves behind."""

from __future__ import annotations

import pytest

from protocols.core import Delete, Instant, Put, Record, Save
from sim.disk import Disk, DiskProfile
from sim.kernel import Kernel
from tests.sim.pingpong import Number


class Owner:
    """Remembers what the disk tells; may save again while it is told."""

    def __init__(self) -> None:
        self.saved_seqs: list[int] = []
        self.failed_seqs: list[int] = []
        self.times: list[Instant] = []
        self.again: Save | None = None
        self.disk: Disk | None = None

    def saved(self, now: Instant, save: Save) -> None:
        self.saved_seqs.append(save.seq)
        self.times.append(now)
        if self.again is not None and self.disk is not None:
            again, self.again = self.again, None
            self.disk.save(now, again)

    def save_failed(self, now: Instant, save: Save, why: str) -> None:
        assert why == "full"
        self.failed_seqs.append(save.seq)


def make(seed: int = 0) -> tuple[Kernel, Owner, Disk]:
    kernel = Kernel(seed)
    owner = Owner()
    disk = Disk(kernel, owner, DiskProfile(commit_ms_min=1.0, commit_ms_max=2.0))
    owner.disk = disk
    return kernel, owner, disk


def put(seq: int, key: str = "k") -> Save:
    return Save(seq, (Put(key, Number(seq)),))


def loaded(disk: Disk) -> dict[str, int]:
    values = {record.key: record.value for record in disk.load()}
    return {key: value.number for key, value in values.items() if isinstance(value, Number)}


def test_a_save_is_durable_after_its_commit_and_not_before() -> None:
    kernel, owner, disk = make()
    disk.save(0, put(1))
    kernel.run(999_999)
    assert loaded(disk) == {}
    assert owner.saved_seqs == []
    kernel.run(2_000_000)
    assert loaded(disk) == {"k": 1}
    assert owner.saved_seqs == [1]


def test_saves_that_wait_share_one_commit_and_keep_their_order() -> None:
    kernel, owner, disk = make()
    for seq in range(1, 11):
        disk.save(0, put(seq))
    kernel.run(10_000_000)
    assert owner.saved_seqs == list(range(1, 11))
    assert disk.commits == 2  # the first alone, the other nine behind it together
    assert len(set(owner.times)) == 2
    assert loaded(disk) == {"k": 10}


def test_a_save_made_while_the_owner_is_told_goes_into_the_next_commit() -> None:
    kernel, owner, disk = make()
    owner.again = put(2)
    disk.save(0, put(1))
    kernel.run(10_000_000)
    assert owner.saved_seqs == [1, 2]
    assert owner.times[1] >= owner.times[0] + 1_000_000


def test_delete_removes_and_an_absent_key_is_no_error() -> None:
    kernel, _, disk = make()
    disk.save(0, put(1, "a"))
    disk.save(0, Save(2, (Delete("a"), Delete("never there"), Put("b", Number(2)))))
    kernel.run(10_000_000)
    assert loaded(disk) == {"b": 2}


def test_a_barrier_waits_for_the_disk_like_any_save() -> None:
    kernel, owner, disk = make()
    disk.save(0, Save(1, ()))
    kernel.run(500_000)
    assert owner.saved_seqs == []
    kernel.run(2_000_000)
    assert owner.saved_seqs == [1]


def test_a_crash_drops_the_queue_and_lets_a_coin_decide_on_the_commit_under_way() -> None:
    outcomes: list[dict[str, int]] = []
    for seed in range(40):
        kernel, owner, disk = make(seed)
        disk.save(0, put(1, "durable"))
        kernel.run(5_000_000)
        disk.save(5_000_000, put(2, "under way"))
        disk.save(5_000_000, put(3, "queued"))
        disk.crash(5_500_000)
        kernel.run(20_000_000)
        assert owner.saved_seqs == [1]
        outcomes.append(loaded(disk))
    assert all("durable" in outcome and "queued" not in outcome for outcome in outcomes)
    survived = sum("under way" in outcome for outcome in outcomes)
    assert 8 < survived < 32


def test_a_disk_works_after_a_crash_and_the_old_commit_does_not_interfere() -> None:
    kernel, owner, disk = make()
    disk.save(0, put(1))
    disk.crash(100)
    disk.save(100, put(1, "new life"))
    kernel.run(10_000_000)
    assert owner.saved_seqs == [1]
    assert loaded(disk)["new life"] == 1


def test_a_full_disk_fails_the_commit_under_way_and_all_behind_it_in_order() -> None:
    kernel, owner, disk = make()
    disk.fail("full")
    for seq in range(1, 5):
        disk.save(0, put(seq))
    kernel.run(10_000_000)
    assert owner.failed_seqs == [1, 2, 3, 4]
    assert owner.saved_seqs == []
    assert loaded(disk) == {}
    disk.mend()
    disk.save(10_000_000, put(5))
    kernel.run(20_000_000)
    assert owner.saved_seqs == [5]


@pytest.mark.parametrize("full", [False, True])
def test_on_durable_hears_of_records_before_the_owner_does(full: bool) -> None:
    kernel, owner, disk = make()
    heard: list[tuple[Record, ...]] = []

    def on_durable(now: Instant, records: tuple[Record, ...]) -> None:
        assert owner.saved_seqs == []
        heard.append(records)

    disk.on_durable = on_durable
    disk.fail("full") if full else None
    disk.save(0, put(1))
    kernel.run(10_000_000)
    assert heard == ([] if full else [put(1).records])
