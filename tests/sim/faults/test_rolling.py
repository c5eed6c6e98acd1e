"""Restarts that somebody plans: graceful or not, in turn or all at once."""

from __future__ import annotations

import re

import pytest

from protocols.core import Instant
from protocols.membership.facts import MemberChanged
from protocols.membership.member import State
from sim.errors import ScenarioError
from sim.faults import AnyFault, Crash, Fault, MassRestart, Restart, RollingRestart
from sim.process import Process
from sim.scenario import Run, Scenario
from tests.sim.faults.machines import Struck, held, settled


def verdicts(scenario: Scenario) -> tuple[Run, dict[State, int]]:
    """A settled run, and how often members were told to be in each state."""
    counts = dict.fromkeys(State, 0)

    def on_fact(now: Instant, process: Process, fact: object) -> None:
        assert isinstance(fact, MemberChanged)
        counts[fact.state] += 1

    one = Run(scenario)
    one.world.watch.listeners[MemberChanged] = (*one.world.watch.listeners[MemberChanged], on_fact)
    one.start()
    one.faults_phase()
    one.heal()
    one.settle()
    one.finish()
    return one, counts


def test_a_rolling_restart_takes_one_node_after_the_other_and_ends_by_itself() -> None:
    struck = Struck(RollingRestart(1, down_s=2, settle_s=1, graceful=False), nodes=4)
    struck.run(1.5)
    assert struck.world.troubles == 1
    struck.run(20)
    assert struck.ups == [f"{sign}n{index}" for index in range(4) for sign in "-+"]
    assert struck.world.troubles == 0
    assert struck.timeline.fired == {"rolling-restart": 1}


def test_a_rolling_restart_that_is_ended_leaves_the_rest_alone_and_nobody_down() -> None:
    struck = Struck(RollingRestart(1, 5, down_s=2, settle_s=1, graceful=False), nodes=4)
    struck.run(20)
    assert struck.ups == ["-n0", "+n0", "-n1", "+n1"]
    assert struck.running == ["n0", "n1", "n2", "n3"]


def test_a_graceful_restart_says_good_bye_and_a_forced_one_is_noticed_as_a_death() -> None:
    polite, told = verdicts(Scenario(nodes=4, seconds=40, faults=(Restart(5, nodes=("n1",), down_s=20),)))
    assert held(polite)
    assert told[State.LEFT] >= 3
    assert told[State.DEAD] == 0
    rude, told = verdicts(Scenario(nodes=4, seconds=40, faults=(Restart(5, nodes=("n1",), down_s=20, graceful=False),)))
    assert held(rude)
    assert told[State.LEFT] == 0
    assert told[State.DEAD] >= 3
    assert polite.world.processes[1].boots == rude.world.processes[1].boots == 2


def test_a_node_that_does_not_answer_its_leave_is_stopped_all_the_same() -> None:
    struck = Struck(Restart(1, nodes=("n1",), down_s=1))  # pingpong cores do not know `Leave`
    struck.run(5.9)
    assert struck.ups == []
    struck.run(0.2)
    assert struck.ups == ["-n1"]
    struck.run(1)
    assert struck.ups == ["-n1", "+n1"]


def test_a_node_that_crashes_while_it_leaves_is_restarted_once() -> None:
    struck = Struck(Restart(1, nodes=("n1",), down_s=1), Crash(3, 4, nodes=("n1",)))
    struck.run(10)
    assert struck.ups == ["-n1", "+n1"]


def test_a_restart_that_is_over_while_a_node_leaves_still_brings_it_back_fresh() -> None:
    struck = Struck(Restart(1, 3, nodes=("n1",), down_s=1))
    struck.run(10)
    assert struck.ups == ["-n1", "+n1"]
    assert struck.world.troubles == 0


def test_a_mass_restart_takes_all_down_within_its_spread() -> None:
    struck = Struck(MassRestart(1, down_s=3, spread_s=1), nodes=5)
    struck.run(2)
    assert struck.running == []
    struck.run(4)
    assert struck.running == [f"n{index}" for index in range(5)]
    assert sorted(struck.ups[:5]) == [f"-n{index}" for index in range(5)]
    assert struck.world.troubles == 0
    at_once = Struck(MassRestart(1), nodes=5)
    at_once.run(1)
    assert at_once.running == []


@pytest.mark.parametrize(
    "fault",
    [RollingRestart(3), RollingRestart(3, graceful=False), MassRestart(10, spread_s=0.5), Restart(5, None, 3)],
    ids=lambda fault: f"{fault.kind()} {fault.describe()[-40:]}",
)
def test_a_mesh_with_work_survives_it(fault: AnyFault) -> None:
    one = settled(Scenario(nodes=5, seconds=50, tasks_per_s=5, faults=(fault,)))
    assert held(one)
    assert one.world.restarts == (3 if isinstance(fault, Restart) else 5)
    assert len(one.world.running()) == 5


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (RollingRestart(10, down_s=5, settle_s=5), "5 restarts in turn take 45 s at least, and the run lasts 50 s"),
        (RollingRestart(10, nodes=("n9",)), "no node 'n9'"),
        (RollingRestart(10, settle_s=-1), "settle_s -1 must be 0 s or more"),
        (MassRestart(10, down_s=float("nan")), "down_s nan must be 0 s or more"),
        (Restart(10, down_s=-1), "down_s -1 must be 0 s or more"),
    ],
)
def test_restarts_that_cannot_be_say_why(fault: Fault, says: str) -> None:
    with pytest.raises(ScenarioError, match=re.escape(says)):
        fault.check(("n0", "n1", "n2", "n3", "n4"), 50)
