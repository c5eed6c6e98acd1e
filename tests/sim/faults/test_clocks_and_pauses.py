"""Clocks that are wrong, and processes that do not get to run."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from msgspec.structs import replace

from protocols.membership.facts import MemberChanged, Overslept
from protocols.tasks.task import TaskReassigned
from sim.errors import ScenarioError
from sim.faults import ClockDrift, ClockJump, ClockLeap, Crash, Fault, Pause, Starve
from sim.scenario import Scenario, run
from tests.sim.faults.machines import Struck, held, settled
from tests.sim.simkit import S


def gained_ppm(struck: Struck, index: int) -> float:
    """How much the clock of a node gains in a second, in millionths."""
    process = struck.process(index)
    now = struck.small.now
    return (process.clock(now + S) - process.clock(now) - S) / 1000


def test_a_drifting_clock_runs_at_another_rate_and_then_at_its_own_again() -> None:
    struck = Struck(ClockDrift(1, 5, 2, ppm=50_000), nodes=6)
    before = [gained_ppm(struck, index) for index in range(6)]
    assert all(abs(ppm) <= 200 for ppm in before)
    struck.run(2)
    during = [gained_ppm(struck, index) for index in range(6)]
    assert sum(abs(one - other) > 1 for one, other in zip(before, during, strict=True)) == 2
    struck.run(10)
    assert [gained_ppm(struck, index) for index in range(6)] == before


def test_wall_clocks_jump_both_ways_and_are_set_right() -> None:
    struck = Struck(ClockJump(1, 5, 30, jump_s=1000), nodes=30)
    before = [process.wall.unix_ms(struck.small.now) for process in struck.world.processes]
    struck.run(2)
    jumps = [
        process.wall.unix_ms(struck.small.now) - shown - 2000
        for process, shown in zip(struck.world.processes, before, strict=True)
    ]
    assert min(jumps) < 0 < max(jumps)
    assert all(0 < abs(jump) <= 1_000_000 for jump in jumps)
    struck.run(10)
    after = [process.wall.unix_ms(struck.small.now) - 12_000 for process in struck.world.processes]
    assert after == before


def test_a_leaping_clock_steps_forward_once_and_wakes_whoever_waited_for_that_time() -> None:
    struck = Struck(ClockLeap(1, 1.1, nodes=("n1",), leap_s=100))
    struck.run(0.9)
    before = [struck.process(index).clock(struck.small.now) for index in range(3)]
    struck.run(0.5)
    gained = [struck.process(index).clock(struck.small.now) - before[index] - S // 2 for index in range(3)]
    assert abs(gained[0]) < S // 1000 > abs(gained[2])
    assert 0 < gained[1] <= 100 * S
    assert struck.world.woke.keys() == {1}
    assert struck.world.woke[1][1] == pytest.approx(gained[1], abs=S // 1000)


def test_a_mesh_whose_clocks_leap_again_and_again_accuses_nobody() -> None:
    leaps = tuple(ClockLeap(at, at + 0.1, 3, leap_s=300) for at in range(5, 55, 4))
    one = settled(Scenario(nodes=6, seconds=60, tasks_per_s=2, faults=leaps))
    assert held(one)
    facts = one.world.watch.facts
    assert facts[Overslept] > 20
    assert facts[MemberChanged] == facts[TaskReassigned] == 0


def test_wall_clocks_change_nothing_for_a_membership() -> None:
    quiet = Scenario(nodes=6, seconds=60, faults=(Crash(10, 30, nodes=("n2",)),))
    jumpy = replace(quiet, faults=(*quiet.faults, ClockJump(5, 40, 4, jump_s=3e8)))
    one, other = run(quiet), run(jumpy)
    assert other.violations == ()
    assert (one.facts, one.messages, one.trace_hash) == (other.facts, other.messages, other.trace_hash)


def test_a_paused_node_is_up_and_does_nothing_until_it_goes_on() -> None:
    struck = Struck(Pause(1, 5, nodes=("n1",)))
    struck.run(3)
    assert struck.stopped == ["n1"]
    assert struck.running == ["n0", "n1", "n2"]
    woken = len(struck.small.core(1).woke_at)
    struck.run(1.9)
    assert len(struck.small.core(1).woke_at) == woken
    struck.run(2)
    assert struck.stopped == []
    assert len(struck.small.core(1).woke_at) > woken


def test_a_starved_node_is_stopped_again_and_again() -> None:
    struck = Struck(Starve(1, 21, nodes=("n1",), blocked_s=1.0, runs_s=1.0))
    seen: list[bool] = []
    for _ in range(200):
        struck.run(0.1)
        seen.append(bool(struck.stopped))
    assert 60 < sum(seen) < 140
    changes = sum(one != other for one, other in pairwise(seen))
    assert changes > 10
    struck.run(2)
    assert struck.stopped == []
    assert struck.timeline.fired == {"starve": 1}


def test_a_pause_and_a_starvation_of_one_node_do_not_end_each_other() -> None:
    struck = Struck(Pause(2, 9, nodes=("n1",)), Starve(1, 7, nodes=("n1",), blocked_s=0.3, runs_s=0.3))
    struck.run(2.1)
    for _ in range(60):
        struck.run(0.1)
        assert struck.stopped == ["n1"]
    struck.run(2)
    assert struck.stopped == []


@pytest.mark.parametrize("seed", range(3))
def test_a_mesh_lives_with_wrong_clocks_and_stopped_nodes(seed: int) -> None:
    faults = (
        ClockDrift(2, 50, 3, ppm=50_000),
        ClockJump(3, 40, 3),
        Pause(5, 20, 2),
        Starve(25, 40, 2),
        Pause(45, 48, 1),
    )
    one = settled(Scenario(nodes=6, seconds=60, seed=seed, tasks_per_s=4, faults=faults))
    assert held(one)
    assert set(one.timeline.fired.values()) == {1, 2}
    assert one.world.watch.facts  # the mesh has something to tell


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (ClockDrift(1, 2, ppm=0), "ppm 0 must be 1 to 200000"),
        (ClockDrift(1, 2, ppm=900_000), "ppm 900000 must be 1 to 200000"),
        (ClockJump(1, 2, jump_s=0), "jump_s 0 must be"),
        (ClockLeap(1, 2, leap_s=-5), "leap_s -5 must be"),
        (ClockLeap(1, 2, leap_s=100_000), "leap_s 100000 must be"),
        (Starve(1, 2, blocked_s=0), "blocked_s 0 must be"),
        (Starve(1, 2, runs_s=float("nan")), "runs_s nan must be"),
        (Pause(1, 2, 3), "the count must be 1 to 2"),
    ],
)
def test_clocks_and_pauses_that_cannot_be_say_why(fault: Fault, says: str) -> None:
    with pytest.raises(ScenarioError, match=re.escape(says)):
        fault.check(("n0", "n1"), 60)
