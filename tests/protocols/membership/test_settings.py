"""Profiles and single settings of membership, judged together (DESIGN 4; memberlist's DefaultLAN/WAN/LocalConfig)."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.config import SwimConfig
from protocols.core import NANOS_PER_MS, NANOS_PER_S
from protocols.membership.settings import PROFILES, MembershipSettings, ProfileName

S = NANOS_PER_S
MS = NANOS_PER_MS


def test_without_settings_it_is_the_lan_profile() -> None:
    assert MembershipSettings().swim() == SwimConfig()


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ("lan", (1 * S, 500 * MS, 3, 4, 6, 200 * MS, 3, 4, 30 * S, 30 * S)),
        ("wan", (5 * S, 3 * S, 3, 6, 6, 500 * MS, 4, 4, 60 * S, 60 * S)),
        ("local", (1 * S, 200 * MS, 1, 3, 6, 100 * MS, 3, 2, 15 * S, 15 * S)),
    ],
)
def test_the_profiles_are_memberlists(profile: ProfileName, expected: tuple[int, ...]) -> None:
    config = MembershipSettings(profile=profile).swim()
    assert expected == (
        config.probe_interval,
        config.probe_timeout,
        config.indirect_probes,
        config.suspicion_mult,
        config.suspicion_max_factor,
        config.gossip_interval,
        config.gossip_fanout,
        config.retransmit_mult,
        config.gossip_to_the_dead,
        config.push_pull_interval,
    )


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ("lan", (200 * MS, 1 * S, 20, 60 * S, 120 * S)),
        ("wan", (500 * MS, 2500 * MS, 20, 180 * S, 360 * S)),
        ("local", (100 * MS, 500 * MS, 20, 30 * S, 60 * S)),
    ],
)
def test_views_are_published_at_the_pace_of_the_profile(profile: ProfileName, expected: tuple[int, ...]) -> None:
    config = MembershipSettings(profile=profile).swim()
    views = (config.view_quiet, config.view_wait_max, config.views_per_minute, config.flap_cost, config.flap_hold_max)
    assert views == expected


def test_everything_that_nodes_are_told_can_be_set() -> None:
    settable = {name.removesuffix("_s") for name in MembershipSettings.__struct_fields__} - {"profile"}
    assert settable == set(SwimConfig.__struct_fields__)


def test_a_setting_changes_that_one_alone() -> None:
    config = MembershipSettings(profile="wan", probe_timeout_s=2.5, indirect_probes=5, remember_dead_s=3600).swim()
    assert (config.probe_timeout, config.indirect_probes, config.remember_dead) == (2500 * MS, 5, 3600 * S)
    assert (config.probe_interval, config.gossip_fanout) == (5 * S, 4)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (MembershipSettings(probe_timeout_s=1.0), "the timeout must be shorter"),
        (MembershipSettings(probe_interval_s=0.4), "the timeout must be shorter"),
        (MembershipSettings(probe_timeout_s=0.0), "probe_timeout_s is 0: it must be 0.001 or more"),
        (MembershipSettings(gossip_interval_s=1.5), "gossip must be no rarer than probes"),
        (MembershipSettings(gossip_interval_s=0.0), "gossip would be all that the node does"),
        (MembershipSettings(push_pull_interval_s=0.5), "a whole table is sent each time"),
        (MembershipSettings(heal_interval_s=0.01), "would be flooded"),
        (MembershipSettings(join_retry_interval_s=0.01), "would be flooded"),
        (MembershipSettings(remember_dead_s=100), "brings it back as alive"),
        (MembershipSettings(heal_interval_s=21_601), "remembered for 4 tries at least"),
        (MembershipSettings(gossip_to_the_dead_s=90_000), "nobody can be told what is forgotten"),
        (MembershipSettings(gossip_fanout=0), "gossip_fanout = 0: it must be from 1 to 16"),
        (MembershipSettings(indirect_probes=17), "indirect_probes = 17: it must be from 0 to 16"),
        (MembershipSettings(leave_linger_s=-1), "leave_linger_s = -1"),
        (MembershipSettings(remember_dead_s=math.inf), "remember_dead_s = inf"),
        (MembershipSettings(probe_interval_s=math.nan), "probe_interval_s = nan"),
        (MembershipSettings(view_quiet_s=2.0), "view_quiet_s is 2 and view_wait_max_s 1: the wait must be no shorter"),
        (MembershipSettings(views_per_minute=1), "views_per_minute = 1: it must be from 2 to 600"),
        (MembershipSettings(flap_cost_s=61), "flap_hold_max_s is 120 and flap_cost_s 61: it must be 2 times that"),
        (MembershipSettings(flap_cost_s=0.0), "would be shown each time"),
        (MembershipSettings(profile="moon"), "There is no profile 'moon'"),  # type: ignore[arg-type]  # as a scenario may be made
    ],
)
def test_what_makes_no_sense_is_refused_in_words(settings: MembershipSettings, said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("(", r"\(")) as error:
        settings.swim()
    assert said in str(error.value)


@given(st.sampled_from(sorted(PROFILES)), st.floats(0.002, 3600), st.floats(0.001, 3600))
def test_whatever_is_accepted_leaves_time_to_ask_others(profile: ProfileName, interval: float, timeout: float) -> None:
    settings = MembershipSettings(profile=profile, probe_interval_s=interval, probe_timeout_s=timeout)
    try:
        config = settings.swim()
    except ValueError:
        return
    assert 0 < config.probe_timeout < config.probe_interval
