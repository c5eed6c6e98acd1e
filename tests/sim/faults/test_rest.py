"""The second phase with a broken rest: who is healed, how the others stay broken, and what is asked of the core."""

from __future__ import annotations

import re

import pytest
from msgspec.structs import replace

from sim.errors import ScenarioError
from sim.faults import Crash, Halves
from sim.faults.rest import WAYS, Way
from sim.network import LinkProfile
from sim.scenario import Liveness, Run, Scenario

BROKEN = Liveness(rest="broken")


def healed(scenario: Scenario) -> Run:
    """A run of `scenario` up to just after its second phase has begun."""
    one = Run(scenario)
    one.start()
    one.faults_phase()
    one.heal()
    return one


def settled(one: Run) -> Run:
    one.settle()
    one.finish()
    return one


def broken(way: Way) -> Run:
    """Five nodes, of which the last is broken in this way, and nothing else is wrong."""
    return healed(Scenario(seconds=10, seed=1, liveness=Liveness("broken", 0.0, ("n0", "n1", "n2", "n3"), {"n4": way})))


def test_the_core_is_a_majority_that_is_drawn_and_all_others_stay_broken() -> None:
    cores = set()
    for seed in range(12):
        one = healed(Scenario(nodes=7, seconds=5, seed=seed, faults=(Halves(2, 5),), liveness=BROKEN))
        core = tuple(process.name for process in one.world.core)
        liveness = one.scenario.liveness
        assert core == liveness.core
        assert len(core) == 4
        assert set(liveness.broken) == set(one.scenario.names) - set(core)
        assert one.world.troubles == 3
        fired = {kind: count for kind, count in one.timeline.fired.items() if kind.startswith("rest-")}
        assert sum(fired.values()) == 3
        assert fired.keys() == {f"rest-{way}" for way in WAYS}
        cores.add(core)
    assert len(cores) > 6


def test_core_nodes_that_were_down_for_good_are_started_again() -> None:
    one = healed(Scenario(seconds=10, seed=2, faults=(Crash(3, None, 5),), liveness=BROKEN))
    assert all(process.up for process in one.world.core)
    assert settled(one).report(1.0, 0.0).held
    assert healed(Scenario(seconds=10, seed=2, faults=(Crash(3, None, 5),))).world.running() == []


def test_a_core_node_that_no_fault_holds_down_is_started_too() -> None:
    one = Run(Scenario(seconds=10, seed=2, liveness=BROKEN))
    one.start()
    for process in one.world.processes:
        one.world.crash(process)
    one.heal()
    assert [process.up for process in one.world.core] == [True] * 3


def test_every_way_of_staying_broken_is_what_it_is_called() -> None:
    def reaches(one: Run, sender: int, receiver: int) -> bool:
        return one.world.network.reachable(sender, receiver)

    down, isolated, unheard, deaf = (broken(way) for way in ("down", "isolated", "unheard", "deaf"))
    assert not down.world.processes[4].up
    assert not reaches(isolated, 0, 4)
    assert not reaches(isolated, 4, 0)
    assert reaches(unheard, 0, 4)
    assert not reaches(unheard, 4, 0)
    assert reaches(deaf, 4, 0)
    assert not reaches(deaf, 0, 4)
    assert all(reaches(deaf, 0, other) and reaches(deaf, other, 0) for other in (1, 2, 3))
    assert broken("paused").world.processes[4].stopped
    assert broken("disk-full").world.processes[4].disk.failure
    slow, lossy = broken("slow").world.network, broken("lossy").world.network
    first, last = slow.stations[0], slow.stations[4]
    plain = slow.link_between(first, slow.stations[1])
    assert slow.link_between(first, last).latency_min > 100 * plain.latency_min
    assert slow.link_between(last, first).latency_min > 100 * plain.latency_min
    assert lossy.link_between(lossy.stations[0], lossy.stations[4]).loss == 0.7
    assert lossy.link_between(lossy.stations[0], lossy.stations[1]).loss == 0.0


def test_a_node_that_is_down_for_good_stays_down_whatever_was_drawn_and_is_counted_as_that() -> None:
    for way in WAYS:
        liveness = Liveness("broken", 0.0, ("n0", "n1", "n2"), {"n3": "down", "n4": way})
        one = healed(Scenario(seconds=10, seed=1, faults=(Crash(3, None, nodes=("n4",)),), liveness=liveness))
        assert not one.world.processes[4].up
        assert one.timeline.fired["rest-down"] == 2
        assert sum(one.timeline.fired.values()) == 3


def test_only_ways_of_staying_broken_that_may_come_up_are_expected() -> None:
    some = Liveness("broken", 0.0, ("n0", "n1", "n2"), {"n3": "deaf", "n4": "down"})
    for liveness in (some, Liveness("broken", 0.0, (), {"n3": "deaf", "n4": "down"})):
        report = settled(healed(Scenario(seconds=5, liveness=liveness))).report(1.0, 0.0)
        assert {kind for kind in report.faults if kind.startswith("rest-")} == {"rest-deaf", "rest-down"}
    one_drawn = Liveness("broken", 0.0, ("n0", "n1", "n2"), {"n4": "down"})
    report = settled(healed(Scenario(seconds=5, liveness=one_drawn))).report(1.0, 0.0)
    assert {f"rest-{way}" for way in WAYS} <= report.faults.keys()


@pytest.mark.parametrize("way", WAYS)
def test_the_core_goes_on_whatever_the_rest_does(way: Way) -> None:
    liveness = Liveness("broken", 0.0, ("n0", "n2", "n3"), {"n1": way, "n4": way})
    scenario = Scenario(seconds=20, seed=5, tasks_per_s=4, faults=(Halves(5, 15),), liveness=liveness)
    report = settled(healed(scenario)).report(1.0, 0.0)
    assert report.held
    assert report.faults[f"rest-{way}"] == 2


def test_the_rest_stays_broken_to_the_end() -> None:
    one = settled(healed(Scenario(seconds=10, seed=3, liveness=Liveness("broken", 0.0, (), {"n1": "isolated"}))))
    assert not one.world.network.reachable(0, 1)
    assert one.world.troubles == 2


@pytest.mark.parametrize(
    ("liveness", "says"),
    [
        (Liveness("brokn"), "Did you mean 'broken'?"),  # type: ignore[arg-type]  # what a person may type
        (Liveness(bound_s=float("nan")), "bound_s nan"),
        (Liveness(core=("n1",)), 'They need rest = "broken"'),
        (Liveness("broken", core=("n9",)), "no node 'n9'"),
        (Liveness("broken", core=("n1",), broken={"n1": "down"}), "in the core and broken"),
        (Liveness("broken", broken={"n1": "pausd"}), "Did you mean 'paused'?"),  # type: ignore[dict-item]  # likewise
        (Liveness("broken", broken=dict.fromkeys(("n0", "n1", "n2", "n3", "n4"), "down")), "every node is broken"),
    ],
)
def test_an_impossible_second_phase_says_why(liveness: Liveness, says: str) -> None:
    with pytest.raises(ScenarioError, match=re.escape(says)):
        Scenario(liveness=liveness).validate()


def test_a_rest_needs_a_mesh_of_three() -> None:
    with pytest.raises(ScenarioError, match="at least 3 nodes"):
        Scenario(nodes=2, liveness=BROKEN).validate()


def test_links_of_a_mesh_with_a_broken_rest_may_lose_too() -> None:
    scenario = Scenario(seconds=15, seed=8, link=LinkProfile(loss=0.05), liveness=BROKEN)
    assert settled(healed(replace(scenario, tasks_per_s=2.0))).report(1.0, 0.0).held
