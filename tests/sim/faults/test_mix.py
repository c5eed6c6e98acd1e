"""Random mixes: their rates, their limits, and that no kind moves the draws of another."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from sim.errors import ScenarioError
from sim.faults import KINDS, Chance, Fault, Isolate
from sim.faults.mix import Mix, Swarm, enabled, strikes
from sim.scenario import Scenario, expand, run

NAMES = tuple(f"n{index}" for index in range(5))
KIND = st.sampled_from(sorted(Mix.full().chances))
ROOMY = 10_000
"""A limit that leaves nothing out."""


def struck(mix: Mix, seed: int = 0, seconds: float = 600.0, names: tuple[str, ...] = NAMES) -> tuple[Fault, ...]:
    return strikes(mix, seed, names, seconds)


def of_kind(faults: tuple[Fault, ...], kind: str) -> list[Fault]:
    return [fault for fault in faults if fault.kind() == kind]


@settings(max_examples=50, deadline=None)
@given(KIND, KIND, st.integers(0, 10_000))
def test_a_kind_more_does_not_move_the_draws_of_another(one: str, other: str, seed: int) -> None:
    chance = Chance(per_minute=3.0, count_max=3)
    alone = struck(Mix({one: chance}, at_once_max=ROOMY), seed)
    joined = struck(Mix({other: chance, one: chance}, at_once_max=ROOMY), seed)
    assert of_kind(joined, one) == list(alone)
    assert alone == struck(Mix({one: chance}, at_once_max=ROOMY), seed)
    if one != other:
        starts = {fault.start_s for fault in alone} & {fault.start_s for fault in of_kind(joined, other)}
        assert len(starts) < 3, "two kinds draw from one stream"


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4), st.none() | st.integers(0, 3))
def test_limits_are_kept_and_what_strikes_can_happen(seed: int, at_once_max: int, down_max: int | None) -> None:
    mix = replace(Mix.full(), at_once_max=at_once_max, down_max=down_max)
    faults = struck(mix, seed, 120.0)
    starts = [fault.start_s for fault in faults]
    assert starts == sorted(starts)
    assert len({fault.salt for fault in faults}) == len(faults)
    for fault in faults:
        fault.check(NAMES, 120.0)
        assert fault.end_s is not None
        assert mix.start_s <= fault.start_s < fault.end_s <= 120.0
        in_force = [other for other in faults if other.start_s <= fault.start_s and (other.end_s or 0) > fault.start_s]
        assert len(in_force) <= at_once_max
        if down_max is not None:
            assert sum(other.nodes_down(5) for other in in_force) <= down_max


def test_kinds_come_at_their_rates_for_as_long_and_as_many_as_they_say() -> None:
    chance = Chance(per_minute=2.0, lasts_s_min=3.0, lasts_s_max=5.0, count_min=2, count_max=3)
    faults = struck(Mix({"crash": chance}, at_once_max=ROOMY), seconds=36_000.0)
    assert 1100 < len(faults) < 1300
    assert all(2.999 <= (fault.end_s or 0) - fault.start_s <= 5.001 for fault in faults[:-1])
    assert {fault.count for fault in faults if isinstance(fault, KINDS["crash"])} == {2, 3}  # type: ignore[attr-defined]  # a NodeFault


def test_a_full_mix_has_every_survivable_kind_and_each_of_them_strikes() -> None:
    survivable = {kind for kind, cls in KINDS.items() if cls.mixed is not None}
    assert {"halves", "lossy", "clog", "crash", "pause", "diskfull", "upgrade"} <= survivable
    assert "wipe" not in survivable
    assert enabled(Mix.full(), 0, NAMES).keys() == survivable
    seen = {fault.kind() for seed in range(40) for fault in struck(Mix.full(), seed, 60.0)}
    assert seen == survivable


def test_kinds_that_a_small_mesh_cannot_have_are_left_out_of_the_full_mix() -> None:
    assert set(enabled(Mix.full(), 0, NAMES)) - set(enabled(Mix.full(), 0, NAMES[:2])) == {"bridge", "majorities-ring"}


def test_a_swarm_draws_which_kinds_take_part() -> None:
    mix = Mix(swarm=Swarm())
    drawn = [frozenset(enabled(mix, seed, NAMES)) for seed in range(60)]
    assert len(set(drawn)) > 50
    assert all(drawn)
    everything = len(enabled(Mix.full(), 0, NAMES))
    assert 0.4 < sum(map(len, drawn)) / (60 * everything) < 0.6
    assert {len(enabled(Mix(swarm=Swarm(kinds=0.0)), seed, NAMES)) for seed in range(9)} == {1}
    fewer = Mix({kind: chance for kind, chance in mix.chances.items() if kind != "halves"}, swarm=Swarm())
    assert frozenset(enabled(fewer, 3, NAMES)) == drawn[3] - {"halves"}


@pytest.mark.parametrize(
    ("mix", "says"),
    [
        (Mix({"halfs": Chance()}), "Did you mean 'halves'?"),
        (Mix({"halves": Chance(per_minute=0)}), "To leave a kind out, do not name it."),
        (Mix({"halves": Chance(per_minute=float("nan"))}), "per_minute nan"),
        (Mix({"halves": Chance(lasts_s_min=9.0)}), "lasts 9 to 8 s"),
        (Mix({"halves": Chance(lasts_s_max=float("inf"))}), "lasts 1 to inf s"),
        (Mix({"crash": Chance(count_min=3)}), "a count of 3 to 1"),
        (Mix({"bridge": Chance(count_min=4, count_max=4)}), "bridge cannot strike here"),
        (Mix({"groups": Chance()}), "groups cannot strike here"),
        (Mix({"halves": Chance(per_minute=600)}), "Lower per_minute"),
        (Mix(at_once_max=0), "Allow at least 1"),
        (Mix(down_max=-1), "down_max -1"),
        (Mix(start_s=1e9), "start_s 1e+09 must lie in the run"),
        (Mix(swarm=Swarm(kinds=2.0)), "kinds 2 is a probability"),
        (Mix(swarm=Swarm(loss_max=5)), "For 5 % write 0.05"),
        (Mix(swarm=Swarm(nodes_min=5, nodes_max=3)), "5 to 3 nodes"),
        (Mix(swarm=Swarm(nodes_max=3)), "0 to 3 nodes"),
        (Mix(swarm=Swarm(tasks_per_s_max=float("inf"))), "tasks_per_s_max inf"),
    ],
)
def test_impossible_mixes_say_why(mix: Mix, says: str) -> None:
    with pytest.raises(ScenarioError, match=re.escape(says)):
        Scenario(seconds=6000.0, mix=mix).validate()


SHARES = {"a": 5, "b": 1, "c": 5}
"""Of 3 nodes one is in b, and of 4 none."""
IN_ZONES: dict[str, Any] = {"nodes": 11, "zones": SHARES, "faults": (Isolate(1, 2, nodes=("b",)),)}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mix": "ful"}, "Did you mean 'full'?"),
        ({"mix": Mix(swarm=Swarm(nodes_min=2, nodes_max=9)), "hold": (), "nodes": 5}, ""),
        ({"mix": Mix({"bridge": Chance()}, swarm=Swarm(nodes_min=2, nodes_max=9))}, "with 2 nodes, The mix: bridge"),
        ({"mix": Mix(swarm=Swarm(nodes_min=2, nodes_max=10**6))}, "1000000 nodes"),
        ({**IN_ZONES, "mix": Mix(swarm=Swarm(nodes_min=3, nodes_max=4))}, "the zone 'b' has none of the 4 nodes"),
        ({**IN_ZONES, "mix": Mix(swarm=Swarm(nodes_min=3, nodes_max=3))}, ""),
        ({**IN_ZONES, "mix": Mix(swarm=Swarm(nodes_min=11, nodes_max=20_000))}, ""),
        (
            {**IN_ZONES, "zones": {"z": ("n0", "n1"), **SHARES}, "mix": Mix(swarm=Swarm(nodes_min=5, nodes_max=9))},
            "with 6 nodes, b isolated at 1-2 s: the zone 'b' has none of the 6 nodes",
        ),
    ],
)
def test_a_swarm_must_be_possible_at_its_smallest_and_its_largest(options: dict[str, Any], says: str) -> None:
    scenario = Scenario(**options)
    if not says:
        scenario.validate()
        return
    with pytest.raises(ScenarioError, match=re.escape(says)):
        scenario.validate()


def test_what_a_mix_drew_runs_the_same_without_it_and_unstruck_kinds_are_reported_as_0() -> None:
    scenario = Scenario(seconds=30, seed=4, tasks_per_s=3, mix="full")
    mixed = run(scenario)
    assert mixed.held
    assert mixed.expanded.mix is None
    replayed = run(mixed.expanded)
    assert replayed.trace_hash == mixed.trace_hash
    assert set(Mix.full().chances) <= mixed.faults.keys()
    assert 0 in mixed.faults.values()
    assert {kind for kind, count in mixed.faults.items() if count and kind in KINDS} == {
        fault.kind() for fault in expand(scenario).faults
    }
