"""Scenarios as data: what cannot be run says why, and what can survives being written down."""

from __future__ import annotations

import re

import msgspec
import pytest

from protocols.core import NANOS_PER_S
from protocols.membership.facts import MemberChanged
from protocols.membership.settings import PROFILES, MembershipSettings, ProfileName
from sim.errors import ScenarioError
from sim.faults import Crash, DiskFull, Groups, Halves, Isolate, OneWay
from sim.network import LinkProfile
from sim.scenario import Run, Scenario, run


@pytest.mark.parametrize(
    ("scenario", "says"),
    [
        (Scenario(nodes=0), "0 nodes"),
        (Scenario(nodes=10**6), "1 to 20000"),
        (Scenario(seconds=0), "more than 0"),
        (Scenario(seconds=float("nan")), "more than 0"),
        (Scenario(start="joined"), "Did you mean 'join'?"),  # type: ignore[arg-type]  # what a person may type
        (Scenario(membership=MembershipSettings(probe_timeout_s=3)), "The membership: probe_timeout_s is 3"),
        (Scenario(link=LinkProfile(loss=5)), "For 5 % write 0.05"),
        (Scenario(link=LinkProfile(latency_ms_min=3.0)), "latency"),
        (Scenario(tasks_per_s=-1), "0 to 100000"),
        (Scenario(tasks_per_s=float("inf")), "0 to 100000"),
        (Scenario(tasks_per_s=1, handlers=()), "at least one handler"),
        (Scenario(inquiries_per_s=-1), "0 to 100"),
        (Scenario(inquiries_per_s=float("nan")), "0 to 100"),
        (Scenario(faults=(Halves(30, 20),)), "Did you mean 20-30?"),
        (Scenario(seconds=40, faults=(Halves(30, 60),)), "the run lasts 40 s"),
        (Scenario(nodes=1, faults=(Halves(30, 60),)), "at least 2 nodes"),
        (Scenario(faults=(Isolate(1, 2, 9),)), "1 to 5"),
        (Scenario(faults=(Crash(1, 2, 0),)), "1 to 5"),
        (Scenario(faults=(Crash(1, 2, nodes=("n9",)),)), "no node 'n9'"),
        (Scenario(zones={"eu": 1}, faults=(Isolate(1, 2, nodes=("ux",)),)), "no node or zone 'ux'. Did you mean 'eu'?"),
        (
            Scenario(zones={"eu": 1}, faults=(Groups(1, 2, groups=(("n0",), ("us",))),)),
            "no node or zone 'us'. Did you mean 'eu'?",
        ),
        (Scenario(nodes=1, faults=(Groups(1, 2, groups=(("n0",), ("n1",))),)), "a mesh of 1 is too small"),
        (Scenario(nodes=1, faults=(Groups(1, 2),)), "groups cut apart at 1-2 s: a mesh of 1 is too small"),
        (
            Scenario(nodes=3, zones={"eu": 9, "us": 1}, faults=(Isolate(1, 2, nodes=("us",)),)),
            "'us' has none of the 3 nodes",
        ),
        (Scenario(hold=("agrement",)), "Did you mean 'agreement'?"),
    ],
)
def test_scenarios_that_cannot_be_run_say_why(scenario: Scenario, says: str) -> None:
    with pytest.raises(ScenarioError, match=re.escape(says)):
        scenario.validate()


@pytest.mark.parametrize("profile", ["wan", "local"])
def test_every_property_holds_under_the_other_profiles(profile: ProfileName) -> None:
    for seed in range(3):
        scenario = Scenario(mix="full", tasks_per_s=2, seed=seed, membership=MembershipSettings(profile=profile))
        assert run(scenario).violations == ()


def test_a_profile_says_how_soon_a_death_is_seen() -> None:
    """A node is down from 5 s on. Those that probe every 5 s doubt it later than those that do so every second."""
    doubted_at: dict[str, float] = {}
    for profile in PROFILES:
        settings = MembershipSettings(profile=profile)
        one = Run(Scenario(seed=2, seconds=60, membership=settings, faults=(Crash(5, 60, nodes=("n1",)),)))
        one.start()
        for tenth in range(1, 600):
            one.world.run(tenth * NANOS_PER_S // 10)
            if one.world.watch.facts[MemberChanged]:
                doubted_at[profile] = tenth / 10
                break
    assert max(doubted_at["lan"], doubted_at["local"]) < doubted_at["wan"]


def test_numbers_of_zones_are_shares_and_who_is_in_no_list_is_in_no_zone() -> None:
    assert Scenario(zones={"eu": 9, "us": 2}).zone_nodes == {"eu": ("n0", "n1", "n2", "n3"), "us": ("n4",)}
    assert Scenario(zones={"eu": ("n0", "n1"), "us": 1}).zone_nodes == {"eu": ("n0", "n1"), "us": ("n2", "n3", "n4")}
    apart = Scenario(zones={"eu": ("n0",), "us": ("n1",)})
    apart.validate()
    assert apart.zone_nodes == {"eu": ("n0",), "us": ("n1",)}


def test_a_scenario_survives_json() -> None:
    scenario = Scenario(faults=(Halves(1, 2), Crash(3, None, 2), OneWay(4, 5), DiskFull(6, 7)), tasks_per_s=2.0)
    assert msgspec.json.decode(msgspec.json.encode(scenario), type=Scenario) == scenario
