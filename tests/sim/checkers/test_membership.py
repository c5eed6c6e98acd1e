"""Bounds and excuses of the checkers of membership."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from protocols.config import SwimConfig
from protocols.core import NANOS_PER_S
from protocols.membership.facts import MemberChanged
from protocols.membership.member import Alive, Profile, State, precedence_of
from protocols.membership.messages import Gossip
from protocols.node import Node
from sim.checkers import Agreement, Completeness, MergeIsAJoin, NoFalseDeath, NoResurrection, OneProfile, TrafficIsFlat
from sim.checkers.agreement import agreement_bound
from sim.checkers.completeness import completeness_bound, own_round
from sim.faults import KINDS, Crash, Halves, Wipe
from sim.inspect import rows_of
from sim.network import Cut, LinkProfile
from sim.scenario import Liveness, Run, Scenario, run
from tests.sim.planted.detector import forgives_a_failed_probe

FIVE = Scenario(nodes=5, seconds=20)
CUTS = {"halves", "isolate", "oneway", "bridge", "majorities-ring", "random", "groups", "isolate-each", "flapping"}
MISLEADING = CUTS | {"lossy", "slow", "clog", "reordering", "pause", "starve"}


def started(scenario: Scenario, *checkers: type[Agreement | Completeness | NoResurrection | OneProfile]) -> Run:
    one = Run(scenario, checkers)
    one.start()
    return one


def fallen(one: Run) -> list[str]:
    return [violation.property for violation in one.world.watch.violations]


@pytest.mark.parametrize(("members", "seconds"), [(1, 4), (2, 8), (5, 18), (100, 160.11), (1000, 406.52)])
def test_the_bound_of_completeness(members: int, seconds: float) -> None:
    healthy = replace(SwimConfig(), health_max=0)
    assert completeness_bound(healthy, members) / NANOS_PER_S == pytest.approx(seconds, rel=0.01)
    assert members < 2 or completeness_bound(healthy, members) < agreement_bound(healthy, members)


def test_a_dead_node_that_is_still_believed_in_is_waited_for_until_the_bound() -> None:
    one = started(FIVE, Completeness)
    world = one.world
    world.crash(world.processes[4])
    checker = world.watch.checkers[0]
    assert "takes n4 for alive" in checker.waits_for(world.kernel.now)
    assert checker.deadline() == world.disturbed_at + completeness_bound(SwimConfig(), 5)
    world.run(world.kernel.now + 18 * NANOS_PER_S)
    assert checker.waits_for(world.kernel.now) == ""


@pytest.mark.parametrize(
    ("what", "doubters"),
    [
        ("nothing", 2),
        ("too short", 0),
        ("pause", 1),
        ("stopped", 1),
        ("drift", 1),
        ("told", 1),
        ("restart", 1),
        ("cut", 2),
    ],
)
def test_a_round_of_its_own_probes_is_enough_for_a_node_to_doubt_one_that_is_down(what: str, doubters: int) -> None:
    with forgives_a_failed_probe():
        one = started(replace(FIVE, nodes=3), Completeness)
        world = one.world
        first, _, lost = world.processes
        world.crash(lost)
        world.run(world.kernel.now + 10 * NANOS_PER_S)
        if what == "pause":
            world.pause(first)()
        elif what == "stopped":
            world.pause(first)
        elif what == "drift":
            world.drift(first, -100_000)
        elif what == "told":
            told = precedence_of(1, 1, State.ALIVE)
            fact = MemberChanged(lost.config.node_id, lost.name, told, lost.config.node_id)
            world.watch.checkers[0].on_fact(world.kernel.now, first, fact)
        elif what == "restart":
            world.crash(first)
            world.boot(first)
        elif what == "cut":
            world.cut(Cut([0, 1, 2]))
        round_s = own_round(SwimConfig(), 3) // NANOS_PER_S
        world.run(world.kernel.now + (round_s - 12 if what == "too short" else round_s - 9) * NANOS_PER_S)
        world.boot(lost)
    assert fallen(one) == ["completeness"] * doubters


def test_a_mesh_that_is_cut_is_not_asked_for_completeness() -> None:
    one = started(FIVE, Completeness)
    world = one.world
    world.crash(world.processes[4])
    world.cut(Cut([0, 0, 1, 1, 1]))
    assert world.watch.checkers[0].waits_for(world.kernel.now) == ""


def test_a_core_agrees_while_the_rest_stays_broken() -> None:
    one = started(replace(FIVE, nodes=7), Agreement)
    world = one.world
    agreement = world.watch.checkers[0]
    world.crash(world.processes[6])
    world.cut(Cut([0, 0, 0, 0, 0, 1, 0]))
    world.core = tuple(world.processes[:4])
    assert "takes n6 for alive" in agreement.waits_for(world.kernel.now)
    begun = world.kernel.now
    world.run(begun + 60 * NANOS_PER_S)
    world.disturb()  # the broken rest goes on disturbing, which does not put the deadline off
    assert agreement.deadline() == begun + agreement_bound(SwimConfig(), 7)
    assert agreement.waits_for(world.kernel.now) == ""  # n4 sees the same, and n5 another world; neither is asked


def test_a_core_that_is_wrong_about_itself_does_not_agree() -> None:
    one = started(FIVE, Agreement)
    world = one.world
    world.core = tuple(world.processes[:3])
    world.cut(Cut([0, 0, 1, 0, 0]))
    world.run(world.kernel.now + 60 * NANOS_PER_S)
    assert "n2" in world.watch.checkers[0].waits_for(world.kernel.now)


def test_the_bound_of_a_scenario_takes_the_place_of_the_checkers_own() -> None:
    lost = replace(FIVE, faults=(Crash(19, None, 1),))
    assert run(lost).violations == ()
    hasty = run(replace(lost, liveness=Liveness(bound_s=2.0)))
    assert "agreement" in {violation.property for violation in hasty.violations}
    assert all(22 <= violation.time_s <= 23 for violation in hasty.violations)


class Verdicts:
    """Five nodes, of which n0 declares another one dead."""

    def __init__(self, loss: float = 0.0, latency_ms_max: float = 2.0) -> None:
        one = Run(replace(FIVE, link=LinkProfile(loss=loss, latency_ms_max=latency_ms_max)), (NoFalseDeath,))
        one.start()
        self.world = one.world
        self.one = one

    def told(self, index: int = 1, generation: int = 1) -> list[str]:
        observer, subject = self.world.processes[0], self.world.processes[index]
        precedence = precedence_of(generation, 0, State.DEAD)
        fact = MemberChanged(subject.config.node_id, subject.name, precedence, observer.config.node_id)
        self.world.watch.checkers[0].on_fact(self.world.kernel.now, observer, fact)
        found = fallen(self.one)
        self.world.watch.violations.clear()
        return found


FALSE = ["no_false_death"]


def test_a_false_death_is_excused_by_loss_by_slow_links_and_by_what_misleads() -> None:
    assert Verdicts().told() == FALSE
    assert Verdicts(loss=0.01).told() == []
    assert Verdicts(latency_ms_max=240.0).told() == FALSE
    assert Verdicts(latency_ms_max=260.0).told() == []

    cut = Verdicts()
    cut.world.cut(pairs := Cut([0, 0, 0, 1, 1]))
    assert cut.told() == []
    cut.world.heal(pairs)
    assert cut.told() == []
    cut.world.run(cut.world.kernel.now + agreement_bound(SwimConfig(), 5))
    assert cut.told() == FALSE


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_excuses_a_false_death_when_it_misleads_and_not_else(kind: str) -> None:
    fault = KINDS[kind]
    verdicts = Verdicts()
    verdicts.world.trouble_begins(kind, misleads=fault.misleads)
    assert verdicts.told() == ([] if fault.misleads else FALSE)
    verdicts.world.trouble_ends(kind, misleads=fault.misleads)
    assert verdicts.told() == ([] if fault.misleads else FALSE)
    assert fault.misleads == (kind in MISLEADING)


def test_a_verdict_about_a_node_that_was_restarted_is_excused_for_a_while_and_about_no_other() -> None:
    verdicts = Verdicts()
    world = verdicts.world
    world.crash(world.processes[1])
    assert verdicts.told() == []  # it is true
    assert verdicts.told(2) == FALSE
    world.boot(world.processes[1])
    assert verdicts.told() == []  # it has not begun its life
    world.run(world.kernel.now + NANOS_PER_S)
    assert rows_of(world.processes[1].core)[world.processes[1].config.node_id].generation == 2
    assert verdicts.told() == []
    assert verdicts.told(2) == FALSE
    world.run(world.kernel.now + agreement_bound(SwimConfig(), 5))
    assert verdicts.told() == verdicts.told(generation=2) == FALSE
    assert verdicts.told(generation=3) == []  # a life that it had before its data was destroyed


def test_a_node_whose_data_was_destroyed_may_come_back_as_one_that_is_gone() -> None:
    """Found by a full mix (5 nodes, seed 297): it left, was wiped, and counted its lives anew."""
    one = started(FIVE, NoResurrection)
    observer, subject = one.world.processes[:2]
    for state, incarnation in ((State.LEFT, 0), (State.ALIVE, 1)):
        fact = MemberChanged(subject.config.node_id, "n1", precedence_of(1, incarnation, state), subject.config.node_id)
        subject.lost_data = True
        one.world.watch.checkers[0].on_fact(0, observer, fact)
    assert fallen(one) == []


def test_tables_that_agree_on_who_lives_but_not_on_what_it_is_do_not_agree() -> None:
    one = started(FIVE, Agreement)
    observer, subject = one.world.processes[:2]
    (agreement,) = one.world.watch.checkers
    assert agreement.waits_for(one.world.kernel.now) == ""
    assert isinstance(observer.core, Node)
    row = rows_of(observer.core)[subject.config.node_id]
    heavier = replace(row.alive, profile=replace(row.alive.profile, weight=7))
    observer.core.swim.table.learn(row, heavier)
    assert "n0 takes n1 for Profile" in agreement.waits_for(one.world.kernel.now)


def test_who_has_left_comes_back_only_in_a_new_life() -> None:
    one = started(FIVE, NoResurrection)
    checker = one.world.watch.checkers[0]
    observer, subject = one.world.processes[:2]

    def tell(state: State, generation: int, incarnation: int) -> list[str]:
        precedence = precedence_of(generation, incarnation, state)
        fact = MemberChanged(subject.config.node_id, "n1", precedence, subject.config.node_id)
        checker.on_fact(0, observer, fact)
        return fallen(one)

    row = rows_of(observer.core)[subject.config.node_id]
    assert row.generation == 1
    assert tell(State.ALIVE, 1, 0) == []
    assert tell(State.DEAD, 0, 7) == []
    assert tell(State.ALIVE, 0, 8) == []
    assert tell(State.LEFT, 0, 8) == []
    assert tell(State.SUSPECT, 1, 0) == []
    assert tell(State.ALIVE, 0, 9) == ["no_resurrection"]


def test_two_profiles_in_one_incarnation_are_found_in_messages_and_in_tables() -> None:
    one = started(FIVE, OneProfile)
    checker = one.world.watch.checkers[0]
    row = rows_of(one.world.processes[0].core)[one.world.processes[1].config.node_id]
    other = replace(row.alive, profile=replace(row.alive.profile, zone="elsewhere"))
    checker.on_sample(0, Gossip((row.alive,)))
    checker.on_sample(0, Gossip((other,)))
    assert fallen(one) == ["one_profile"]
    newer = replace(other, precedence=precedence_of(1, 1, State.ALIVE))
    checker.on_sample(0, Gossip((newer,)))
    assert fallen(one) == ["one_profile"]
    checker.finish(0)
    assert fallen(one) == ["one_profile"]


def test_of_many_incarnations_the_last_are_remembered() -> None:
    one = started(FIVE, OneProfile)
    checker = one.world.watch.checkers[0]
    assert isinstance(checker, OneProfile)
    node_id = one.world.processes[0].config.node_id
    for incarnation in range(1000):
        checker.on_sample(0, Gossip((Alive(node_id, precedence_of(1, incarnation, State.ALIVE), Profile("n0", "x")),)))
    assert len(checker._announced[node_id]) <= 33


@pytest.mark.parametrize("seed", range(4))
def test_a_wiped_node_may_count_its_lives_anew(seed: int) -> None:
    scenario = Scenario(nodes=5, seconds=40, seed=seed, tasks_per_s=3, faults=(Crash(5, 8, 2), Wipe(12, 20, 2)))
    assert run(scenario).violations == ()


@pytest.mark.parametrize(("payloads", "spread", "most"), [(False, 1.05, 60), (True, 1.1, 80)])
def test_bytes_per_node_are_flat_in_n(payloads: bool, spread: float, most: int) -> None:
    """A coordinate takes a byte or two more where nodes happen to be far from the origin."""
    spent = {}
    for nodes in (10, 40, 160):
        one = Run(Scenario(nodes=nodes, seconds=60, probe_payloads=payloads), (TrafficIsFlat,))
        one.start()
        one.faults_phase()
        checker = one.world.watch.checkers[0]
        assert isinstance(checker, TrafficIsFlat)
        now = one.world.kernel.now
        spent[nodes] = checker.bytes_of(checker.packets(), 0) / checker.node_seconds(now)
        assert checker.packets() <= checker.bounds(now)[0]
        checker.finish(now)
        assert fallen(one) == []
    assert max(spent.values()) < spread * min(spent.values()) < most


def test_merges_are_tried_on_what_goes_round_and_no_more_than_so_many() -> None:
    one = Run(Scenario(nodes=8, seconds=60, faults=(Halves(5, 20), Halves(30, 50))), (MergeIsAJoin,))
    one.start()
    one.faults_phase()
    checker = one.world.watch.checkers[0]
    assert isinstance(checker, MergeIsAJoin)
    assert 5 < checker.trials <= 256
    assert fallen(one) == []
