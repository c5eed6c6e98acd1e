"""Links that are bad for a while: what they do to messages, on which links, and that it is counted."""

from __future__ import annotations

import re

import pytest

from sim.errors import ScenarioError
from sim.faults import AnyFault, Clog, Duplicating, Fault, Lossy, Reordering, Reset, Slow
from sim.faults.fault import Stage
from sim.faults.links import LinkFault
from sim.faults.timeline import Timeline
from sim.scenario import Scenario, run
from tests.sim.simkit import MS, Small

NAMES = ("n0", "n1", "n2")


class Struck:
    """Three nodes to which `fault` is done from 1 s to 3 s. At 2 s each says `said` datagrams to each other."""

    def __init__(self, fault: Fault, said: int = 100) -> None:
        self.small = Small(3)
        self.timeline = Timeline(self.small.world, [fault])
        self.small.run(2)
        for one in range(3):
            for two in range(3):
                if one != two:
                    self.small.say(one, two, said, stream=False, first=1000 * one)

    def heard(self, sender: int, receiver: int) -> list[tuple[int, int]]:
        """(milliseconds after 2 s, number) of what of it has arrived, in the order of arrival."""
        return [
            ((at - 2_000 * MS) // MS, number % 1000)
            for at, listener, _, number in self.small.ears.heard
            if listener == receiver and number // 1000 == sender
        ]


def test_lossy_links_lose_their_share_and_others_lose_nothing() -> None:
    struck = Struck(Lossy(1, 3, nodes=("n0",), loss=0.5))
    struck.small.run(0.5)
    for one, two in ((0, 1), (1, 0), (0, 2), (2, 0)):
        assert 30 < len(struck.heard(one, two)) < 70
    assert len(struck.heard(1, 2)) == len(struck.heard(2, 1)) == 100
    assert struck.small.world.network.lossy
    struck.small.run(2)
    assert not struck.small.world.network.lossy


@pytest.mark.parametrize(
    ("fault", "hit"),
    [
        (Lossy(1, 3, nodes=("n0",), way="out", loss=1.0), {(0, 1), (0, 2)}),
        (Lossy(1, 3, nodes=("n0",), way="in", loss=1.0), {(1, 0), (2, 0)}),
        (Lossy(1, 3, nodes=("n0",), to=("n1",), loss=1.0), {(0, 1), (1, 0)}),
        (Lossy(1, 3, nodes=("n0",), to=("n1",), way="out", loss=1.0), {(0, 1)}),
        (Lossy(1, 3, 3, loss=1.0), {(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)}),
    ],
)
def test_which_links_are_hit_is_said_by_nodes_to_and_way(fault: Lossy, hit: set[tuple[int, int]]) -> None:
    struck = Struck(fault, 5)
    struck.small.run(0.5)
    assert {(a, b) for a in range(3) for b in range(3) if a != b and not struck.heard(a, b)} == hit


@pytest.mark.parametrize("kind", [Lossy, Slow, Duplicating, Reordering, Reset, Clog])
def test_a_link_fault_of_no_link_did_not_happen(kind: type[LinkFault]) -> None:
    small = Small(3)
    assert kind(0, 1, nodes=("n0",), to=("n0",)).begin(small.now, Stage(small.world, 1)) is None
    assert small.world.network.mishaps == {}


def test_slow_links_take_longer_by_what_they_say() -> None:
    struck = Struck(Slow(1, 3, nodes=("n0",), add_ms_min=100, add_ms_max=200))
    struck.small.run(0.5)
    late = [at for at, _ in struck.heard(0, 1)]
    assert len(late) == 100
    assert 100 <= min(late) < 110
    assert 190 < max(late) <= 202
    assert max(at for at, _ in struck.heard(1, 2)) <= 2


def test_a_clogged_link_delivers_at_the_end_in_order() -> None:
    struck = Struck(Clog(1, 3, nodes=("n0",), way="out"))
    struck.small.run(0.99)
    assert struck.heard(0, 1) == []
    assert len(struck.heard(1, 0)) == 100
    struck.small.run(0.1)
    assert [number for _, number in struck.heard(0, 1)] == list(range(100))
    assert struck.small.world.network.mishaps["clogged"] == 200


def test_doubles_and_reordering_storms() -> None:
    double = Struck(Duplicating(1, 3, nodes=("n0",), duplicate=0.5))
    double.small.run(0.5)
    assert 130 < len(double.heard(0, 1)) < 170
    assert double.small.world.network.mishaps["duplicate"] == double.small.world.network.duplicated > 0
    reorder = Struck(Reordering(1, 3, nodes=("n0",), reorder=0.5, reorder_ms=300))
    reorder.small.run(0.5)
    heard = reorder.heard(0, 1)
    assert sorted(number for _, number in heard) == list(range(100))
    assert max(at for at, _ in heard) > 200
    assert reorder.small.world.network.mishaps["reorder"] > 0


def test_a_reset_breaks_streams_at_once_and_then_again_and_again() -> None:
    small = Small(2)
    timeline = Timeline(small.world, [Reset(1, 3, nodes=("n0",), reset=0.5)])
    small.run(0.9999)
    small.say(0, 1, 5)  # under way when it begins
    small.run(0.1)
    assert small.ears.heard == []
    assert small.world.network.resets == 1
    for number in range(100):
        small.say(0, 1, 1, first=number)
        small.run(0.01)
    assert 30 < len(small.ears.heard) < 70
    small.run(2)
    heard = len(small.ears.heard)
    small.say(0, 1, 50)
    small.run(1)
    assert len(small.ears.heard) == heard + 50
    assert timeline.fired == {"reset": 1}


def test_faults_of_the_same_link_add_up_and_end_each_by_itself() -> None:
    small = Small(2)
    Timeline(small.world, [Lossy(0, 2, nodes=("n0",), loss=1.0), Lossy(1, 4, nodes=("n1",), loss=1.0)])
    small.run(3)
    assert small.world.network.lossy
    small.say(0, 1, 5, stream=False)
    small.run(1.5)
    assert small.ears.heard == []
    assert not small.world.network.lossy


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Lossy(0, 1, loss=0.0), "loss 0 is a probability, more than 0"),
        (Lossy(0, 1, loss=30), "For 5 % write 0.05"),
        (Lossy(0, 1, 4), "1 to 3"),
        (Lossy(0, 1, to=("m1",)), "Did you mean 'n1'?"),
        (Lossy(0, 1, way="outt"), "Did you mean 'out'?"),  # type: ignore[arg-type]  # what a person may type
        (Slow(0, 1, add_ms_min=5, add_ms_max=4), "no less than the least"),
        (Slow(0, 1, add_ms_min=0, add_ms_max=0), "above 0"),
        (Slow(0, 1, add_ms_max=float("inf")), "at most an hour"),
        (Duplicating(0, 1, duplicate=2), "duplicate 2 is a probability"),
        (Reordering(0, 1, reorder=2), "reorder 2 is a probability"),
        (Reordering(0, 1, reorder_ms=0), "reorder_ms 0 must be above 0"),
        (Reset(0, 1, reset=2), "reset 2 is a probability"),
        (Clog(0, 11), "the run lasts 10 s"),
    ],
)
def test_impossible_link_faults_say_why(fault: Fault, says: str) -> None:
    with pytest.raises(ScenarioError, match=re.escape(says)):
        fault.check(NAMES, 10)


MISHAPS = {
    "lossy": "loss",
    "clog": "clogged",
    "duplicating": "duplicate",
    "reordering": "reorder",
    "reset": "stream_reset",
}


@pytest.mark.parametrize(
    "fault", [Lossy(5, 20, 2), Slow(5, 20, 2), Clog(5, 12, 2), Duplicating(5, 20), Reordering(5, 20), Reset(5, 20, 3)]
)
def test_a_mesh_lives_through_every_link_fault_and_its_mishaps_are_counted(fault: AnyFault) -> None:
    report = run(Scenario(nodes=5, seconds=25, seed=3, tasks_per_s=4, faults=(fault,)))
    assert report.held
    assert report.faults[fault.kind()] == 1
    mishap = MISHAPS.get(fault.kind())
    if mishap is not None:
        assert report.faults[mishap] > 0


def test_a_mishap_that_could_have_happened_and_did_not_is_reported_as_0() -> None:
    report = run(Scenario(nodes=3, seconds=5, faults=(Reset(1, 1.01),)))
    assert report.faults == {"reset": 1, "stream_reset": 0}
