"""What a scenario becomes before it is run: pure, once and for all, and each option from a stream of its own."""

from __future__ import annotations

import random
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from sim.errors import ScenarioError
from sim.faults import Clog, Crash, Flapping, Groups, Halves, Isolate, OneWay
from sim.faults.mix import Mix, Swarm
from sim.network import LinkProfile
from sim.scenario import Liveness, Run, Scenario, configs_for, expand, run
from sim.scenario.zones import LinkBetween, topology_of, zones_of

FAR = LinkProfile(latency_ms_min=40.0, latency_ms_max=42.0)
SCENARIOS = st.builds(
    Scenario,
    nodes=st.integers(3, 9),
    seed=st.integers(-5, 10**9),
    faults=st.sampled_from([(), (Halves(1, 2), Crash(3, salt=1), Isolate(5, 6, 2))]),
    mix=st.sampled_from([None, "full", "swarm", Mix(swarm=Swarm(nodes_min=3, nodes_max=12))]),
    zones=st.sampled_from([{}, {"eu": 3, "us": ("n1",)}]),
    liveness=st.sampled_from([Liveness(), Liveness("broken"), Liveness("broken", broken={"n2": "slow"})]),
)


@settings(max_examples=60, deadline=None)
@given(SCENARIOS)
def test_expanding_is_pure_and_done_once(scenario: Scenario) -> None:
    before = msgspec.json.encode(scenario)
    state = random.getstate()
    expanded = expand(scenario)
    assert random.getstate() == state
    assert msgspec.json.encode(scenario) == before
    assert expand(scenario) == expanded
    assert expand(expanded) == expanded
    assert expanded.mix is None
    assert all(fault.salt for fault in expanded.faults)
    assert len({fault.salt for fault in expanded.faults}) == len(expanded.faults)
    expanded.validate()
    assert msgspec.json.decode(msgspec.json.encode(expanded), type=Scenario) == expanded


def swarmed(swarm: Swarm, seed: int) -> Scenario:
    return expand(Scenario(seed=seed, mix=Mix(swarm=swarm)))


@pytest.mark.parametrize(
    ("changes", "moved"),
    [
        ({"loss_max": 0.0}, "link"),
        ({"latency": False}, "link"),
        ({"disk": False}, "disk"),
        ({"tasks_per_s_max": 0.0}, "tasks_per_s"),
        ({"start": False}, "start"),
        ({"nodes_min": 5, "nodes_max": 5}, "nodes"),
        ({"kinds": 1.0}, "faults"),
    ],
)
def test_an_option_that_is_not_drawn_moves_no_other(changes: dict[str, Any], moved: str) -> None:
    for seed in range(20):
        whole, less = (swarmed(swarm, seed) for swarm in (Swarm(), replace(Swarm(), **changes)))
        assert replace(whole, **{moved: getattr(less, moved)}) == less
    if moved == "link":
        links = [(swarmed(Swarm(), seed).link, swarmed(replace(Swarm(), **changes), seed).link) for seed in range(20)]
        assert any(one != other for one, other in links)
        assert all(one.duplicate == other.duplicate and one.reset == other.reset for one, other in links)


def test_a_swarm_draws_every_option_over_its_range() -> None:
    drawn = [swarmed(Swarm(nodes_min=3, nodes_max=9), seed) for seed in range(80)]
    assert {each.nodes for each in drawn} == set(range(3, 10))
    assert {each.start for each in drawn} == {"converged", "join"}
    assert len({each.link.latency_ms_max for each in drawn}) == 4
    assert len({each.disk.commit_ms_max for each in drawn}) == 3
    for rates, most in (([e.link.loss for e in drawn], 0.1), ([e.tasks_per_s for e in drawn], 8.0)):
        assert min(rates) == 0
        assert 0.8 * most < max(rates) <= most
        assert len(set(rates)) > 30
    assert all(each.link.loss != each.link.duplicate for each in drawn if each.link.loss)


def test_what_the_swarm_draws_is_what_is_run_and_told() -> None:
    report = run(Scenario(seconds=10, seed=3, mix="swarm"))
    assert report.held
    assert report.expanded == expand(Scenario(seconds=10, seed=3, mix="swarm"))
    assert run(report.expanded).trace_hash == report.trace_hash


def test_a_swarm_without_handlers_draws_no_tasks() -> None:
    assert expand(Scenario(handlers=(), mix="swarm", seed=1)).tasks_per_s == 0


# Zones and links.


@given(st.integers(1, 40), st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_shares_deal_out_every_node_in_order_and_in_proportion(nodes: int, shares: list[int]) -> None:
    names = [f"n{index}" for index in range(nodes)]
    dealt = zones_of(names, {f"z{number}": share for number, share in enumerate(shares)})
    assert [name for members in dealt.values() for name in members] == names
    for members, share in zip(dealt.values(), shares, strict=True):
        assert abs(len(members) - nodes * share / sum(shares)) <= 1
    if nodes == sum(shares):
        assert [len(members) for members in dealt.values()] == shares


def test_listed_nodes_are_in_their_zone_and_nodes_know_theirs() -> None:
    scenario = Scenario(nodes=6, zones={"eu": 1, "us": ("n0", "n5"), "asia": 1})
    assert scenario.zone_nodes == {"eu": ("n1", "n2"), "us": ("n0", "n5"), "asia": ("n3", "n4")}
    assert [config.zone for config in configs_for(scenario)] == ["us", "eu", "eu", "asia", "asia", "us"]
    assert [config.zone for config in configs_for(Scenario(nodes=2, zones={"eu": ("n1",)}))] == ["", "eu"]


def latencies(scenario: Scenario) -> list[list[float]]:
    """The least latency of every link, in ms."""
    stations = (network := Run(scenario).world.network).stations
    return [[network.link_between(one, other).latency_min / 1e6 for other in stations] for one in stations]


def test_links_within_and_between_zones_and_of_some_nodes() -> None:
    scenario = Scenario(
        nodes=4,
        zones={"eu": 2, "us": 2},
        between_zones=FAR,
        links=(
            LinkBetween(latency_ms_min=9.0, latency_ms_max=9.0, between=("n0", "us")),
            LinkBetween(latency_ms_min=7.0, latency_ms_max=7.0, between=("n0", "n1"), one_way=True),
        ),
    )
    assert latencies(scenario) == [[0.2, 7, 9, 9], [0.2, 0.2, 40, 40], [9, 40, 0.2, 0.2], [9, 40, 0.2, 0.2]]
    assert topology_of(Scenario(zones={"eu": 2, "us": 3})) is None


def test_a_mesh_in_two_zones_agrees_and_works() -> None:
    faults = (Isolate(5, 15, nodes=("us",)), OneWay(20, 25, nodes=("eu",), to=("us",)), Clog(28, 32, nodes=("n0",)))
    report = run(
        Scenario(seconds=40, seed=2, tasks_per_s=3, zones={"eu": 3, "us": 2}, between_zones=FAR, faults=faults)
    )
    assert report.held
    assert report.faults["isolate"] == report.faults["oneway"] == report.faults["clog"] == 1


def test_the_name_of_a_zone_stands_for_its_nodes_in_faults() -> None:
    scenario = Scenario(
        zones={"eu": 3, "us": 2},
        faults=(
            Crash(1, 2, nodes=("us",)),
            OneWay(1, 2, nodes=("n1", "eu"), to=("us",)),
            Groups(1, 2, groups=(("eu",), ("n3",))),
            Flapping(1, 2, nodes=("eu",), to=("us",)),
        ),
    )
    scenario.validate()
    crash, one_way, groups, flapping = expand(scenario).faults
    assert crash == Crash(1, 2, nodes=("n3", "n4"), salt=1)
    assert one_way == OneWay(1, 2, nodes=("n1", "n0", "n2"), to=("n3", "n4"), salt=2)
    assert groups == Groups(1, 2, groups=(("n0", "n1", "n2"), ("n3",)), salt=3)
    assert flapping == Flapping(1, 2, nodes=("n0", "n1", "n2"), to=("n3", "n4"), salt=4)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"zones": {"eu": ("m1",)}}, "Did you mean 'n1'?"),
        ({"zones": {"eu": ("n1",), "us": ("n1",)}}, "n1 is in the zones 'eu' and 'us'"),
        ({"zones": {"eu": 0}}, "a share of 0 nodes"),
        ({"zones": {"n1": 1}}, "called like a node"),
        ({"zones": {"e u": 1}}, "letters, digits"),
        ({"zones": {"": 1}}, "letters, digits"),
        ({"between_zones": FAR}, "Name them under [zones]"),
        ({"zones": {"eu": 1}, "between_zones": LinkProfile(loss=5)}, "For 5 % write 0.05"),
        ({"links": (LinkBetween(between=("n0",)),)}, "between two nodes or zones"),
        ({"links": (LinkBetween(between=("n0", "us")),)}, "no node or zone 'us'"),
        ({"links": (LinkBetween(between=("n0", "n1"), reset=2),)}, "reset 2: it is a probability"),
        ({"faults": (Isolate(1, 2, nodes=("eu",)),)}, "no node 'eu'"),
    ],
)
def test_impossible_zones_and_links_say_why(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ScenarioError, match=re.escape(says)):
        Scenario(**options).validate()
