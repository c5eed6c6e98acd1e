"""Rolling upgrades, and their way back, of a mesh that works."""

from __future__ import annotations

import re

import pytest

from sim.errors import ScenarioError
from sim.faults import Crash, Fault, Rollback, Upgrade
from sim.scenario import Scenario
from sim.versions import NEXT, PRESENT
from tests.sim.faults.machines import held, settled


def test_a_rolling_upgrade_and_its_way_back_lose_nothing() -> None:
    faults = (Upgrade(2, down_s=1, settle_s=2), Rollback(30, down_s=1, settle_s=2), Crash(10, 14, 1))
    one = settled(Scenario(nodes=5, seconds=60, tasks_per_s=6, faults=faults))
    assert held(one)
    assert one.timeline.fired == {"upgrade": 1, "rollback": 1, "crash": 1}
    assert [process.version for process in one.world.processes] == [PRESENT] * 5
    assert one.world.mishaps["message_across_versions"] > 500
    assert one.world.mishaps["record_across_versions"] > 100


def test_an_upgrade_that_is_cut_short_leaves_a_mixed_mesh_that_works() -> None:
    one = settled(Scenario(nodes=5, seconds=60, tasks_per_s=4, faults=(Upgrade(2, 12, down_s=1, settle_s=3),)))
    assert held(one)
    versions = [process.version for process in one.world.processes]
    assert versions == sorted(versions, reverse=True)
    assert set(versions) == {PRESENT, NEXT}


def test_an_upgrade_that_goes_back_visits_every_node_twice() -> None:
    one = settled(Scenario(nodes=3, seconds=60, tasks_per_s=4, faults=(Upgrade(2, down_s=1, settle_s=1, back=True),)))
    assert held(one)
    assert [process.boots for process in one.world.processes] == [3, 3, 3]
    assert [process.version for process in one.world.processes] == [PRESENT] * 3


def test_only_those_named_are_upgraded_and_only_the_upgraded_are_rolled_back() -> None:
    faults = (Upgrade(2, nodes=("n1", "n3"), down_s=1), Rollback(20, nodes=("n0", "n3"), down_s=1), Rollback(30, 31))
    one = settled(Scenario(nodes=4, seconds=40, faults=faults))
    assert held(one)
    assert [process.boots for process in one.world.processes] == [1, 3, 1, 3]
    assert one.timeline.fired == {"upgrade": 1, "rollback": 2}


def test_nothing_to_roll_back_does_not_count_as_a_rollback() -> None:
    one = settled(Scenario(nodes=3, seconds=20, faults=(Rollback(2),)))
    assert one.timeline.fired == {"rollback": 0}


def test_a_node_that_is_down_is_upgraded_where_it_lies() -> None:
    faults = (Crash(1, 25, nodes=("n1",)), Upgrade(2, down_s=1, settle_s=1))
    one = settled(Scenario(nodes=3, seconds=40, tasks_per_s=2, faults=faults))
    assert held(one)
    assert [process.boots for process in one.world.processes] == [2, 2, 2]
    assert {process.version for process in one.world.processes} == {NEXT}


def test_a_half_upgraded_mesh_answers_what_callers_ask_of_other_nodes() -> None:
    """Seed 9: `Ask` carried a command that refused fields appended to it, so an older node dropped every question."""
    faults = (Upgrade(2, 20, down_s=1, settle_s=1, nodes=("n0", "n1")),)
    one = settled(Scenario(nodes=4, seconds=40, seed=9, tasks_per_s=6, faults=faults))
    assert held(one)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Upgrade(1, nodes=("n8",)), "no node 'n8'"),
        (Upgrade(30, down_s=4, settle_s=2, back=True), "6 restarts in turn take 34 s at least"),
        (Rollback(1, down_s=-2), "down_s -2 must be"),
    ],
)
def test_upgrades_that_cannot_be_say_why(fault: Fault, says: str) -> None:
    with pytest.raises(ScenarioError, match=re.escape(says)):
        fault.check(("n0", "n1", "n2"), 60)
