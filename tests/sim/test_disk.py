"""The simulated disk: first-in first-out, group commit, and what a crash or a full disk leaves behind."""

from __future__ import annotations

from typing import TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.core import Delete, Instant, Put, Record, Save
from sim.disk import BATCH_RECORDS_MAX, CANNOT_SYNC, Damaged, Disk, DiskProfile, Slowness, SyncFailure
from sim.errors import ScenarioError
from sim.kernel import Kernel
from sim.wal import Damage
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
        assert why in ("full", CANNOT_SYNC)
        self.failed_seqs.append(save.seq)

    def violated(self, now: Instant, property_name: str, text: str) -> None:
        raise AssertionError(f"{property_name}: {text}")


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


def test_a_crash_drops_the_queue_and_lets_chance_decide_on_the_commit_under_way() -> None:
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


def test_a_commit_holds_no_more_records_than_the_drivers() -> None:
    kernel, owner, disk = make()
    disk.save(0, put(1))
    many = tuple(Put(f"k{n}", Number(n)) for n in range(BATCH_RECORDS_MAX))
    disk.save(0, Save(2, many))
    disk.save(0, put(3))
    kernel.run(10_000_000)
    assert owner.saved_seqs == [1, 2, 3]
    assert disk.commits == 3


def test_a_crash_leaves_every_kind_of_damage_behind_and_counts_it() -> None:
    counted = dict.fromkeys(Damage, 0)
    for seed in range(60):
        kernel, _, disk = make(seed)
        disk.save(0, Save(1, (Put("a", Number(1)), Put("b", Number(2)), Put("c", Number(3)))))
        disk.crash(500_000)
        kernel.run(10_000_000)
        [damage] = [damage for damage, times in disk.damages.items() if times]
        counted[damage] += 1
        whole = {"a": 1, "b": 2, "c": 3}
        assert loaded(disk) in ({}, whole)  # a torn sector may have lost nothing but the padding behind an entry
        if damage in (Damage.ALL_WRITTEN, Damage.NOTHING_WRITTEN):
            assert loaded(disk) == (whole if damage is Damage.ALL_WRITTEN else {})
    assert all(counted.values())


def test_a_full_disk_has_taken_nothing_of_a_commit_that_a_crash_interrupts() -> None:
    for seed in range(30):
        _, _, disk = make(seed)
        disk.fail("full")
        disk.save(0, put(1))
        disk.crash(500_000)
        assert loaded(disk) == {}
    assert not any(disk.damages.values())


@pytest.mark.parametrize("longest", [0.4, 60_001.0, float("inf"), float("nan")])
def test_a_disk_that_cannot_be_says_why(longest: float) -> None:
    with pytest.raises(ScenarioError, match=r"A commit of 0\.5 to .* ms: it must take at least 0, at most 60000 ms"):
        DiskProfile(commit_ms_max=longest).check()


def test_a_sync_fails_once_and_then_the_disk_is_well() -> None:
    kernel, owner, disk = make()
    disk.fail_syncs(SyncFailure(1))
    disk.save(0, put(1, "lost"))
    disk.save(0, put(2, "behind it"))
    kernel.run(10_000_000)
    disk.save(10_000_000, put(3, "kept"))
    kernel.run(20_000_000)
    assert (owner.failed_seqs, owner.saved_seqs) == ([1, 2], [3])
    assert loaded(disk) == {"kept": 3}


def test_a_stall_holds_up_the_commit_under_way_and_the_next() -> None:
    kernel, owner, disk = make()
    disk.save(0, put(1))
    slowness = Slowness()
    disk.slow_down(slowness)
    slowness.stall(50_000_000)
    slowness.stall(20_000_000)
    disk.save(0, put(2))
    kernel.run(49_999_999)
    assert owner.saved_seqs == []
    kernel.run(60_000_000)
    assert owner.saved_seqs == [1, 2]
    assert owner.times[0] == 50_000_000


def test_a_disk_that_gets_well_ends_its_commit_as_soon_as_one_that_begins_then_and_no_later_than_it_was_to() -> None:
    kernel, owner, disk = make()
    slowness = Slowness(1000)
    disk.slow_down(slowness)
    disk.save(0, put(1))
    disk.save(0, put(2))
    kernel.run(100_000_000)
    assert owner.saved_seqs == []
    disk.speed_up(100_000_000, slowness)
    kernel.run(100_999_999)
    assert owner.saved_seqs == []
    kernel.run(104_000_000)
    assert owner.saved_seqs == [1, 2]
    other = Slowness(2)
    disk.slow_down(other)
    disk.save(104_000_000, put(3))
    disk.speed_up(104_000_000, other)
    kernel.run(106_000_000)
    assert owner.saved_seqs == [1, 2, 3]
    assert disk.commits == 3


def test_while_its_node_is_stopped_a_commit_ends_unnoticed_and_none_begins() -> None:
    kernel, owner, disk = make()
    disk.save(0, put(1))
    disk.stop()
    disk.save(0, put(2))
    kernel.run(30_000_000)
    assert owner.saved_seqs == []
    disk.go_on(30_000_000)
    assert owner.saved_seqs == [1]
    kernel.run(40_000_000)
    assert owner.saved_seqs == [1, 2]


def test_a_flipped_bit_is_found_when_the_records_are_read_wherever_it_is() -> None:
    kernel, _, disk = make()
    disk.save(0, put(7))
    kernel.run(10_000_000)
    for bit in range(200):
        disk.rot("k", bit)
        with pytest.raises(Damaged, match="'k' cannot be read"):
            disk.load()
        disk.restore()
        assert loaded(disk) == {"k": 7}


def test_a_rotten_row_that_is_written_again_is_well_and_one_that_is_given_up_is_gone() -> None:
    kernel, _, disk = make()
    disk.save(0, put(1))
    kernel.run(10_000_000)
    disk.rot("k", 5)
    disk.save(10_000_000, put(2))
    kernel.run(20_000_000)
    assert loaded(disk) == {"k": 2}
    disk.rot("k", 5)
    disk.give_up()
    assert loaded(disk) == {}


# Whatever happens to a disk, it keeps its word.

Op: TypeAlias = tuple[str, int]
OPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["save", "save", "save", "pass", "crash", "full", "mend", "sync", "stall", "stop", "go on", "slow", "well"]
        ),
        st.integers(0, 3_000_000),
    ),
    max_size=60,
)


class Judge(Owner):
    """Knows what must be on the disk: what was acknowledged, and perhaps the commit under way, whole."""

    def __init__(self) -> None:
        super().__init__()
        self.durable: dict[str, int] = {}
        self.pending: list[Save] = []
        self.in_commit = 0
        """How many of the pending saves the commit under way holds."""

    def saved(self, now: Instant, save: Save) -> None:
        self._answered(save)
        apply(self.durable, [save])

    def save_failed(self, now: Instant, save: Save, why: str) -> None:
        self._answered(save)

    def _answered(self, save: Save) -> None:
        assert self.pending.pop(0) is save
        self.in_commit = max(0, self.in_commit - 1)

    def commit_begins(self, now: Instant, end: Instant) -> None:
        self.in_commit = len(self.pending)

    def crashed(self, found: dict[str, int]) -> None:
        lucky = dict(self.durable)
        apply(lucky, self.pending[: self.in_commit])
        assert found in (self.durable, lucky)
        self.durable, self.pending, self.in_commit = found, [], 0


def apply(state: dict[str, int], saves: list[Save]) -> None:
    for save in saves:
        for record in save.records:
            if isinstance(record, Put):
                assert isinstance(record.value, Number)
                state[record.key] = record.value.number
            else:
                state.pop(record.key, None)


def some_save(seq: int, draw: int) -> Save:
    keys = ["a", "b", "c", "d"][: 1 + draw % 4]
    records = tuple(Delete(key) if (draw >> at) % 5 == 0 else Put(key, Number(seq)) for at, key in enumerate(keys))
    return Save(seq, records if draw % 11 else ())


@settings(max_examples=300, deadline=None)
@given(OPS, st.integers(0, 1000))
def test_whatever_happens_what_was_acknowledged_stays_and_a_commit_is_whole_or_not_there(
    ops: list[Op], seed: int
) -> None:
    kernel = Kernel(seed)
    judge = Judge()
    disk = Disk(kernel, judge, DiskProfile(commit_ms_min=0.1, commit_ms_max=2.0))
    disk.on_commit.append(judge.commit_begins)
    stopped = full = 0
    slowed: list[Slowness] = []
    for seq, (op, draw) in enumerate(ops, start=1):
        kernel.run(kernel.now + draw // 3)
        now = kernel.now
        if op == "save" and not stopped:
            save = some_save(seq, draw)
            judge.pending.append(save)
            disk.save(now, save)
        elif op == "crash":
            disk.crash(now)
            stopped = 0
            judge.crashed(loaded(disk))
        elif op == "full":
            disk.fail("full")
            full += 1
        elif op == "mend" and full:
            disk.mend()
            full -= 1
        elif op == "sync":
            disk.fail_syncs(SyncFailure(1 + draw % 2))
        elif op in ("stall", "slow"):
            slowed.append(Slowness(1 + draw % 4))
            disk.slow_down(slowed[-1])
            if op == "stall":
                slowed[-1].stall(now + draw)
        elif op == "well" and slowed:
            disk.speed_up(now, slowed.pop(draw % len(slowed)))
        elif op == "stop" and not stopped:
            disk.stop()
            stopped = 1
        elif op == "go on" and stopped:
            stopped = 0
            disk.go_on(now)
    kernel.run(kernel.now + 30_000_000)
    if not stopped:
        assert judge.pending == []
    assert judge.durable == loaded(disk)
