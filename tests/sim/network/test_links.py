"""What one link is like: how its delays are spread, how faults make it worse, and that every pair may have its own."""

from __future__ import annotations

import re
from statistics import mean, median
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.errors import ScenarioError
from sim.kernel import Kernel
from sim.network import Change, Link, LinkProfile, Pairs, Topology
from sim.network.links import DELAYS, Delay, quantile_of
from sim.scenario import Scenario, run
from tests.sim.simkit import MS, Small

SLOW = LinkProfile(latency_ms_min=40.0, latency_ms_max=60.0)
PROFILES = st.builds(
    LinkProfile,
    latency_ms_min=st.floats(0, 100),
    latency_ms_max=st.floats(100, 5000),
    delay=st.sampled_from(DELAYS),
)


@given(PROFILES, st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_delays_stay_within_their_bounds_and_grow_with_the_draw(profile: LinkProfile, one: float, two: float) -> None:
    quantile = quantile_of(profile)
    least, most = sorted((one, two))
    assert int(profile.latency_ms_min * MS) <= quantile(least) <= quantile(most) <= profile.latency_ms_max * MS


@pytest.mark.parametrize(
    ("delay", "typical_ms", "middle", "average"),
    [
        ("uniform", 0.0, 250, 250),
        ("exponential", 50.0, 35, 50),
        ("exponential", 0.0, 44, 62),
        ("lognormal", 50.0, 50, 65),
        ("normal", 100.0, 100, 100),
        ("normal", 0.0, 250, 250),
    ],
)
def test_delays_are_spread_as_their_name_says(delay: Delay, typical_ms: float, middle: int, average: int) -> None:
    profile = LinkProfile(latency_ms_min=0.0, latency_ms_max=500.0, delay=delay, typical_ms=typical_ms)
    draw = Kernel(1).random("test").random
    quantile = quantile_of(profile)
    delays_ms = [quantile(draw()) / MS for _ in range(20_000)]
    assert median(delays_ms) == pytest.approx(middle, rel=0.1)
    assert mean(delays_ms) == pytest.approx(average, rel=0.1)


def test_a_change_of_the_spread_moves_no_other_draw() -> None:
    lost: list[list[int]] = []
    spreads: tuple[Delay, ...] = get_args(Delay)
    for delay in spreads:
        small = Small(link=LinkProfile(latency_ms_max=50.0, delay=delay, loss=0.3))
        small.say(0, 1, 200, stream=False)
        small.run(1)
        lost.append(sorted(set(range(200)) - set(small.ears.numbers(1, "Pong"))))
    assert lost[0]
    assert all(each == lost[0] for each in lost)


@given(PROFILES, st.floats(0, 1), st.floats(0, 1))
def test_chances_add_up_as_of_independent_causes(profile: LinkProfile, one: float, two: float) -> None:
    worse = profile.worse(loss=one).worse(loss=two)
    assert worse.loss == pytest.approx(1 - (1 - one) * (1 - two))
    assert 0 <= worse.loss <= 1
    slower = profile.worse(delay_ms_min=10.0, delay_ms_max=30.0)
    assert slower.latency_ms_min == profile.latency_ms_min + 10.0
    assert slower.latency_ms_max == profile.latency_ms_max + 30.0
    slower.check()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"loss": 5}, "For 5 % write 0.05"),
        ({"reset": -0.1}, "probability"),
        ({"duplicate": float("nan")}, "probability"),
        ({"latency_ms_min": 3.0}, "no more than its maximum"),
        ({"latency_ms_max": float("inf")}, "at most"),
        ({"latency_ms_max": float("nan")}, "at most"),
        ({"delay": "lognormel"}, "Did you mean 'lognormal'?"),
        ({"typical_ms": 7.0}, "between the bounds"),
        ({"reorder_ms": -1.0}, "at least 0"),
        ({"stream_stall_s": float("inf")}, "finite"),
    ],
)
def test_impossible_profiles_say_why(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ScenarioError, match=re.escape(says)):
        LinkProfile(**options).check()


# Every pair has its own.


def arrivals(small: Small, sender: int, receiver: int) -> list[int]:
    """When, in ms from now, ten datagrams sent now arrive."""
    before, now = len(small.ears.heard), small.now
    small.say(sender, receiver, 10, stream=False)
    small.run(1)
    return [(at - now) // MS for at, *_ in small.ears.heard[before:]]


def test_groups_have_links_of_their_own() -> None:
    small = Small(4)
    near = LinkProfile(latency_ms_min=1.0, latency_ms_max=1.0)
    small.world.network.set_topology(Topology((0, 0, 1, 1), ((near, SLOW), (LinkProfile(loss=1.0), near))))
    assert arrivals(small, 0, 1) == [1] * 10
    assert all(40 <= ms <= 60 for ms in arrivals(small, 1, 2))
    assert len(arrivals(small, 0, 3)) == 10
    assert arrivals(small, 2, 0) == []
    assert small.world.network.lossy


def test_a_topology_of_the_wrong_size_is_refused() -> None:
    with pytest.raises(ValueError, match="groups of 2 nodes in a network of 3"):
        Small(3).world.network.set_topology(Topology((0, 0), ((SLOW,),)))


def loses(small: Small) -> bool:
    return small.world.network.lossy


def test_a_change_makes_its_links_worse_and_no_others_and_ends() -> None:
    small = Small(3)
    network = small.world.network
    slower = Change(Pairs.links_of(3, [0], [1], way="out"), lambda link: link.worse(delay_ms_min=100, delay_ms_max=110))
    lossy = Change(Pairs.links_of(3, [0]), lambda link: link.worse(loss=1.0))
    network.worsen(slower)
    assert all(ms >= 100 for ms in arrivals(small, 0, 1))
    assert all(ms <= 2 for ms in (*arrivals(small, 1, 0), *arrivals(small, 0, 2)))
    network.worsen(lossy)
    assert loses(small)
    assert arrivals(small, 0, 1) == arrivals(small, 2, 0) == []
    assert len(arrivals(small, 1, 2)) == 10
    network.mend(slower)
    network.mend(lossy)
    assert not loses(small)
    assert all(ms <= 2 for ms in arrivals(small, 0, 1))
    assert all(station.links is None for station in network.stations)


def test_changes_apply_on_top_of_what_groups_have() -> None:
    small = Small(2)
    network = small.world.network
    network.set_topology(Topology((0, 1), ((LinkProfile(), SLOW), (SLOW, LinkProfile()))))
    network.worsen(Change(Pairs.links_of(2, [0]), lambda link: link.worse(delay_ms_min=100.0, delay_ms_max=100.0)))
    assert all(140 <= ms <= 160 for ms in arrivals(small, 0, 1))


def test_the_longest_way_is_known_while_it_lasts() -> None:
    small = Small(2)
    network = small.world.network
    assert network.one_way_max == 2 * MS
    change = Change(Pairs.links_of(2, [0]), lambda link: link.worse(delay_ms_max=98.0, reorder=0.1, reorder_ms=300.0))
    network.worsen(change)
    assert network.one_way_max == 400 * MS
    network.mend(change)
    assert network.one_way_max == 2 * MS


def test_a_mesh_whose_zones_are_too_far_apart_for_its_probes_is_not_blamed_for_it() -> None:
    far = LinkProfile(latency_ms_min=300.0, latency_ms_max=360.0)
    assert run(Scenario(seconds=40, seed=1, zones={"eu": 3, "us": 2}, between_zones=far)).held


def test_mishaps_are_counted_from_0_once_they_can_happen() -> None:
    small = Small(2)
    network = small.world.network
    assert network.mishaps == {}
    change = Change(Pairs.links_of(2, [0]), lambda link: link.worse(loss=0.5, duplicate=0.5, reorder=0.5, reset=0.5))
    network.worsen(change)
    network.clog(Pairs.links_of(2, [0]))
    assert network.mishaps == {"loss": 0, "duplicate": 0, "reorder": 0, "clogged": 0, "stream_reset": 0}
    network.mend(change)
    assert network.mishaps.keys() == {"loss", "duplicate", "reorder", "clogged", "stream_reset"}


def test_a_plain_link_is_one_on_which_nothing_happens() -> None:
    assert Link(LinkProfile()).plain
    assert not Link(LinkProfile(delay="normal")).plain
    assert not Link(LinkProfile(reset=0.1)).plain
