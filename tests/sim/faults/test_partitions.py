"""Partitions cut what their names say: who reaches whom while they are in force."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.errors import ScenarioError
from sim.faults import (
    Bridge,
    Fault,
    Flapping,
    Groups,
    Halves,
    Isolate,
    IsolateEach,
    Lossy,
    MajoritiesRing,
    OneWay,
    RandomCut,
)
from sim.faults.fault import Stage
from sim.faults.timeline import Timeline
from sim.scenario import Scenario, run
from tests.sim.faults.reach import Pair, heard_by, pairs, reach, reach_under
from tests.sim.simkit import Small

NAMES = tuple(f"n{index}" for index in range(9))


def degrees(fault: Fault, seed: int) -> list[int]:
    """For each of nine nodes, how many of the other eight it reaches while `fault` is in force."""
    found = reach_under(fault, seed=seed)
    return sorted(sum(one == node for one, _ in found) for node in range(9))


@pytest.mark.parametrize("seed", range(5))
def test_cuts_have_the_sides_that_they_are_named_for(seed: int) -> None:
    assert degrees(Halves(0, 1), seed) == [3] * 4 + [4] * 5
    assert degrees(Isolate(0, 1, 3), seed) == [0] * 3 + [5] * 6
    assert degrees(OneWay(0, 1, 2), seed) == [1] * 2 + [8] * 7
    assert degrees(Isolate(0, 1, nodes=("n4",)), seed) == [0] + [7] * 8
    assert degrees(Bridge(0, 1, 1), seed) == [4] * 8 + [8]
    assert degrees(Bridge(0, 1, 3), seed) == [5] * 6 + [8] * 3
    assert degrees(RandomCut(0, 1, p=1.0), seed) == [0] * 9


def test_one_way_between_named_nodes_cuts_only_those_links() -> None:
    found = reach_under(OneWay(0, 1, nodes=("n0", "n1"), to=("n2", "n3")))
    assert set(pairs(9)) - found == {(0, 2), (0, 3), (1, 2), (1, 3)}


def test_a_bridge_that_is_named_is_the_only_way_across() -> None:
    found = reach_under(Bridge(0, 1, nodes=("n3",)), nodes=7)
    side = {b for a, b in found if a == 0} - {3} | {0}
    other = set(range(7)) - side - {3}
    assert len(side) == len(other) == 3
    assert all((a, b) not in found and (b, a) not in found for a in side for b in other)
    assert heard_by(found, 3) == set(range(7))


@given(st.integers(3, 30), st.integers(0, 1000))
def test_in_a_ring_every_node_hears_a_majority_and_no_two_the_same(nodes: int, seed: int) -> None:
    found = reach_under(MajoritiesRing(0, 1), nodes=nodes, seed=seed)
    heard = [frozenset(heard_by(found, node)) for node in range(nodes)]
    assert {len(each) for each in heard} == {nodes // 2 + 1}
    assert len(set(heard)) == nodes
    if (nodes // 2 + 1) % 2:
        assert found == {(b, a) for a, b in found}


def test_random_cuts_come_at_their_rate_and_both_ways_unless_asked() -> None:
    both = [reach_under(RandomCut(0, 1, p=0.4), seed=seed) for seed in range(20)]
    single = [reach_under(RandomCut(0, 1, p=0.4, symmetric=False), seed=seed) for seed in range(20)]
    for cases in (both, single):
        assert 0.55 < sum(map(len, cases)) / (20 * 72) < 0.65
    assert all(found == {(b, a) for a, b in found} for found in both)
    assert not any(found == {(b, a) for a, b in found} for found in single)
    assert len({frozenset(found) for found in both}) == 20


def test_a_random_cut_that_cuts_nobody_did_not_happen() -> None:
    small = Small(2)
    assert RandomCut(0, 1, p=1e-9).begin(small.now, Stage(small.world, 1)) is None
    assert small.world.cuts == 0


@pytest.mark.parametrize("kind", [OneWay, Flapping])
def test_a_cut_that_cuts_nobody_did_not_happen(kind: type[OneWay | Flapping]) -> None:
    small = Small(3)
    fault = kind(0, 1, nodes=("n0",), to=("n0",))
    assert fault.begin(small.now, Stage(small.world, 1)) is None
    small.run(2)
    assert small.world.cuts == 0


def test_groups_cannot_reach_each_other_and_a_node_in_none_reaches_all() -> None:
    found = reach_under(Groups(0, 1, groups=(("n0", "n1"), ("n2",))), nodes=4)
    assert set(pairs(4)) - found == {(0, 2), (1, 2), (2, 0), (2, 1)}


# Partitions that move.


class Watched:
    """A small world, and who reached whom each time that this changed, with the second at which it did."""

    def __init__(self, fault: Fault, nodes: int = 5, seed: int = 0) -> None:
        self.small = Small(nodes, seed=seed)
        self.timeline = Timeline(self.small.world, [fault])
        self.changes: list[tuple[float, frozenset[Pair]]] = []
        self.small.world.network.on_reach = self._changed

    @property
    def ended(self) -> bool:
        """Whether all is as it was."""
        return self.small.world.network.whole and not self.changes[-1][1]

    def _changed(self) -> None:
        self.changes.append((self.small.now / 1e9, frozenset(set(pairs(5)) - reach(self.small))))


def isolated(cut: frozenset[Pair]) -> int:
    """The one node that is cut off; −1 where none is."""
    if not cut:
        return -1
    [node] = [node for node in range(5) if sum(node in pair for pair in cut) == 8]
    return node


@pytest.mark.parametrize("seed", range(3))
def test_each_node_is_isolated_in_turn_for_the_same_time(seed: int) -> None:
    watched = Watched(IsolateEach(1, 11), seed=seed)
    watched.small.run(20)
    turns = [(at, isolated(cut)) for at, cut in watched.changes if cut]
    assert [at for at, _ in turns] == [1, 3, 5, 7, 9]
    assert sorted(node for _, node in turns) == [0, 1, 2, 3, 4]
    assert watched.changes[-1][0] == 11
    assert watched.ended


def test_turns_go_round_until_the_end_and_only_among_those_named() -> None:
    watched = Watched(IsolateEach(0, 10, each_s=3.0, nodes=("n1", "n4")))
    watched.small.run(20)
    turns = [(at, isolated(cut)) for at, cut in watched.changes if cut]
    assert [at for at, _ in turns] == [0, 3, 6, 9]
    assert [node for _, node in turns] in ([1, 4, 1, 4], [4, 1, 4, 1])
    assert watched.changes[-1][0] == 10
    assert watched.ended


@pytest.mark.parametrize(
    ("fault", "links"),
    [
        (Flapping(0, 30), 12),
        (Flapping(0, 30, sides="node"), 8),
        (Flapping(0, 30, sides="link"), 2),
        (Flapping(0, 30, nodes=("n1",), to=("n3",)), 2),
        (Flapping(0, 30, nodes=("n1",)), 8),
    ],
)
def test_a_flapping_cut_comes_and_goes_and_is_the_same_each_time(fault: Flapping, links: int) -> None:
    watched = Watched(fault)
    watched.small.run(40)
    states = [cut for _, cut in watched.changes]
    assert len(states) > 20
    assert all(bool(before) != bool(after) for before, after in pairwise(states))
    assert {len(cut) for cut in states if cut} == {links}
    assert len({cut for cut in states if cut}) == 1
    spans = [after - before for (before, _), (after, _) in pairwise(watched.changes)]
    assert all(0 < span <= 2 for span in spans)
    assert len({round(span, 6) for span in spans}) > 15
    assert watched.small.world.network.whole
    assert watched.timeline.fired == {"flapping": 1}


def test_a_named_link_flaps_and_no_other() -> None:
    watched = Watched(Flapping(0, 5, nodes=("n1",), to=("n3",)))
    watched.small.run(6)
    assert {pair for _, cut in watched.changes for pair in cut} == {(1, 3), (3, 1)}


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Halves(0, 1), "at least 2 nodes"),
        (MajoritiesRing(0, 1), "at least 3 nodes"),
        (Bridge(0, 1), "at least 3 nodes (1 to bridge, and one on either side)"),
        (RandomCut(0, 1), "at least 2 nodes"),
        (Flapping(0, 1), "at least 2 nodes"),
        (Isolate(0, 1), "at least 2 nodes"),
        (IsolateEach(0, 1), "at least 2 nodes"),
        (OneWay(0, 1), "at least 2 nodes"),
        (Lossy(0, 1), "at least 2 nodes"),
    ],
)
def test_a_mesh_that_is_too_small_for_a_partition_is_refused(fault: Fault, says: str) -> None:
    with pytest.raises(ScenarioError, match=re.escape(says)):
        fault.check(NAMES[:1], 10)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Bridge(0, 1, 8), "at least 10 nodes"),
        (RandomCut(0, 1, p=0.0), "For 30 % write 0.3"),
        (RandomCut(0, 1, p=30), "For 30 % write 0.3"),
        (OneWay(0, 1, to=("n10",)), "no node 'n10'"),
        (OneWay(0, 1, 9), "nobody is left who could not hear them"),
        (OneWay(0, 1, nodes=NAMES), "nobody is left who could not hear them"),
        (Halves(float("nan"), 1), "its times must be numbers of seconds"),
        (Halves(0, float("nan")), "its times must be numbers of seconds"),
        (Groups(0, 1), 'groups = [["n0"], ["n8"]]'),
        (Groups(0, 1, groups=(("n0",), ())), "two groups at least"),
        (Groups(0, 1, groups=(("n0",), ("m1",))), "Did you mean 'n1'?"),
        (Groups(0, 1, groups=(("n0", "n1"), ("n1",))), "n1 is named twice"),
        (IsolateEach(0), "Give each_s or end_s"),
        (IsolateEach(0, 1, each_s=float("inf")), "must be 0.01 s or more"),
        (IsolateEach(0, 1, nodes=("x1",)), "Did you mean 'n1'?"),
        (Flapping(0, 1, sides="halfs"), "Did you mean 'halves'?"),  # type: ignore[arg-type]  # what a person may type
        (Flapping(0, 1, down_s_max=0.0), "down_s_max 0 must be 0.01 s or more"),
        (Flapping(0, 1, up_s_max=float("nan")), "up_s_max nan must be"),
        (Flapping(0, 1, to=("n1",)), "Name both ends"),
        (Flapping(0, 1, nodes=("n1",), to=("n12",)), "no node 'n12'"),
    ],
)
def test_impossible_partitions_say_why(fault: Fault, says: str) -> None:
    with pytest.raises(ScenarioError, match=re.escape(says)):
        fault.check(NAMES, 10)


@pytest.mark.parametrize(
    "fault",
    [
        Bridge(5, 20),
        MajoritiesRing(5, 20),
        RandomCut(5, 20),
        RandomCut(5, 20, p=0.5, symmetric=False),
        Groups(5, 20, groups=(("n0", "n1"), ("n2", "n3"))),
        IsolateEach(5, 20),
        Flapping(5, 20),
        Flapping(5, 20, sides="link"),
        OneWay(5, 20, nodes=("n1",), to=("n2",)),
    ],
)
def test_a_mesh_lives_through_every_partition(fault: Fault) -> None:
    report = run(Scenario(nodes=5, seconds=25, seed=3, tasks_per_s=2, faults=(fault,)))  # type: ignore[arg-type]  # all are of `AnyFault`
    assert report.held
    assert report.faults[fault.kind()] == 1
    assert report.drops["cut"] > 0
