"""Crashes at chosen moments, and over and over again."""

from __future__ import annotations

import re

import pytest

from sim.disk import DiskProfile
from sim.errors import ScenarioError
from sim.faults import Crash, CrashLoop, Fault, SlowDisk
from sim.scenario import Run, Scenario
from tests.sim.faults.machines import Struck, held, settled
from tests.sim.pingpong import Write
from tests.sim.simkit import S


def crashed_at(moment: str, seed: int) -> tuple[Struck, int]:
    """n0 saves at 1.5 s, and is to crash from 1 s on; back at 4 s. When it went down."""
    struck = Struck(Crash(1, 4, nodes=("n0",), moment=moment), seed=seed)  # type: ignore[arg-type]  # from a parameter
    downs: list[int] = []
    struck.world.watch.on_crash.append(lambda now, process: downs.append(now))
    struck.run(1.5)
    struck.small.ask(0, Write(1, struck.small.endpoint(1)))
    struck.run(2)
    [at] = downs
    return struck, at


def test_a_crash_in_the_middle_of_a_save_waits_for_one_and_lets_nothing_be_said() -> None:
    durable: list[bool] = []
    for seed in range(30):
        struck, at = crashed_at("saving", seed)
        assert 1.5 * S <= at < 1.503 * S
        assert struck.small.outcomes.done == 0
        assert struck.small.ears.numbers(1, "Kept") == []
        struck.run(2)
        assert struck.running == ["n0", "n1", "n2"]
        durable.append("number" in struck.small.core(0).saved)
    assert 3 < sum(durable) < 27
    assert struck.timeline.fired == {"crash": 1}


def test_a_crash_right_after_a_save_lets_it_be_said_and_kept() -> None:
    for seed in range(10):
        struck, at = crashed_at("saved", seed)
        assert 1.5 * S < at <= 1.503 * S
        assert struck.small.outcomes.done == 1
        struck.run(2)
        assert "number" in struck.small.core(0).saved


def test_a_node_that_saves_nothing_crashes_anyway_after_a_while() -> None:
    struck = Struck(Crash(1, 10, moment="saving", nodes=("n1",)))
    struck.run(2.9)
    assert struck.running == ["n0", "n1", "n2"]
    struck.run(0.2)
    assert struck.running == ["n0", "n2"]


def test_a_crash_whose_moment_never_comes_happens_at_its_end() -> None:
    struck = Struck(Crash(1, 2, moment="saving", nodes=("n1",)))
    struck.run(1.9)
    assert struck.ups == []
    struck.run(0.2)
    assert struck.ups == ["-n1", "+n1"]
    struck.small.ask(1, Write(1))
    struck.run(5)
    assert struck.ups == ["-n1", "+n1"]
    assert struck.timeline.fired == {"crash": 1}


def test_a_crash_for_good_that_still_waits_when_all_faults_end_happens_then() -> None:
    struck = Struck(Crash(1, None, moment="saved", nodes=("n1",)))
    struck.run(1.5)
    struck.timeline.end_all(struck.world.kernel.now)
    struck.run(5)
    assert struck.ups == ["-n1"]


def test_two_crashes_of_one_node_overlap_and_the_later_end_brings_it_back() -> None:
    struck = Struck(Crash(1, 9, nodes=("n0",)), CrashLoop(0.5, 5, nodes=("n0",), up_s=0.2, down_s=0.2))
    struck.run(8.9)
    assert "n0" not in struck.running
    struck.run(0.2)
    assert "n0" in struck.running


def test_a_node_that_is_kept_down_does_not_join_and_one_that_is_let_up_sooner_joins_then() -> None:
    faults = (Crash(0.01, 0.05, nodes=("n4",)), Crash(0.02, 3, nodes=("n3",)))
    one = Run(Scenario(nodes=5, seconds=5, start="join", faults=faults))
    one.start()
    one.world.run(S)
    assert [process.name for process in one.world.running()] == ["n0", "n1", "n2", "n4"]
    one.world.run(4 * S)
    assert [process.boots for process in one.world.processes] == [1] * 5
    one.faults_phase()
    one.heal()
    one.settle()
    assert held(one)


def test_a_crash_right_after_a_save_comes_after_it_though_the_disk_hangs() -> None:
    hangs = SlowDisk(1.5001, 2.5, nodes=("n0",), times=1, stall_s=60.0)
    struck = Struck(Crash(1, 9, nodes=("n0",), moment="saved"), hangs)
    struck.run(1.5)
    struck.small.ask(0, Write(1))
    struck.run(0.99)
    assert "n0" in struck.running
    struck.run(0.02)
    assert "n0" not in struck.running
    assert struck.small.outcomes.done == 1


def test_a_crash_loop_comes_up_and_goes_down_until_it_stays_up() -> None:
    struck = Struck(CrashLoop(1, 21, nodes=("n2",), up_s=1.0, down_s=0.5))
    struck.run(30)
    assert struck.running == ["n0", "n1", "n2"]
    assert struck.ups == ["-n2", "+n2"] * (len(struck.ups) // 2)
    assert 8 <= struck.process(2).boots - 1 <= 20
    before = struck.process(2).boots
    struck.run(30)
    assert struck.process(2).boots == before


def test_a_mesh_survives_crashes_at_the_worst_moments() -> None:
    one = settled(
        Scenario(
            nodes=5,
            seconds=60,
            seed=3,
            tasks_per_s=8,
            disk=DiskProfile(commit_ms_min=5, commit_ms_max=40),
            faults=(
                Crash(5, 10, 2, moment="saving"),
                Crash(15, 18, 2, moment="saving"),
                Crash(22, 26, 2, moment="saved"),
                CrashLoop(30, 50),
            ),
        )
    )
    assert held(one)
    assert one.world.mishaps["commit_interrupted"] >= 4


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Crash(1, 2, moment="savin"), "Did you mean 'saving'?"),  # type: ignore[arg-type]  # what a person may type
        (CrashLoop(1, 2, up_s=1e-10), "up_s 1e-10 must be 0.01 s or more"),
        (CrashLoop(1, 2, down_s=float("inf")), "down_s inf must be 0.01 s or more"),
        (CrashLoop(1, 2, nodes=("n7",)), "no node 'n7'"),
    ],
)
def test_crashes_that_cannot_be_say_why(fault: Fault, says: str) -> None:
    with pytest.raises(ScenarioError, match=re.escape(says)):
        fault.check(("n0", "n1"), 60)
