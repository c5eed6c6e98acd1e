"""Disks that fail: what is told, what is kept, and what is destroyed only where that was asked for."""

from __future__ import annotations

import re

import pytest

from protocols.core import NANOS_PER_S
from protocols.tasks.book import TASK_PREFIX
from sim.disk import CANNOT_SYNC, FULL
from sim.errors import ScenarioError
from sim.faults import AnyFault, Corrupt, Crash, DiskFull, Fault, Isolate, SlowDisk, SyncFails, Wipe
from sim.inspect import rows_of
from sim.scenario import Scenario
from tests.sim.faults.machines import Struck, held, settled
from tests.sim.pingpong import Number, Write


def test_a_full_disk_fails_saves_until_there_is_room() -> None:
    struck = Struck(DiskFull(1, 3, nodes=("n0",)), DiskFull(2, 4, nodes=("n0",)))
    for _ in range(5):
        struck.run(1)
        struck.small.ask(0, Write(1))
    struck.run(1)
    assert struck.small.core(0).failures == [FULL] * 3
    assert struck.small.outcomes.done == 2


def test_a_slow_disk_takes_times_as_long_and_recovers() -> None:
    struck = Struck(SlowDisk(1, 5, nodes=("n0",), times=400), SlowDisk(2, 4, nodes=("n0",), times=2))
    struck.run(1)
    struck.small.ask(0, Write(1))
    struck.run(0.19)
    assert struck.small.outcomes.done == 0
    struck.run(4.5)
    assert struck.small.outcomes.done == 1
    struck.small.ask(0, Write(2))
    struck.run(0.01)
    assert struck.small.outcomes.done == 2


def test_of_several_slow_disks_on_one_node_the_slowest_counts() -> None:
    slow = [SlowDisk(1, 30, nodes=("n0",), times=times) for times in (100, 2000, 500)]
    struck = Struck(*slow)
    struck.run(1.5)
    struck.small.ask(0, Write(1))
    struck.run(0.9)
    assert struck.small.outcomes.done == 0
    struck.run(5.2)
    assert struck.small.outcomes.done == 1


def test_a_commit_that_a_slow_disk_has_begun_ends_soon_after_the_disk_is_well() -> None:
    struck = Struck(SlowDisk(1, 5, nodes=("n0",), times=1_000_000), SlowDisk(2, 7, nodes=("n0",), times=100))
    struck.run(1.5)
    struck.small.ask(0, Write(1))
    struck.run(3.5)
    assert struck.small.outcomes.done == 0
    struck.run(0.35)  # at the pace of the other one
    assert struck.small.outcomes.done == 1


def test_a_stall_is_over_when_its_fault_is_though_it_had_no_end_beforehand() -> None:
    struck = Struck(SlowDisk(1, None, nodes=("n0",), times=1, stall_s=600.0))
    struck.run(2)
    struck.small.ask(0, Write(1))
    struck.run(3)
    assert struck.small.outcomes.done == 0
    struck.timeline.end_all(struck.world.kernel.now)
    struck.run(0.01)
    assert struck.small.outcomes.done == 1


def test_a_stalling_disk_hangs_for_a_while_and_not_past_its_end() -> None:
    struck = Struck(SlowDisk(1, 10, nodes=("n0",), times=1, stall_s=60.0))
    struck.run(9)
    struck.small.ask(0, Write(1))
    struck.run(0.9)
    assert struck.small.outcomes.done == 0
    struck.run(0.2)
    assert struck.small.outcomes.done == 1


def test_a_sync_that_fails_is_told_once_and_is_over_at_the_end() -> None:
    struck = Struck(SyncFails(1, 3, nodes=("n0",)), SyncFails(4, 5, nodes=("n0",), times=9))
    struck.run(1.5)
    for _ in range(2):
        struck.small.ask(0, Write(1))
        struck.run(0.1)
    assert struck.small.core(0).failures == [CANNOT_SYNC]
    assert struck.small.outcomes.done == 1
    struck.run(4)
    struck.small.ask(0, Write(2))
    struck.run(1)
    assert struck.small.outcomes.done == 2


def test_what_slow_disks_had_begun_holds_up_nobody_once_they_are_well() -> None:
    faults = (SlowDisk(5, 30, 4, times=1_000_000), SlowDisk(6, 30, 4, times=100, stall_s=600.0))
    one = settled(Scenario(nodes=4, seconds=30, tasks_per_s=2, faults=faults))
    assert held(one)
    assert one.world.kernel.now < 120 * NANOS_PER_S


def test_two_that_fail_syncs_of_one_disk_do_not_end_each_other() -> None:
    struck = Struck(SyncFails(1, 9, nodes=("n0",), times=3), SyncFails(2, 3, nodes=("n0",), times=1))
    struck.run(4)
    for _ in range(4):
        struck.small.ask(0, Write(1))
        struck.run(0.1)
    assert struck.small.core(0).failures == [CANNOT_SYNC] * 3
    assert struck.small.outcomes.done == 1


def test_a_rotten_record_keeps_its_node_down_until_the_good_copy_is_back() -> None:
    struck = Struck(Corrupt(2, 8, nodes=("n0",)))
    struck.small.ask(0, Write(7))
    struck.run(7.9)
    assert struck.running == ["n1", "n2"]
    assert struck.world.mishaps["refused_start"] == 1
    struck.run(0.2)
    assert struck.small.core(0).saved == {"number": Number(7)}
    assert not struck.process(0).lost_data


def test_a_node_with_a_rotten_record_does_not_start_for_anybody_else_either() -> None:
    struck = Struck(Corrupt(2, 10, nodes=("n0",)), Crash(2.5, 5, nodes=("n1",)))
    struck.small.ask(0, Write(7))
    struck.run(4)
    struck.world.hold_down(struck.process(0))
    struck.world.let_up(struck.process(0))
    assert struck.running == ["n2"]
    struck.run(7)
    assert struck.running == ["n0", "n1", "n2"]


def test_a_rotten_record_without_a_good_copy_is_lost_and_that_is_said() -> None:
    struck = Struck(Corrupt(2, 4, nodes=("n0",), destroy=True))
    struck.small.ask(0, Write(7))
    struck.run(5)
    assert struck.small.core(0).saved == {}
    assert struck.process(0).lost_data


def test_a_node_with_nothing_on_its_disk_cannot_rot() -> None:
    struck = Struck(Corrupt(2, 4))
    struck.run(5)
    assert struck.timeline.fired == {"corrupt": 0}
    assert struck.ups == []


def test_a_wiped_node_comes_back_empty_and_that_is_said() -> None:
    struck = Struck(Wipe(2, 4, nodes=("n0",)))
    struck.small.ask(0, Write(7))
    struck.run(3)
    assert struck.running == ["n1", "n2"]
    struck.run(2)
    assert struck.small.core(0).saved == {}
    assert [process.lost_data for process in struck.world.processes] == [True, False, False]


def test_a_wiped_node_may_come_back_as_something_else_and_everybody_learns_it() -> None:
    """It counts its lives anew, so nothing that it says outranks what the others remember of it."""
    wipe, cut = Wipe(8, 8.2, nodes=("n1",), changed=True), Isolate(15, 18, nodes=("n1",))
    one = settled(Scenario(nodes=5, seconds=60, faults=(wipe, cut)))
    assert held(one)
    node_id = one.world.processes[1].config.node_id
    assert [rows_of(process.core)[node_id].alive.profile.weight for process in one.world.processes] == [2] * 5


@pytest.mark.parametrize("seed", range(3))
def test_a_mesh_lives_with_failing_disks_and_loses_nothing(seed: int) -> None:
    faults = (
        SlowDisk(2, 20, 2, times=100, stall_s=2.0),
        SyncFails(5, 10, 2, times=3),
        Corrupt(12, 18, 2),
        DiskFull(20, 26, 2),
        Corrupt(30, 36, 1),
        SyncFails(40, 45, 4),
    )
    one = settled(Scenario(nodes=5, seconds=60, seed=seed, tasks_per_s=5, faults=faults))
    assert held(one)
    assert one.timeline.fired == {"slowdisk": 1, "syncfail": 2, "corrupt": 2, "diskfull": 1}
    assert one.world.mishaps["refused_start"] >= 3
    assert one.world.mishaps["save_failed"] > 0


@pytest.mark.parametrize("fault", [Wipe(20, 25, nodes=("n1",)), Corrupt(20, 25, nodes=("n1",), destroy=True)])
def test_a_mesh_lives_with_a_node_whose_data_was_destroyed(fault: AnyFault) -> None:
    one = settled(Scenario(nodes=5, seconds=60, tasks_per_s=5, faults=(fault,)))
    assert held(one)
    process = one.world.processes[1]
    assert process.lost_data
    assert process.up
    assert any(key.startswith(TASK_PREFIX) for key in process.disk.records)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (SlowDisk(1, 2, times=0), "times 0 must be 1"),
        (SlowDisk(1, 2, stall_s=-1), "stall_s -1 must be"),
        (SyncFails(1, 2, times=0), "at least 1"),
        (Wipe(1, 2, 9), "the count must be 1 to 2"),
    ],
)
def test_disk_faults_that_cannot_be_say_why(fault: Fault, says: str) -> None:
    with pytest.raises(ScenarioError, match=re.escape(says)):
        fault.check(("n0", "n1"), 60)
